"""Inputs and announcements of a master session.

Inputs tell what happened or what you want; announcements are past tense. Connections are named by the number that you
gave with `Accepted`, builds and commands by the numbers that you gave when you started them; no number may come twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Stop, Wakeup
from slaveproto.master.changes import Change
from slaveproto.master.config import Account, MasterConfig
from slaveproto.master.results import Result
from slaveproto.master.steps import AnyStep, EnvValue
from slaveproto.wire.values import Failure, Value

# -- inputs


@attrs.frozen
class Accepted:
    """A connection was accepted.

    It counts among the visitors, and its login has to be done in time, from now on, also while TLS shakes hands.

    Args:
        connection: your number of the connection.
        peer: its address, for people.
        challenge: 16 random bytes, unpredictable, for the login.
        secure: whether bytes can be sent at once. If not, nothing is sent, and nothing may be received, before
            `Secured`; report a handshake that fails as `Disconnected(connection, "TLS: ...")`. `CloseConnection` may
            come before the handshake is done, and ends it.
        host: the address without its port, as the system writes it: addresses are told apart by it. Connections without
            one count as those of one address.
    """

    connection: int
    peer: str
    challenge: bytes = attrs.field(repr=False)
    secure: bool = True
    host: str = ""


@attrs.frozen
class Secured:
    """The TLS handshake of a connection that was accepted with `secure=False` is done. One that is over is fine.

    Args:
        connection: your number of the connection.
        names: the names for which the peer's certificate was made, if it showed one and an authority that you trust has
            signed it: its common name, and its alternative names.
    """

    connection: int
    names: tuple[str, ...] = ()


@attrs.frozen
class Configure:
    """Replace the configuration. Slaves whose builders changed are told; who may no longer be here has to go.

    What is busy stays until its build is over.
    """

    config: MasterConfig


@attrs.frozen
class AnswerAccount:
    """The answer to `AccountWanted`; None for a user whom you do not know, either."""

    connection: int
    account: Account | None


@attrs.frozen
class AnswerGuest:
    """The answer to `GuestCalled`, or to a `ChangeReceived` that waits for it; a `Failure` makes the call fail."""

    connection: int
    call: int
    value: Value | Failure


@attrs.frozen
class Ping:
    """Ask a slave for a sign of life; ends in `Ponged`, or in the loss of the slave."""

    slave: str


@attrs.frozen
class Print:
    """Write a line into a slave's log, for the people there."""

    slave: str
    text: str


@attrs.frozen
class StartBuild:
    """Begin a build: ping, then `startBuild`. Ends in `BuildStarted`, `BuildRefused` or `BuildLost`.

    Args:
        build: your number of it.
        slave: name of a slave; one that is not attached, or is leaving, refuses.
        builder: name of a builder of that slave that no build has; one that is not ready refuses.
    """

    build: int
    slave: str
    builder: str


@attrs.frozen
class StartStep:
    """Run a step of a build that has started and runs nothing at present. Ends in `StepFinished`, always.

    Args:
        step: your number of it.
        build: the build.
        what: what to do.
        env: variables of the builder, under those of the step.
    """

    step: int
    build: int
    what: AnyStep
    env: Mapping[str, EnvValue] = attrs.field(factory=dict)


@attrs.frozen
class InterruptStep:
    """Ask for the end of a step. One that has ended already is fine.

    Args:
        step: which.
        why: for people.
    """

    step: int
    why: str


@attrs.frozen
class AbandonStep:
    """Wait no longer for a step: interrupt it, and drop its output, now and from now on.

    It ends in `StepFinished` all the same. One that has ended already is fine: what is left of its output is dropped.

    Args:
        step: which.
        patience: seconds that the step has to end. After that its slave's connection is ended.
    """

    step: int
    patience: float = 10.0


@attrs.frozen
class EndBuild:
    """A build is over and runs nothing: its builder is idle again.

    Every build that was not refused has to be ended, one whose slave was lost, too.
    """

    build: int


@attrs.frozen
class ShutDownSlave:
    """Ask a slave to end itself, at once or as soon as it runs no build."""

    slave: str
    graceful: bool = True


@attrs.frozen
class Disconnect:
    """Close the connection of a slave.

    Args:
        slave: whose.
        why: for people.
    """

    slave: str
    why: str


MasterInput: TypeAlias = (
    Accepted
    | Secured
    | Received
    | Disconnected
    | Completed
    | Rejected
    | Wakeup
    | Configure
    | AnswerAccount
    | AnswerGuest
    | Ping
    | Print
    | StartBuild
    | StartStep
    | InterruptStep
    | AbandonStep
    | EndBuild
    | ShutDownSlave
    | Disconnect
    | Stop
)


# -- announcements


@attrs.frozen
class SlaveInfo:
    """A slave's description of itself. What it does not say is empty.

    Args:
        admin: its administrator.
        host: its host, in words.
        access_uri: where it can be reached.
        version: of the slave program.
        system: Python's `os.name` there.
        basedir: where its builders' directories lie.
        cpus: number of processors, 0 if unknown.
        environ: its environment.
        commands: versions of its commands, by name.
        other: all else, by name.
    """

    admin: str
    host: str
    access_uri: str
    version: str
    system: str
    basedir: str
    cpus: int
    environ: Mapping[str, str] = attrs.field(repr=False)
    commands: Mapping[str, str]
    other: Mapping[str, Value]


@attrs.frozen
class SlaveCut:
    """A slave's link is lost, its line goes on. What runs there goes on, and no build begins on it.

    Args:
        slave: its name.
        why: for people.
        waiting: bytes that wait for it.
    """

    slave: str
    why: str
    waiting: int


@attrs.frozen
class SlaveBack:
    """A slave has a link again.

    Args:
        slave: its name.
        peer: the address that it comes from now.
        seconds: without one.
    """

    slave: str
    peer: str
    seconds: float


@attrs.frozen
class LoginFailed:
    """A login failed, or a connection ended before one.

    Args:
        connection: its number.
        peer: its address.
        name: the user name, None if it did not come to that.
        why: in words.
        credentials: whether name or password were wrong.
    """

    connection: int
    peer: str
    name: str | None
    why: str
    credentials: bool = False


@attrs.frozen
class AccountWanted:
    """A user whom the configuration does not name wants to log in, and waits for your `AnswerAccount`.

    No timer runs meanwhile: answer every one, also for a user whom you do not know. A connection that is over by then
    is fine.
    """

    connection: int
    name: str


@attrs.frozen
class GuestCalled:
    """A guest called, and waits for your `AnswerGuest`; a connection that is over by then is fine.

    Args:
        connection: the guest's.
        call: the number to answer with.
        name: the guest's user name.
        method: one that its account allows.
        args: the arguments by position.
        kwargs: the arguments by name.
    """

    connection: int
    call: int
    name: str
    method: str
    args: tuple[Value, ...]
    kwargs: Mapping[str, Value]


@attrs.frozen
class ChangeReceived:
    """A user told of a change.

    Args:
        user: its name.
        change: the change.
        connection: the user's.
        call: the number to answer with; None if it is answered, as it is without `ChangeAccount.confirm`.
    """

    user: str
    change: Change
    connection: int
    call: int | None


@attrs.frozen
class SlaveAttached:
    """A slave logged in and its builders are ready.

    Args:
        slave: its name.
        peer: its address.
        info: what it says of itself.
        builders: names of its builders that are ready.
    """

    slave: str
    peer: str
    info: SlaveInfo
    builders: tuple[str, ...]


@attrs.frozen
class SlaveDetached:
    """The connection of an attached slave is over. Its builds have ended before this."""

    slave: str
    why: str


@attrs.frozen
class BuildersChanged:
    """The builders of an attached slave that are ready are others now."""

    slave: str
    builders: tuple[str, ...]


@attrs.frozen
class Ponged:
    """A slave answered a `Ping`."""

    slave: str


@attrs.frozen
class BuildStarted:
    """A build may run its steps now."""

    build: int


@attrs.frozen
class BuildRefused:
    """A build could not be started; its builder is idle again, or lost. Try again later, or elsewhere."""

    build: int
    why: str


@attrs.frozen
class StepSpoke:
    """A step has output that waits for `MasterSession.output`; said once until that is called."""

    step: int


@attrs.frozen
class Outcome:
    """The end of a step.

    Args:
        result: in the field's words.
        rc: the exit code, None if there was none.
        why: what went wrong, for people; empty if nothing did.
        items: updates that are neither text nor `rc`: `stat`, `files`, `elapsed`, `failure_reason`, ...; the last of
            each key.
        elapsed: seconds from its start to its end, by the master's clock.
    """

    result: Result
    rc: int | None
    why: str
    items: Mapping[str, Value]
    elapsed: float


@attrs.frozen
class StepFinished:
    """A step is over. Its last output may still wait for `MasterSession.output`."""

    step: int
    outcome: Outcome


@attrs.frozen
class BuildLost:
    """A build's slave is gone: its step has ended with RETRY before this, and so does every further one. End it."""

    build: int
    why: str


@attrs.frozen
class ShutdownWanted:
    """A slave wants to go: no build can be started on it any more, and it is let go when it runs none."""

    slave: str


@attrs.frozen
class MasterNotice:
    """A remark for people.

    Args:
        text: in words.
        slave: which slave it is about, None if none.
    """

    text: str
    slave: str | None = None


MasterEvent: TypeAlias = (
    LoginFailed
    | AccountWanted
    | GuestCalled
    | ChangeReceived
    | SlaveAttached
    | SlaveDetached
    | SlaveCut
    | SlaveBack
    | BuildersChanged
    | Ponged
    | BuildStarted
    | BuildRefused
    | StepSpoke
    | StepFinished
    | BuildLost
    | ShutdownWanted
    | MasterNotice
)
