"""Seeds: what real peers said, and what scripted ones say to the master of the target `master`.

The corpora beside them are inputs that earlier campaigns found: each reached code that the ones before it did not.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from slaveproto.inputs import Received
from slaveproto.master import Accepted
from slaveproto.resume import ResumingClient, ResumingServer
from slaveproto.testing import GENERATIONS, ScriptedSlave, SlaveCommand
from slaveproto.wire import Value
from tests.fuzz.targets import BOT, CHALLENGE, CHANGES, STREAM_SECRET, STREAM_SEED, FuzzedMaster
from tests.wire.support import captures
from tests.wire.test_captures import streams

MOST: Final = 300
"""Inputs that are kept for a target."""

CORPORA: Final = Path(__file__).parents[1] / "data" / "fuzz"

LARGEST: Final = 6_000
"""Bytes of a seed: a long one says the same again and again."""

BY_SEVEN: Final = b"\3"
"""The first byte of an input whose pieces are so short that no two messages come at once."""

CHANGE: Final[Mapping[str, Value]] = {
    "who": "ada",
    "files": ["a.c", "b.c"],
    "comments": "mend",
    "branch": None,
    "revision": "1f2e",
}


def recorded(way: str) -> list[bytes]:
    """Return what real masters (`m2s`) or slaves (`s2m`) said, cut at `LARGEST`."""
    return [BY_SEVEN + b"".join(streams(name)[way])[:LARGEST] for name in captures()]


def seeds(target: str) -> list[bytes]:
    """Return what a campaign begins with, but for the corpus."""
    match target:
        case "client" | "slave":
            return recorded("m2s")
        case "server" | "mender":
            return recorded("s2m")
        case "stream_client" | "stream_server":
            return [said[target] for said in map(_stream, (b"", b"hello", b"x" * 1000))]
        case "lasting_master":
            return [*(_slave(name, lasting=True) for name in GENERATIONS), *seeds("stream_server")]
        case _:
            ask = target == "login"
            return [*(_slave(name, ask=ask) for name in GENERATIONS), _teller_of_changes(ask=ask), *recorded("s2m")[:5]]


def _stream(text: bytes) -> Mapping[str, bytes]:
    """Return what each end of a stream hears that carries a text both ways and ends."""
    heard = {"stream_client": BY_SEVEN, "stream_server": BY_SEVEN}
    server = ResumingServer(STREAM_SECRET)
    client = ResumingClient(STREAM_SEED, lambda most: most)
    server.accepted(1, 0.0)
    client.connected(0.0)
    client.send(text)
    ended = False
    while True:
        down, up = server.data_to_send(1), client.data_to_send()
        heard["stream_client"] += down
        heard["stream_server"] += up
        client.receive(down, 0.0)
        server.receive(1, up, 0.0)
        if server.streams and not ended:
            ended = True
            server.send(1, text)
            server.end(1)
            client.end()
        elif not down and not up:
            return heard


class _Conversation:
    """A scripted peer and the master of a target; what the peer says is kept."""

    def __init__(
        self, ask: bool, generation: str, name: str, password: str, *, mind: bool, lasting: bool = False
    ) -> None:
        self.master = FuzzedMaster(ask=ask, lasting=lasting)
        self._client = ResumingClient(STREAM_SEED, lambda most: most) if lasting else None
        if self._client is not None:
            self._client.connected(0.0)
        self.said = BY_SEVEN
        self.peer = ScriptedSlave(self._settle, name.encode(), password.encode(), generation, mind=mind)
        self._settling = False
        self.master.tell(Accepted(1, "a stranger", CHALLENGE))
        self._settle()

    def _settle(self) -> None:
        if self._settling:
            return
        self._settling = True
        moves = True
        while moves:
            heard, self.master.sent = self.master.sent, b""
            if heard:
                self.peer.hear(self._out_of_the_stream(heard))
            said = self._into_the_stream(self.peer.data_to_send())
            if said:
                self.said += said
                self.master.tell(Received(1, said))
            moves = bool(heard or said)
        self._settling = False

    def _out_of_the_stream(self, data: bytes) -> bytes:
        if self._client is None:
            return data
        self._client.receive(data, 0.0)
        return self._client.take()

    def _into_the_stream(self, data: bytes) -> bytes:
        if self._client is None:
            return data
        if data:
            self._client.send(data)
        return self._client.data_to_send()


def _slave(generation: str, *, ask: bool = False, lasting: bool = False) -> bytes:
    talk = _Conversation(ask, generation, BOT.name, BOT.password, mind=True, lasting=lasting)
    done = 0
    while done < len(talk.peer.commands):
        _carry_out(talk.peer, talk.peer.commands[done])
        done += 1
    assert done > 4, f"{generation} was given {done} commands"
    talk.peer.call_avatar("keepalive")
    return talk.said


def _carry_out(peer: ScriptedSlave, command: SlaveCommand) -> None:
    match command.name:
        case "shell":
            command.update({"header": "make\n"})
            command.update({"stdout": "hello\n"}, {"stderr": "oh\n"}, {"log": ("a.log", "line\n")})
        case "downloadFile":
            while peer.call(command.object("reader"), "read", 100):
                pass
            peer.call(command.object("reader"), "close")
        case "uploadFile":
            peer.call(command.object("writer"), "write", b"content")
            peer.call(command.object("writer"), "close")
        case "uploadDirectory":
            peer.call(command.object("writer"), "write", _archive())
            peer.call(command.object("writer"), "unpack")
        case _:
            command.update({"stat": (33188, 1, 2, 1, 0, 0, 3, 4, 5, 6)})
    command.finish()


def _archive() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("a")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    return archive.getvalue()


def _teller_of_changes(*, ask: bool) -> bytes:
    talk = _Conversation(ask, "4.3", CHANGES.name, CHANGES.password, mind=False)
    talk.peer.call_avatar("addChange", dict(CHANGE.items()))
    return talk.said


def corpus(target: str) -> list[bytes]:
    """Return what campaigns found."""
    path = CORPORA / f"{target}.json.gz"
    return [base64.b64decode(text) for text in json.loads(gzip.decompress(path.read_bytes()))] if path.exists() else []


def keep(target: str, inputs: Sequence[bytes]) -> None:
    """Replace what is kept for a target: the shortest ones."""
    texts = sorted((base64.b64encode(data).decode() for data in inputs), key=lambda text: (len(text), text))[:MOST]
    CORPORA.mkdir(parents=True, exist_ok=True)
    (CORPORA / f"{target}.json.gz").write_bytes(gzip.compress(json.dumps(texts).encode(), mtime=0))
