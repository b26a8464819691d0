"""The list of builders of one slave: which it was told of, and which of them can be used.

Rules.

* One list is under way at a time; what changes meanwhile is sent when it is done (table LISTING).
* A builder that is busy stays listed, with its directory, until its build is over: a slave sends no `complete` for a
  builder that was taken from the list.
* A slave that took no builder at all, or fails the call, is of no use: its connection ends, and it comes again.

Source: manual page, section "Setup"; `process/slavebuilder.py` of Buildbot 0.8.4p1, `worker/protocols/pb.py` of 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slaveproto.effects import Script
from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.master.builder import RemoteBuilder
from slaveproto.master.context import MasterContext
from slaveproto.master.info import text_of
from slaveproto.master.peer import Peer
from slaveproto.master.states import LISTING, ListingEvent, ListingState, RemoteBuilderState
from slaveproto.master.tasks import Answer, Ask
from slaveproto.updates import plain
from slaveproto.wire.values import Failure, Local, Remote, Value, remotes_in

TWISTED_BUILDERS: Final = 1024
"""Most builders of a slave that rides on Twisted: it hands out no more objects."""


class BuilderList:
    """The builders of one slave.

    Args:
        wanted: the directories of those that the slave should have, by name.
        bot: the slave's bot.
        peer: the slave's connection.
        context: the surroundings.
    """

    # A master has thousands.
    __slots__ = ("_bot", "_context", "_listed", "_machine", "_peer", "_wanted", "builders")

    def __init__(self, wanted: Mapping[str, str], bot: Remote, peer: Peer, context: MasterContext) -> None:
        self.builders: dict[str, RemoteBuilder] = {}
        self._wanted = wanted
        self._bot = bot
        self._peer = peer
        self._context = context
        self._machine = Machine(LISTING)
        # What was last sent.
        self._listed: Mapping[str, str] = {}

    @property
    def busy(self) -> bool:
        """Whether a build has one of the builders."""
        return any(builder.busy for builder in self.builders.values())

    @property
    def settled(self) -> bool:
        """Whether no list is under way."""
        return self._machine.state is ListingState.LISTED

    @property
    def stale(self) -> bool:
        """Whether the slave should get another list than it has."""
        return self._due() != self._listed

    def ready(self) -> tuple[str, ...]:
        """Return the names of the builders that can be used, sorted."""
        return tuple(sorted(name for name, builder in self.builders.items() if builder.ready))

    def want(self, wanted: Mapping[str, str]) -> None:
        """Take another set of builders; `send` tells the slave."""
        self._wanted = wanted
        for builder in self.builders.values():
            builder.wanted = builder.name in wanted

    def _due(self) -> Mapping[str, str]:
        busy = {name: builder.directory for name, builder in self.builders.items() if builder.busy}
        return {**self._wanted, **busy} if busy else self._wanted

    def send(self) -> Script[bool]:
        """Tell the slave of its builders and introduce the new ones; False if the connection ends for it."""
        self._machine.fire(ListingEvent.SEND)
        due = self._listed = self._due()
        for name in [name for name in self.builders if name not in due]:
            self.builders.pop(name).unlist()
        for name, directory in due.items():
            if name not in self.builders:
                self.builders[name] = RemoteBuilder(name, directory, self._peer, self._context)
            self.builders[name].directory = directory
        timeout = self._context.config.attach_timeout
        pairs = plain(list(due.items()), self._peer.dialect.text, "utf-8")
        try:
            (answer,) = yield from Ask(((self._bot, "setBuilderList", (pairs,)),), timeout, keep=True)
        except LocalProtocolError as error:
            self._peer.end(f"the list of builders cannot be sent: {error}")
            return False
        if isinstance(answer, Failure):
            hint = "" if len(due) <= TWISTED_BUILDERS else f"; a slave on Twisted takes {TWISTED_BUILDERS}"
            what = f"setBuilderList with {len(due)} builders{hint}"
            self._peer.end(f"{what} failed: {answer.kind}: {answer.message}")
            return False
        self._take(answer)
        self._machine.fire(ListingEvent.ANSWER)
        yield from self._introduce(timeout)
        self._machine.fire(ListingEvent.INTRODUCED)
        return True

    def _take(self, answer: Value) -> None:
        """Take the objects of the builders."""
        if not isinstance(answer, dict):
            raise RemoteProtocolError("the answer to setBuilderList is no dictionary")
        kept: set[Remote] = set()
        missing = set(self.builders)
        for key, remote in answer.items():
            # In the kind in which the name was sent.
            name = text_of(key)
            if isinstance(remote, Remote) and name in self.builders:
                if remote in kept:
                    # Sent once for both; it could not be given back for one of them.
                    raise RemoteProtocolError("the answer to setBuilderList has one object for two builders")
                kept.add(remote)
                self.builders[name].found(remote)
                missing.discard(name)
        for remote in remotes_in(answer):
            if remote not in kept:
                self._peer.release(remote)
        for builder in [builder for builder in self.builders.values() if builder.name in missing]:
            self._peer.notice(f"the slave has no builder {builder.name!r}")
            builder.wanted = False
            if not builder.busy:
                self.builders.pop(builder.name).unlist()

    def _introduce(self, timeout: float) -> Script[None]:
        """Make the new builders ready; one of a slave before 0.9 is told its master first."""
        new = [builder for builder in self.builders.values() if builder.state is RemoteBuilderState.INTRODUCED]
        answers: tuple[Answer, ...] = ()
        if new and self._peer.dialect.introduced:
            calls: list[tuple[Remote, str, tuple[Value, ...]]] = []
            for builder in new:
                assert builder.remote is not None
                calls.append((builder.remote, "setMaster", (Local(f"builder {builder.name} of the master"),)))
                calls.append((builder.remote, "print", ("attached",)))
            answers = yield from Ask(tuple(calls), timeout)
        for place, builder in enumerate(new):
            failures = [answer for answer in answers[2 * place : 2 * place + 2] if isinstance(answer, Failure)]
            if failures:
                why = f"{failures[0].kind}: {failures[0].message}"
                self._peer.notice(f"builder {builder.name!r} is not usable: {why}")
                self.builders.pop(builder.name).unlist()
            else:
                builder.be_ready()
