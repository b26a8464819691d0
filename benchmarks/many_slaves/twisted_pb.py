"""A server of Twisted's Perspective Broker that attaches slaves and lets them build as our master does, and no more.

    python -m benchmarks.many_slaves.twisted_pb PORT COUNT BUSY IDLE

It prints its report. A whole Buildbot does far more with every slave; what is compared is the protocol.
"""

from __future__ import annotations

from typing import Any

from twisted.cred import portal
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet import defer, reactor, task
from twisted.spread import pb
from zope.interface import implementer

from benchmarks.many_slaves import fleet


class Avatar(pb.Avatar):  # type: ignore[misc]
    """A slave that is attached."""

    def __init__(self, name: str, mind: Any) -> None:
        self.name = name
        self.mind = mind
        self.info: Any = None
        self.builders: Any = None

    @defer.inlineCallbacks  # type: ignore[untyped-decorator]
    def attach(self) -> Any:
        """Make the calls that come before the answer to a login."""
        said = self.mind.callRemote("print", "attached")
        asked = self.mind.callRemote("getWorkerInfo")
        yield said
        self.info = yield asked
        self.builders = yield self.mind.callRemote("setBuilderList", [(fleet.BUILDER, fleet.BUILDER)])

    @defer.inlineCallbacks  # type: ignore[untyped-decorator]
    def build(self) -> Any:
        """Run one build; return whether it is complete."""
        builder = self.builders[fleet.BUILDER]
        yield self.mind.callRemote("print", "ping")
        yield builder.callRemote("startBuild")
        command = Command()
        yield builder.callRemote("startCommand", command, "0", "shell", command.arguments)
        yield command.over
        return command.rc == 0 and "".join(command.pieces).count("line") == fleet.LINES

    def perspective_keepalive(self) -> None:
        """The slave lives."""


class Command(pb.Referenceable):  # type: ignore[misc]
    """What a slave calls while it runs something."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.rc: int | None = None
        self.over: Any = defer.Deferred()
        self.arguments: dict[str, object] = {
            "command": fleet.COMMAND,
            "workdir": "build",
            "env": None,
            "want_stdout": 1,
            "want_stderr": 1,
            "timeout": 1200,
            "maxTime": None,
            "logEnviron": True,
            "logfiles": {},
            "usePTY": False,
        }

    def remote_update(self, updates: Any) -> int:
        for update, _ in updates:
            self.pieces.append(update.get("stdout", ""))
            self.rc = update.get("rc", self.rc)
        return 0

    def remote_complete(self, failure: Any) -> None:
        self.over.callback(None)


@implementer(portal.IRealm)
class Realm:
    """Lets slaves in.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.avatars: dict[str, Avatar] = {}
        self.full: Any = defer.Deferred()

    def requestAvatar(self, avatar_id: bytes, mind: Any, *interfaces: object) -> Any:
        avatar = Avatar(avatar_id.decode(), mind)
        return avatar.attach().addCallback(lambda _: self._attached(avatar))

    def _attached(self, avatar: Avatar) -> Any:
        self.avatars[avatar.name] = avatar
        if len(self.avatars) == self._count:
            self.full.callback(None)
        return pb.IPerspective, avatar, lambda: self.avatars.pop(avatar.name)


@defer.inlineCallbacks  # type: ignore[untyped-decorator]
def run(the_reactor: Any, work: fleet.Task) -> Any:
    """Wait for everybody, wait, build."""
    realm = Realm(work.count)
    users = {name.encode(): fleet.PASSWORD.encode() for name in fleet.names(work.count)}
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.users = users
    factory = pb.PBServerFactory(portal.Portal(realm, [checker]))
    port = the_reactor.listenTCP(work.port, factory, backlog=work.count, interface=fleet.HOST)
    book = fleet.Book(work)
    yield realm.full
    book.attached()
    yield task.deferLater(the_reactor, fleet.SETTLED)
    book.settled()
    yield task.deferLater(the_reactor, work.idle)
    book.idled()
    complete = yield defer.gatherResults([realm.avatars[name].build() for name in fleet.names(work.busy)])
    book.built(complete.count(True))
    yield port.stopListening()


if __name__ == "__main__":
    task.react(run, [fleet.task()], _reactor=reactor)
