"""Secrets of a build file: where their values come from, and the places in steps where they are used.

Rules.

* A build file that was read holds names only, as `NamedSecret`; so nothing that shows a step can show a value.
* Values are read when a build begins, so that a secret that was changed counts from the next build on. Those that the
  master itself needs, passwords, are read when it starts, and when it reads the file again.
* No message about a secret contains its value, nor anything that a program wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, assert_never

import attrs

from slaveproto.master.steps import AnyStep, DownloadString, EnvValue, Secret, Shell, Step

SHORTEST: Final = 4
"""Characters that a value has at least: shorter ones would be found, and masked, in any text."""

LARGEST: Final = 16 * 1024
"""Bytes of a value at most."""

PATIENCE: Final = 30.0
"""Seconds that a program may take to write a value."""


class SecretUnreadable(Exception):
    """The value of a secret cannot be had; the message says why."""


@attrs.frozen
class FromFile:
    """Value in a file, whose absolute path this is."""

    path: str


@attrs.frozen
class FromEnvironment:
    """Value of an environment variable of the master."""

    variable: str


@attrs.frozen
class FromCommand:
    """Value that a program writes to its standard output.

    Args:
        words: the program and its arguments.
        folder: the working directory.
    """

    words: tuple[str, ...]
    folder: str


@attrs.frozen
class SecretSource:
    """`[secret.NAME]`.

    Args:
        name: in the file.
        origin: where its value comes from.
    """

    name: str
    origin: FromFile | FromEnvironment | FromCommand

    def read(self) -> str:
        """Return the value, without the line end of a value of one line; a value of several lines is left as it is.

        Raises:
            SecretUnreadable: it cannot be had, or is no text from `SHORTEST` characters to `LARGEST` bytes.
        """
        data = self._data()
        if len(data) > LARGEST:
            raise self._wrong(f"is larger than {LARGEST} bytes")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise self._wrong("is not UTF-8") from None
        if "\0" in text:
            raise self._wrong("contains a null character")
        line = text.rstrip("\r\n")
        value = text if "\n" in line else line
        if len(value.strip()) < SHORTEST:
            raise self._wrong(f"is shorter than {SHORTEST} characters, and would be found in any text")
        if value.strip() in self.name:
            raise self._wrong("is a part of its name")
        return value

    def _data(self) -> bytes:
        match self.origin:
            case FromFile(path):
                try:
                    with open(path, "rb") as file:
                        return file.read(LARGEST + 1)
                except OSError as error:
                    raise self._wrong(f"cannot be read: {path}: {error.strerror}") from None
            case FromEnvironment(variable):
                if variable not in os.environ:
                    raise self._wrong(f"is not there: no environment variable {variable}")
                return os.fsencode(os.environ[variable])
            case FromCommand(words, folder):
                return self._written_by(words, folder)
            case _:
                assert_never(self.origin)

    def _written_by(self, words: Sequence[str], folder: str) -> bytes:
        # Few files need this module.
        import subprocess

        try:
            done = subprocess.run(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
        except OSError as error:
            raise self._wrong(f"cannot be read: {words[0]}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise self._wrong(f"cannot be read: {words[0]} did not end within {PATIENCE:.0f} s") from None
        if done.returncode:
            raise self._wrong(f"cannot be read: {words[0]} ended with exit code {done.returncode}")
        return done.stdout

    def _wrong(self, words: str) -> SecretUnreadable:
        return SecretUnreadable(f"the secret {self.name} {words}")


@attrs.frozen
class NamedSecret(Secret):
    """A secret that a step uses, whose value is not read: `real` is empty.

    Args:
        name: of the secret.
    """

    name: str = attrs.field(kw_only=True)

    @classmethod
    def of(cls, name: str) -> NamedSecret:
        """Return the secret of that name."""
        return cls("", mask_of(name), name=name)


def mask_of(name: str) -> str:
    """Return what is shown instead of the value of a secret."""
    return f"<{name}>"


def names_in(env: Mapping[str, EnvValue], steps: Sequence[Step]) -> Iterator[str]:
    """Return the names of the secrets that a builder uses."""
    places: list[object] = [*env.values()]
    for step in steps:
        if isinstance(step, Shell):
            places += [*step.env.values(), step.initial_stdin, *step.command]
        elif isinstance(step, DownloadString):
            places.append(step.data)
    return (place.name for place in places if isinstance(place, NamedSecret))


def filled_env(env: Mapping[str, EnvValue], values: Mapping[str, str]) -> dict[str, EnvValue]:
    """Return variables with the values of their secrets."""
    return {name: _filled(value, values) if isinstance(value, NamedSecret) else value for name, value in env.items()}


def filled_step(step: AnyStep, values: Mapping[str, str]) -> AnyStep:
    """Return a step with the values of its secrets."""
    match step:
        case Shell():
            command = step.command
            if not isinstance(command, str):
                command = tuple(_filled(word, values) if isinstance(word, NamedSecret) else word for word in command)
            stdin = step.initial_stdin
            if isinstance(stdin, NamedSecret):
                stdin = _filled(stdin, values)
            return attrs.evolve(step, command=command, env=filled_env(step.env, values), initial_stdin=stdin)
        case DownloadString(data=NamedSecret() as secret):
            return attrs.evolve(step, data=_filled(secret, values))
        case _:
            return step


def _filled(secret: NamedSecret, values: Mapping[str, str]) -> Secret:
    return Secret(values[secret.name], secret.shown)
