"""Dialects of slaves: how each kind of slave has to be spoken to. A table of rows; the rest of the master asks the row.

A slave is known by what it answers when it is attached: slaves before 0.9 know no `getWorkerInfo`, workers on Python 2
answer it with keys that are bytes, and the version of their command `shell` tells the releases apart.

Source: `bot.py` of buildslave 0.8.4 to 0.8.14, `base.py` and `runprocess.py` of buildbot-worker 0.9.0 to 4.3.0; each
row was run with real programs.
"""

from __future__ import annotations

from typing import Final

import attrs

from slaveproto.updates import Dialect


@attrs.frozen
class SlaveDialect:
    """One kind of slave.

    Args:
        kind: for people.
        text: whether it reads bytes or text.
        introduced: whether each of its builders is told its master (`setMaster`, `print`) before it is used.
        any_line: whether a command that is one text may have characters that are not ASCII. Else it is sent as the list
            of words that a shell would be started with.
    """

    kind: str
    text: Dialect
    introduced: bool
    any_line: bool


SLAVE: Final = SlaveDialect("slave", Dialect.BYTES, introduced=True, any_line=True)
"""buildslave, until 0.8.14."""

# Text that is not ASCII makes it lose a command: it joins bytes and text, and never sends `complete`.
FIRST_WORKER: Final = SlaveDialect("worker on Python 2", Dialect.BYTES, introduced=False, any_line=True)
"""buildbot-worker 0.9.0 on Python 2."""

# It shows the command with a format that takes text for ASCII, unless that is a list.
WORKER_PYTHON2: Final = SlaveDialect("worker on Python 2", Dialect.TEXT, introduced=False, any_line=False)
"""buildbot-worker 0.9.15 to 3.11.9 on Python 2; releases between it and 0.9.0 were not tried."""

WORKER: Final = SlaveDialect("worker", Dialect.TEXT, introduced=False, any_line=True)
"""buildbot-worker on Python 3."""

_SECOND_WORKER: Final = (3, 1)


def worker_dialect(*, byte_keys: bool, shell: tuple[int, ...] | None) -> SlaveDialect:
    """Return the dialect of a worker.

    Args:
        byte_keys: whether its answer to `getWorkerInfo` has keys that are bytes.
        shell: the version of its command `shell`, None if it has none.
    """
    if not byte_keys:
        return WORKER
    return FIRST_WORKER if shell is not None and shell < _SECOND_WORKER else WORKER_PYTHON2
