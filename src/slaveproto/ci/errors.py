"""Errors that end the program with one line: a mistake in its call, and state that cannot be stored."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from typing import Final

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of the errors that more room would cure."""


class UsageError(Exception):
    """The program was called wrongly; the message is shown as one line, the exit code is 2.

    Args:
        message: the line.
        others: mistakes that were found besides.
    """

    def __init__(self, message: str, others: Sequence[UsageError] = ()) -> None:
        super().__init__(message)
        self.others = tuple(others)

    def all(self) -> list[str]:
        """Return the messages of this and all others, each once."""
        told = {str(self): None}
        for other in self.others:
            told |= dict.fromkeys(other.all())
        return list(told)


class Mistakes:
    """Mistakes that are gathered, so that one is told after the others are found."""

    def __init__(self) -> None:
        self._found: list[UsageError] = []

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep the mistake of a block, and go on behind it."""
        try:
            yield
        except UsageError as error:
            self._found.append(error)

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._found)

    def add(self, error: UsageError) -> None:
        """Keep a mistake."""
        self._found.append(error)

    def check(self) -> None:
        """Go on if there was none.

        Raises:
            UsageError: the first one, with the others.
        """
        if self._found:
            first, *others = self._found
            raise UsageError(str(first), (*first.others, *others))


class CannotStore(Exception):
    """State that cannot be written for now, though the call is right; the message has path and reason.

    A master that runs waits until it can; a program that is not that far yet shows the message, with the exit code 75.

    Args:
        path: of the file.
        why: the reason, for people.
        full: whether the reason may be a lack of room.
    """

    def __init__(self, path: str, why: str, *, full: bool) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.full = full


def cannot_listen(error: OSError | UnicodeError, host: str, port: int) -> UsageError:
    """Return the error for an address that cannot be listened on."""
    return UsageError(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}")


def of_path(error: OSError, path: str, what: str = "") -> UsageError | CannotStore:
    """Return the error for a path that cannot be used: `CannotStore` where more room would cure it.

    Args:
        error: the system's.
        path: the path.
        what: words before those of the system.
    """
    why = f"{what}{error.strerror or error}"
    return CannotStore(path, why, full=True) if error.errno in NO_ROOM else UsageError(f"{path}: {why}")
