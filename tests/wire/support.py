"""What the tests of level one share: recorded data, their notation as values, and small drivers."""

from __future__ import annotations

import datetime
import gzip
import json
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeAlias

from slaveproto.errors import RemoteProtocolError
from slaveproto.limits import Limits
from slaveproto.wire import NEED_DATA, Connection, Copied, Event, Failure, Local, Remote, Unpersistable, Value
from slaveproto.wire.banana import Decoder, Encodable, Expression, encode

DATA: Final = Path(__file__).parents[1] / "data"
OLD: Final = "twisted-11.1-py2.7"
NEW: Final = "twisted-26.10-py3.11"
GENERATORS: Final = (OLD, NEW)
LIMITS: Final = Limits()

Vector: TypeAlias = dict[str, Any]


@cache
def vectors(kind: str, generator: str) -> dict[str, Vector]:
    """Return the vectors of one file by id."""
    path = DATA / "vectors" / f"{kind}.{generator}.json.gz"
    return {vector["id"]: vector for vector in json.loads(gzip.decompress(path.read_bytes()))["vectors"]}


def rows(kind: str, generators: Iterable[str] = GENERATORS) -> list[tuple[str, str, Vector]]:
    """Return all vectors of a kind as (generator, id, vector)."""
    return [(g, name, vector) for g in generators for name, vector in vectors(kind, g).items()]


def captures() -> list[str]:
    """Return the names of all recorded sessions."""
    return sorted(path.name.removesuffix(".jsonl.gz") for path in (DATA / "captures").glob("*.jsonl.gz"))


def capture(name: str) -> list[list[Any]]:
    """Return the chunks of one recorded session: [seconds, direction, hex] and what else the recording holds."""
    lines = gzip.decompress((DATA / "captures" / f"{name}.jsonl.gz").read_bytes()).splitlines()
    return [json.loads(line) for line in lines[1:]]


# -- Banana


def banana_value(note: Vector) -> Encodable:
    """Return what the notation of Banana values means."""
    ((kind, content),) = ((k, v) for k, v in note.items() if k != "repr")
    if kind == "int":
        return int(content)
    if kind == "float":
        (number,) = struct.unpack("!d", bytes.fromhex(content))
        return float(number)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "bool":
        return bool(content)
    elements = [banana_value(element) for element in content]
    return tuple(elements) if kind == "tuple" else elements


def same_bits(expression: Encodable) -> object:
    """Return something that is equal only for expressions that are equal bit by bit: NaN equals itself, 1 not 1.0."""
    if isinstance(expression, float):
        return struct.pack("!d", expression)
    if isinstance(expression, (list, tuple)):
        return [same_bits(element) for element in expression]
    return (type(expression).__name__ if isinstance(expression, bytes) else "int", expression)


def pb(expression: Encodable) -> bytes:
    """Encode in profile `pb`."""
    return encode(expression, vocabulary=True, limits=LIMITS)


def expressions(data: bytes | Sequence[bytes], *, vocabulary: bool = True, limits: Limits = LIMITS) -> list[Expression]:
    """Decode all complete expressions."""
    decoder = Decoder(limits, vocabulary=vocabulary)
    out: list[Expression] = []
    for chunk in [data] if isinstance(data, bytes) else data:
        decoder.feed(chunk)
        while (expression := decoder.next_expression()) is not NEED_DATA:
            out.append(expression)
    return out


# -- Jelly


def jelly_value(note: Vector, shared: dict[int | None, Any] | None = None) -> Value:
    """Return what the notation of Jelly values means, with the sharing that it tells."""
    shared = {} if shared is None else shared
    kind: str = note["t"]
    content: Any = note.get("v")
    if kind == "ref":
        value: Value = shared.setdefault(content, _Later("to come"))
        return value
    if kind in _SIMPLE:
        return _SIMPLE[kind](content)
    if kind in ("tuple", "frozenset"):
        members = [jelly_value(element, shared) for element in content]
        made = tuple(members) if kind == "tuple" else frozenset(members)
        before = shared.get(note.get("id"))
        if isinstance(before, _Later):
            before.become(made, made)
        shared[note.get("id")] = made
        return made
    out: Any = {"list": list, "dict": dict, "set": set}[kind]()
    shared[note.get("id")] = out
    if kind == "list":
        out += [jelly_value(element, shared) for element in content]
    elif kind == "dict":
        out.update((jelly_value(key, shared), jelly_value(value, shared)) for key, value in content)
    else:
        out.update(jelly_value(element, shared) for element in content)
    return out  # type: ignore[no-any-return]


class _Later(Local):
    """Stands in lists for a tuple that is still being read."""

    def become(self, value: Value, inside: Value) -> None:
        if isinstance(inside, list):
            inside[:] = [value if element is self else element for element in inside]
        if isinstance(inside, (list, tuple)):
            for element in inside:
                if element is not value:
                    self.become(value, element)


_SIMPLE: Final[dict[str, Callable[[Any], Value]]] = {
    "none": lambda v: None,
    "bool": bool,
    "int": int,
    "float": lambda v: float(struct.unpack("!d", bytes.fromhex(v))[0]),
    "bytes": bytes.fromhex,
    "text": str,
    "datetime": lambda v: datetime.datetime(*v),
    "date": lambda v: datetime.date(*v),
    "time": lambda v: datetime.time(*v),
    "timedelta": lambda v: datetime.timedelta(*v),
    "decimal": Decimal,
    "unpersistable": lambda v: Unpersistable(reason(v)),
}


def reason(text: str) -> str:
    """Return the reason of a placeholder without what Twisted's readers put around it."""
    text = text.removeprefix("Unpersistable data: ")
    return text[2:-1] if text.startswith("b'") else text


def describe(value: Value) -> object:
    """Return what is equal for values that are equal in type, bits, order and sharing of what can be changed."""
    names: dict[int, int] = {}

    def put(item: Value) -> object:
        if isinstance(item, (list, dict, set)):
            if id(item) in names:
                return ("met", names[id(item)])
            names[id(item)] = len(names)
        kind = type(item).__name__
        if isinstance(item, (list, tuple)):
            return (kind, [put(element) for element in item])
        if isinstance(item, (set, frozenset)):
            return (kind, sorted((put(element) for element in item), key=repr))
        if isinstance(item, dict):
            return (kind, [(put(k), put(v)) for k, v in item.items()])
        if isinstance(item, float):
            return (kind, struct.pack("!d", item))
        if isinstance(item, Copied):
            return (kind, item.tag, put(item.state))
        if isinstance(item, Remote):
            return (kind, item.luid)
        if isinstance(item, Decimal):
            return (kind, str(item))
        return (kind, item)

    return put(value)


class NoObjects:
    """Stands for a connection that has no objects: numbers come from one counter, all remotes are accepted."""

    def __init__(self) -> None:
        self.numbers: dict[Local, int] = {}
        self.remotes: list[Remote] = []

    def number_of(self, local: Local) -> int:
        return self.numbers.setdefault(local, len(self.numbers) + 1)

    def owns(self, remote: Remote) -> bool:
        return True

    def remote(self, luid: int | bytes) -> Remote:
        self.remotes.append(Remote(luid))
        return self.remotes[-1]

    def local(self, luid: int | bytes) -> Local | None:
        return next((local for local, number in self.numbers.items() if number == luid), None)


# -- Connection


def events(connection: Connection, data: bytes = b"") -> list[Event]:
    """Feed `data` and return all that happened; raises what `next_event` raises."""
    connection.receive_data(data)
    out: list[Event] = []
    while (event := connection.next_event()) is not NEED_DATA:
        out.append(event)
    return out


def events_until_violation(connection: Connection, data: bytes = b"") -> tuple[list[Event], bool]:
    """Feed `data`; return all that happened, and whether the peer broke the protocol."""
    connection.receive_data(data)
    out: list[Event] = []
    violated = False
    while True:
        try:
            event = connection.next_event()
        except RemoteProtocolError:
            violated = True
            continue
        if event is NEED_DATA:
            return out, violated
        out.append(event)


def failure_state(kind: str, message: str, parents: Sequence[str] = ()) -> Expression:
    """Return a failure as Twisted 26 would send it, without what nobody reads."""
    names: list[Expression] = [b"list"]
    names += [[b"unicode", name.encode()] for name in parents or (kind,)]
    pairs: list[Expression] = [
        [[b"unicode", b"type"], kind.encode()],
        [[b"unicode", b"value"], [b"unicode", message.encode()]],
        [[b"unicode", b"parents"], names],
        [[b"unicode", b"traceback"], [b"unicode", b"Traceback unavailable\n"]],
    ]
    return [b"twisted.spread.pb.CopyableFailure", [b"dictionary", *pairs]]


def as_failure(expression: Expression) -> Failure:
    """Read one failure."""
    from slaveproto.wire.jelly import Unjellier

    value = Unjellier(NoObjects()).read(expression)
    assert isinstance(value, Failure)
    return value


# -- counting work


def lines_run(work: Callable[[], object], source: str) -> int:
    """Return how many lines of the files whose path contains `source` run during `work`: time without a clock."""
    count = 0

    def local_trace(frame: FrameType, what: str, argument: object) -> Any:
        nonlocal count
        count += what == "line"
        return local_trace

    def trace(frame: FrameType, what: str, argument: object) -> Any:
        return local_trace if source in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def cuts(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """Yield `data` in pieces, cut at `places`."""
    last = 0
    for place in sorted({place % (len(data) + 1) for place in places} | {len(data)}):
        yield data[last:place]
        last = place
