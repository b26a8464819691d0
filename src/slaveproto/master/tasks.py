"""Scripts of a master: what they may ask for, and the tasks that run them.

Rules.

* A script of a master yields effects on files, which leave the session as requests, and `Ask`, which calls the slave
  and waits for its answers. `MasterContext` drives it.
* A script belongs to one connection. If that ends while the script waits for an answer, the script is never resumed.
* `RemoteProtocolError` that leaves a script ends its connection.
* No script runs for a slave that is idle: a master has thousands of them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

from slaveproto.effects import Effect, Script
from slaveproto.scripts import Task
from slaveproto.wire.values import Failure, Remote, Value

Answer: TypeAlias = "Value | Failure"
"""The answer to a call of ours."""


@attrs.frozen
class Ask(Effect[tuple[Answer, ...]]):
    """Make calls at once and wait for all of their answers, which are the reply, in the order of the calls.

    LocalProtocolError is thrown in if an argument cannot be sent.

    Args:
        calls: for each the object, the method and the arguments.
        timeout: seconds after which a peer that has said nothing is taken for dead, and its connection ends. A peer
            that has said something gets as many seconds from there.
        lenient: whether a peer that did not answer in time, but says other things, will do: then the reply is empty.
        keep: whether the script sees to the objects in the answers; else they are given back.
        probing: whether this is the question after a silence, whose arrival is watched.
    """

    calls: tuple[tuple[Remote, str, tuple[Value, ...]], ...]
    timeout: float | None = None
    lenient: bool = False
    keep: bool = False
    probing: bool = False


class MasterTask(Task):
    """A task that runs one script for the slave of one connection. What goes wrong in it is not its own affair.

    Args:
        connection: the number of the connection.
        script: the generator.
    """

    def __init__(self, connection: int, script: Script[Any]) -> None:
        super().__init__(script)
        self.connection = connection

    def failed(self, error: Exception) -> None:
        """Raise what left the script, for `MasterContext`."""
        raise error
