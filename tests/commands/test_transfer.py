"""The transfers: blocks, windows, ends, and archives."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.commands.context import CommandContext
from slaveproto.commands.pipelining import MOST_CALLS, UPLOAD_WINDOW, WINDOW
from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.commands.transfer import FIRST_CALLS
from slaveproto.effects import (
    Begin,
    BeginCall,
    CallDone,
    CreateTemp,
    EffectDone,
    FileEffect,
    Interrupted,
    PathInfo,
    PlaceFile,
    ReadFile,
    Request,
    ScanDir,
    ScriptEvent,
    SendItem,
    SendText,
    StatPath,
    TreeEntry,
    Unlink,
    WriteFile,
)
from slaveproto.errors import CommandError, HostError
from slaveproto.inputs import Completed, Rejected
from slaveproto.limits import SIZE_LIMIT
from slaveproto.testing import (
    Ended,
    MemoryHost,
    PlayStep,
    ScriptRun,
    ends,
    ends_with,
    fails,
    play,
    replies,
    sends,
    sends_text,
    tells,
    wants,
)
from slaveproto.testing.playbook import Said
from slaveproto.updates import Dialect
from slaveproto.wire import Failure, Remote, Value
from tests.commands.recorded import recorded_runs
from tests.commands.support import BYTES, DIALECTS, TEXT, WORKDIR

PEER = Remote(1)
FILE = f"{WORKDIR}/f"


def make(name: str, context: CommandContext = TEXT, /, **arguments: Value) -> Any:
    side = "reader" if "ownload" in name else "writer"
    where: dict[str, Value] = {"slavedest" if side == "reader" else "slavesrc": "f"}
    given: dict[str, Value] = {"workdir": "build", side: PEER, "blocksize": 4, **where, **arguments}
    return make_script(name, given, context, COMMANDS)


def info(mode: int = 0o100644, inode: int = 1, size: int = 0) -> PathInfo:
    return PathInfo(mode, inode, 1, 1, 0, 0, size, accessed=1_500_000_000, modified=2_250_000_000, changed=0)


def begins(effect: FileEffect) -> PlayStep:
    return wants(Begin(effect))


def calls(method: str, *args: Value) -> PlayStep:
    return wants(BeginCall(PEER, method, args))


def done(number: int, result: object = None) -> PlayStep:
    return tells(EffectDone(number, result))


def answered(number: int, value: Value = None) -> PlayStep:
    return tells(CallDone(number, value))


CHUNK = 256 * 1024
SENDING = sends_text("header", f"sending {FILE}\n")


def opened(data: bytes) -> tuple[PlayStep, ...]:
    """An upload up to the first data."""
    return SENDING, begins(StatPath(FILE)), done(1, info()), begins(ReadFile(FILE, 0, CHUNK)), done(2, data)


# -- uploadFile


def test_upload_step_by_step() -> None:
    play(
        make("uploadFile", keepstamp=True),
        *opened(b"abcdefghij"),
        calls("write", b"abcd"),
        calls("write", b"efgh"),
        begins(ReadFile(FILE, 10, CHUNK)),
        answered(3),
        done(5, b""),
        calls("write", b"ij"),
        begins(StatPath(FILE)),
        done(7, info()),
        answered(4),
        answered(6),
        calls("close"),
        answered(8),
        calls("utime", (1.5, 2.25)),
        answered(9),
        sends("rc", 0),
        ends(),
    )


def test_upload_of_an_empty_file() -> None:
    play(
        make("uploadFile"),
        *opened(b""),
        begins(StatPath(FILE)),
        done(3, info()),
        calls("close"),
        answered(4),
        sends("rc", 0),
        ends(),
    )


@pytest.mark.parametrize("context", DIALECTS)
@pytest.mark.parametrize("found", [HostError(2, "none"), info(0o040755), info(0o010644)])
def test_upload_of_what_is_no_file(context: CommandContext, found: HostError | PathInfo) -> None:
    end = "\n" if context is TEXT else ""
    play(
        make("uploadFile", context, slavesrc="./f"),
        sends_text("header", f"sending {WORKDIR}/./f{end}"),
        begins(StatPath(FILE)),
        tells(EffectDone(1, None, found) if isinstance(found, HostError) else EffectDone(1, found)),
        calls("close"),
        answered(2),
        sends_text("stderr", f"Cannot open file '{WORKDIR}/./f' for upload{end}"),
        sends("rc", 1),
        ends(),
    )


@pytest.mark.parametrize(("maxsize", "sent"), [(6, [b"abcd", b"ef"]), (8, [b"abcd", b"efgh"]), (0, [])])
def test_upload_up_to_maxsize(maxsize: int, sent: list[bytes]) -> None:
    """A file that is just as long counts as cut, as with real slaves."""
    stat = 3 + len(sent)
    first = (begins(ReadFile(FILE, 8, CHUNK)), done(stat, b"")) if sent else ()
    play(
        make("uploadFile", maxsize=maxsize),
        *opened(b"abcdefgh"),
        *(calls("write", block) for block in sent),
        *first,
        begins(StatPath(FILE)),
        done(stat + bool(first), info()),
        *(answered(3 + number) for number in range(len(sent))),
        calls("close"),
        answered(stat + bool(first) + 1),
        sends_text("stderr", f"Maximum filesize reached, truncating file '{FILE}'\n"),
        sends("rc", 1),
        ends(),
    )


FULL = Failure("exceptions.IOError", "disk full")


def test_failing_write_in_mid_window_is_the_end_of_the_transfer() -> None:
    play(
        make("uploadFile"),
        *opened(b"abcdefghijkl"),
        *(calls("write", block) for block in (b"abcd", b"efgh", b"ijkl")),
        begins(ReadFile(FILE, 12, CHUNK)),
        answered(3),
        tells(CallDone(4, None, FULL)),
        done(6, b"more"),
        tells(CallDone(5, None, FULL)),
        calls("close"),
        answered(7),
        sends("rc", 1),
        ends_with("exceptions.IOError", "disk full"),
    )


def test_interrupted_upload_closes_after_the_last_answer() -> None:
    play(
        make("uploadFile"),
        *opened(b"abcdefgh"),
        calls("write", b"abcd"),
        calls("write", b"efgh"),
        begins(ReadFile(FILE, 8, CHUNK)),
        tells(Interrupted("stop")),
        answered(3),
        tells(Interrupted("again")),
        answered(4),
        calls("close"),
        answered(6),
        sends("rc", 1),
        ends(),
    )


def test_lost_upload_calls_nothing_more() -> None:
    play(
        make("uploadFile"),
        *opened(b"abcd"),
        calls("write", b"abcd"),
        begins(ReadFile(FILE, 4, CHUNK)),
        tells(CallDone(3, None, lost=True)),
        sends("rc", 1),
        ends(),
    )


def test_replaced_file_is_no_success() -> None:
    play(
        make("uploadFile"),
        *opened(b""),
        begins(StatPath(FILE)),
        done(3, info(inode=2)),
        calls("close"),
        answered(4),
        sends_text("stderr", f"File '{FILE}' was replaced while it was sent\n"),
        sends("rc", 1),
        ends(),
    )


# -- downloadFile


def test_download_step_by_step() -> None:
    play(
        make("downloadFile", mode=0o100640, maxsize=10),
        wants(CreateTemp(FILE)),
        replies("temp"),
        calls("read", 4),
        calls("read", 4),
        calls("read", 2),
        answered(1, b"abcd"),
        answered(2, b"ef"),
        calls("read", 2),
        answered(3, b""),
        answered(4, b""),
        begins(WriteFile("temp", 0, b"abcdef")),
        done(5),
        wants(PlaceFile("temp", FILE, 0o640)),
        replies(None),
        calls("close"),
        answered(6),
        sends("rc", 0),
        ends(),
    )


@pytest.mark.parametrize(("found", "mode"), [(info(0o100751), 0o751), (HostError(2, "none"), None)])
def test_download_keeps_the_permissions_of_the_file_that_it_replaces(
    found: PathInfo | HostError, mode: int | None
) -> None:
    play(
        make("downloadFile", maxsize=1),
        wants(CreateTemp(FILE)),
        replies("temp"),
        wants(StatPath(FILE)),
        fails(found) if isinstance(found, HostError) else replies(found),
        calls("read", 1),
        answered(1, b""),
        wants(PlaceFile("temp", FILE, mode)),
        replies(None),
        calls("close"),
        tells(CallDone(2, None, FULL)),
        sends("rc", 0),
        ends(),
    )


def test_download_that_cannot_begin() -> None:
    play(
        make("downloadFile"),
        wants(CreateTemp(FILE)),
        fails(HostError(13, "Permission denied")),
        calls("close"),
        answered(1),
        sends_text("stderr", f"Cannot open file '{FILE}' for download\n"),
        sends("rc", 1),
        ends(),
    )


DISTURBED: dict[str, tuple[tuple[ScriptEvent, ...], tuple[Said, ...]]] = {
    "interrupted": ((Interrupted("stop"),), (SendItem("rc", 1), Ended())),
    "more after the end": (
        (CallDone(1, b""), CallDone(2, b"x")),
        (SendText("stderr", "The master's reader went on after its end\n"), SendItem("rc", 1), Ended()),
    ),
    "too much": (
        (CallDone(1, b"abc"),),
        (SendText("stderr", "The master's reader did not give what it was asked for\n"), SendItem("rc", 1), Ended()),
    ),
    "no bytes": (
        (CallDone(1, None),),
        (SendText("stderr", "The master's reader did not give what it was asked for\n"), SendItem("rc", 1), Ended()),
    ),
    "refused": ((CallDone(1, None, FULL),), (SendItem("rc", 1), Ended("exceptions.IOError", "disk full"))),
}


@pytest.mark.parametrize("name", DISTURBED)
def test_disturbed_download_leaves_nothing(name: str) -> None:
    how, outcome = DISTURBED[name]
    run = play(
        make("downloadFile", maxsize=4, blocksize=2, mode=0),
        wants(CreateTemp(FILE)),
        replies("temp"),
        calls("read", 2),
        calls("read", 2),
        *(tells(event) for event in how),
        wants(Unlink("temp")),
    )
    run.reply(True)
    for number in {1, 2, 3} - {event.number for event in how if isinstance(event, CallDone)}:
        run.tell(CallDone(number, b"late"))
    said = run.said[run.said.index(Unlink("temp")) + 1 :]
    assert said == [BeginCall(PEER, "close"), *outcome]


# -- windows


def test_upload_fills_the_window_and_no_more() -> None:
    run = ScriptRun(make("uploadFile", blocksize=CHUNK))
    run.tell(EffectDone(1, info()))
    for number in range(2, 1000):
        if isinstance(run.begun.get(number), Begin):
            run.tell(EffectDone(number, bytes(CHUNK)))
    writes = [begun for begun in run.begun.values() if isinstance(begun, BeginCall)]
    assert len(writes) == UPLOAD_WINDOW // CHUNK


def test_upload_of_small_blocks_has_so_many_calls_at_most() -> None:
    run = ScriptRun(make("uploadFile", blocksize=1000))
    run.tell(EffectDone(1, info()))
    run.tell(EffectDone(2, bytes(1000 * MOST_CALLS)))
    run.tell(EffectDone(max(run.begun), bytes(5000)))
    assert sum(isinstance(begun, BeginCall) for begun in run.begun.values()) == MOST_CALLS


def test_download_window_opens_with_the_answers() -> None:
    run = ScriptRun(make("downloadFile", blocksize=16384, mode=0))
    run.reply("temp")
    assert len(run.begun) == FIRST_CALLS
    read = [0]
    most = 0
    for number in range(1, 3000):
        begun = run.begun[number]
        if isinstance(begun, BeginCall):
            read.append(number)
            run.tell(CallDone(number, bytes(16384)))
        else:
            run.tell(EffectDone(number, None))
        most = max(most, len(run.begun) - number)
    assert most == min(MOST_CALLS, WINDOW // 16384)


@pytest.mark.parametrize("command", ["uploadFile", "downloadFile"])
def test_blocks_are_never_larger_than_strings_can_be(command: str) -> None:
    run = ScriptRun(make(command, blocksize=10**9, mode=0, maxsize=10**7))
    if command == "downloadFile":
        run.reply("temp")
        assert {begun.args for begun in run.begun.values() if isinstance(begun, BeginCall)} == {(SIZE_LIMIT,)}
        return
    run.tell(EffectDone(1, info()))
    for number in range(2, 5):
        run.tell(EffectDone(number, bytes(CHUNK)))
    (write,) = (begun for begun in run.begun.values() if isinstance(begun, BeginCall))
    assert isinstance(write.args[0], bytes)
    assert len(write.args[0]) == SIZE_LIMIT


# -- against a model, in any order that can happen


@attrs.define
class Peer:
    """A master's object. As reader it may give less than it is asked for, as long as it gives something."""

    content: bytes
    random: Random
    short: bool
    written: bytes = b""
    last: list[str] = attrs.field(factory=list)
    offset: int = 0

    def answer(self, call: BeginCall) -> Value:
        match call.method, call.args:
            case "read", (int() as size,):
                assert not self.last
                if self.short and size > 1:
                    size = self.random.randint(1, size)
                data = self.content[self.offset : self.offset + size]
                self.offset += len(data)
                return data
            case "write", (bytes() as data,):
                assert not self.last
                self.written += data
            case _:
                self.last.append(call.method)
        return None


def run_through(script: Any, host: MemoryHost, peer: Peer, interrupt: int | None = None) -> ScriptRun:
    """Let a transfer go on in a random order; the calls are answered in their own. Returns it at its end."""
    run = ScriptRun(script)
    served, steps = 0, 0
    effects: deque[tuple[int, FileEffect]] = deque()
    waiting: deque[tuple[int, BeginCall]] = deque()
    while True:
        if steps == interrupt:
            run.tell(Interrupted("stop"))
        steps += 1
        while served < len(run.begun):
            served += 1
            begun = run.begun[served]
            if isinstance(begun, Begin):
                assert isinstance(begun.effect, FileEffect)
                effects.append((served, begun.effect))
            else:
                waiting.append((served, begun))
        ready = [what for what, there in (("wait", run.waits_for), ("effect", effects), ("call", waiting)) if there]
        if run.done or not ready:
            assert run.done
            return run
        match peer.random.choice(ready):
            case "wait":
                assert run.waits_for is not None
                (report,) = host.perform(Request(steps, run.waits_for))
                if isinstance(report, Completed):
                    run.reply(report.result)
                else:
                    assert isinstance(report, Rejected)
                    run.reject(report.error)
            case "effect":
                number, effect = effects.popleft()
                (report,) = host.perform(Request(steps, effect))
                if isinstance(report, Completed):
                    run.tell(EffectDone(number, report.result))
                else:
                    assert isinstance(report, Rejected)
                    run.tell(EffectDone(number, None, report.error))
            case _:
                number, call = waiting.popleft()
                if call.method not in ("read", "write"):
                    assert not waiting
                run.tell(CallDone(number, peer.answer(call)))


def code_of(run: ScriptRun) -> Value:
    assert run.said[-1] == Ended()
    (code,) = (said.value for said in run.said if isinstance(said, SendItem) and said.key == "rc")
    return code


SIZES = st.integers(0, 60)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 20), st.none() | SIZES, st.none() | st.integers(0, 40), st.randoms())
def test_upload_equals_the_model(
    content: bytes, blocksize: int, maxsize: int | None, interrupt: int | None, random: Random
) -> None:
    host = MemoryHost()
    host.write(FILE, content)
    peer = Peer(b"", random, short=False)
    run = run_through(make("uploadFile", blocksize=blocksize, maxsize=maxsize), host, peer, interrupt)
    cut = maxsize is not None and len(content) >= maxsize
    assert peer.last == ["close"]
    assert content.startswith(peer.written)
    if code_of(run) == 0:
        assert peer.written == content
        assert not cut
    elif interrupt is None:
        assert cut
        assert peer.written == content[:maxsize]


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60),
    st.integers(1, 20),
    st.none() | SIZES,
    st.none() | st.integers(0, 40),
    st.booleans(),
    st.randoms(),
)
def test_download_equals_the_model(
    content: bytes, blocksize: int, maxsize: int | None, interrupt: int | None, short: bool, random: Random
) -> None:
    host = MemoryHost([WORKDIR])
    host.write(FILE, b"old")
    peer = Peer(content, random, short=short)
    run = run_through(make("downloadFile", blocksize=blocksize, maxsize=maxsize), host, peer, interrupt)
    cut = maxsize is not None and len(content) >= maxsize
    assert peer.last == ["close"]
    assert host.paths == {FILE}
    if code_of(run) == 0:
        assert host.read(FILE) == content
        assert not cut
    elif interrupt is None:
        assert host.read(FILE) == content[:maxsize]
        assert cut
    else:
        assert host.read(FILE) in (b"old", content[:maxsize])


# -- directories

NAMES = st.text("abü \udcff", min_size=1, max_size=5) | st.text("x", min_size=90, max_size=120)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=1500), max_size=6)


@settings(max_examples=60, deadline=None)
@given(TREES, st.sampled_from(["gz", "bz2", None]), st.sampled_from(DIALECTS), st.integers(1, 20_000), st.randoms())
def test_archives_are_what_tarfile_reads(
    tree: dict[tuple[str, ...], bytes], compress: str | None, context: CommandContext, blocksize: int, random: Random
) -> None:
    host = MemoryHost([FILE])
    files = {
        "/".join(place): data
        for place, data in tree.items()
        if not any(place[:length] in tree for length in range(1, len(place)))
    }
    for name, data in files.items():
        host.write(f"{FILE}/{name}", data)
    peer = Peer(b"", random, short=False)
    # Never fewer than a hundred blocks: the archive of an empty directory has 10 KiB.
    run = run_through(make("uploadDirectory", context, blocksize=blocksize, compress=compress), host, peer)
    assert code_of(run) == 0
    assert peer.last == ["unpack"]
    raw = {"gz": gzip.decompress, "bz2": bz2.decompress, None: bytes}[compress](peer.written)  # type: ignore[operator]
    assert len(raw) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        members = archive.getmembers()
        found = {m.name: archive.extractfile(m).read() for m in members if m.isreg()}  # type: ignore[union-attr]
        assert found == files
        assert [m.name for m in members] == _in_order(files)
        assert (archive.format, members[0].name) == (tarfile.PAX_FORMAT, "") or context is BYTES


def _in_order(files: dict[str, bytes]) -> list[str]:
    """What `tarfile.add` would do: a directory, then its entries by name."""
    paths = {tuple(name.split("/")[:length]) for name in files for length in range(1, name.count("/") + 2)}
    return ["", *("/".join(path) for path in sorted(paths))]


ROOT = info(0o040755)


def archive_run(*entries: TreeEntry, context: CommandContext = TEXT, **arguments: Value) -> tuple[ScriptRun, int]:
    run = ScriptRun(make("uploadDirectory", context, blocksize=2000, **arguments))
    run.tell(EffectDone(1, ROOT))
    run.tell(EffectDone(2, entries))
    return run, len(run.begun)


def sent_by(run: ScriptRun, answer: Callable[[Any], object] | None = None) -> bytes:
    """Answer every call, and with `answer` every effect, by its reply or error; return all that was written."""
    number, data = 3, b""
    while number <= len(run.begun):
        begun = run.begun[number]
        if isinstance(begun, BeginCall):
            data += b"".join(part for part in begun.args if isinstance(part, bytes))
            run.tell(CallDone(number, None))
        elif answer is not None:
            reply = answer(begun.effect)
            failed = isinstance(reply, HostError)
            run.tell(EffectDone(number, None if failed else reply, reply if isinstance(reply, HostError) else None))
        number += 1
    return data


def told_by(run: ScriptRun) -> list[object]:
    return [said.text for said in run.said if isinstance(said, SendText) and said.stream == "stderr"]


def test_a_link_of_a_windows_host_leads_where_it_led() -> None:
    windows = attrs.evolve(TEXT, directory="C:\\slave", posix=False)
    run = ScriptRun(make("uploadDirectory", windows, blocksize=20_000))
    run.tell(EffectDone(1, ROOT))
    run.tell(EffectDone(2, (TreeEntry("a", info(0o120777), "..\\else where\\x"), TreeEntry("d", ROOT, ""))))
    assert run.begun[3] == Begin(ScanDir("C:\\slave\\build\\f\\d"))
    run.tell(EffectDone(3, (TreeEntry("e", info(0o120777), "f"),)))
    call = run.begun[4]
    assert isinstance(call, BeginCall)
    with tarfile.open(fileobj=io.BytesIO(call.args[0])) as archive:  # type: ignore[arg-type]
        assert [(m.name, m.linkname) for m in archive][1:] == [("a", "../else where/x"), ("d", ""), ("d/e", "f")]


def test_links_stay_links_and_files_of_two_names_are_sent_once() -> None:
    twice = attrs.evolve(info(inode=7, size=3), links=2)
    run, number = archive_run(
        TreeEntry("a", twice, ""),
        TreeEntry("b", twice, ""),
        TreeEntry("c", info(0o120777), "../else where"),
        TreeEntry("d", info(0o010644), ""),
        TreeEntry("e", info(0o140755), ""),
        TreeEntry("f", info(0o020644), ""),
    )
    assert run.begun[number] == Begin(ReadFile(f"{FILE}/a", 0, 3))
    run.tell(EffectDone(number, b"abc"))
    data = sent_by(run)
    assert code_of(run) == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = [(m.name, m.type, m.linkname) for m in archive]
        assert found == [
            ("", tarfile.DIRTYPE, ""),
            ("a", tarfile.REGTYPE, ""),
            ("b", tarfile.LNKTYPE, "a"),
            ("c", tarfile.SYMTYPE, "../else where"),
        ]
        assert archive.extractfile("b").read() == b"abc"  # type: ignore[union-attr]
        assert archive.getmember("a").mtime == 2.25
    kind = "neither file, directory nor link"
    assert told_by(run) == [
        *(f"left out: '{FILE}/{name}': {kind}\n" for name in "def"),
    ]
    assert SendItem("left_out", 3) in run.said


def test_a_name_that_cannot_be_said_is_left_out() -> None:
    entries = (TreeEntry("\u2603", info(), ""), TreeEntry("caf\udce9", info(), ""))
    run, _ = archive_run(*entries, context=attrs.evolve(BYTES, encoding="latin-1"))
    assert b"caf\xe9" in sent_by(run)
    assert told_by(run) == [f"left out: '{FILE}/\u2603': its name cannot be said in latin-1\n"]


def test_a_file_that_grows_is_cut() -> None:
    run, number = archive_run(TreeEntry("a", info(size=3), ""))
    run.tell(EffectDone(number, b"abc"))
    with tarfile.open(fileobj=io.BytesIO(sent_by(run))) as archive:
        assert archive.extractfile("a").read() == b"abc"  # type: ignore[union-attr]
    assert code_of(run) == 0


@pytest.mark.parametrize(
    ("reply", "why"),
    [(b"", "became shorter while it was sent"), (HostError(5, "Input/output error"), "Input/output error")],
)
@pytest.mark.parametrize("context", [TEXT, BYTES])
def test_a_file_that_fails_on_the_way_is_filled_up(reply: bytes | HostError, why: str, context: CommandContext) -> None:
    run, _ = archive_run(TreeEntry("a", info(size=200_000), ""), TreeEntry("b", info(size=1), ""), context=context)

    def read(effect: ReadFile) -> object:
        return b"y" if effect.path.endswith("b") else b"x" * 3000 if effect.offset == 0 else reply

    data = sent_by(run, read)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.extractfile("a").read() == b"x" * 3000 + bytes(197_000)  # type: ignore[union-attr]
        assert archive.extractfile("b").read() == b"y"  # type: ignore[union-attr]
    assert told_by(run) == [f"left out: '{FILE}/a': {why}; the rest of it is zeros\n"]
    assert code_of(run) == 0
    assert BeginCall(PEER, "unpack") in run.begun.values()


@pytest.mark.parametrize("mode", [0o100000, 0o040755])
def test_what_cannot_be_read_is_left_out(mode: int) -> None:
    """A file, or what is in a directory."""
    run, _ = archive_run(TreeEntry("a", info(mode, size=5000), ""), TreeEntry("b", info(size=1), ""))
    denied = HostError(13, "Permission denied")
    data = sent_by(run, lambda effect: b"y" if effect.path.endswith("b") else denied)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["", *(["a"] if mode == 0o040755 else []), "b"]
    assert told_by(run) == [f"left out: '{FILE}/a': Permission denied\n"]
    assert code_of(run) == 0


def test_of_many_that_are_left_out_the_number_is_told() -> None:
    run, _ = archive_run(*(TreeEntry(f"{n:03}", info(0o010644), "") for n in range(105)))
    sent_by(run)
    assert len(told_by(run)) == 101
    assert told_by(run)[-1] == "left out: 5 more\n"
    assert SendItem("left_out", 105) in run.said


def test_directory_beyond_maxsize_is_not_unpacked() -> None:
    run, _ = archive_run(maxsize=10240)
    sent_by(run)
    assert run.said[-3:-1] == [
        SendText("stderr", f"Maximum filesize reached, truncating file '{FILE}'\n"),
        SendItem("rc", 1),
    ]
    assert BeginCall(PEER, "unpack") not in run.said


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (HostError(2, "No such file or directory"), "[Errno 2] No such file or directory"),
        (info(), "[Errno 20] Not a directory"),
    ],
)
def test_directory_that_is_none(found: HostError | PathInfo, text: str) -> None:
    play(
        make("uploadDirectory"),
        begins(StatPath(FILE)),
        tells(EffectDone(1, None, found) if isinstance(found, HostError) else EffectDone(1, found)),
        sends_text("stderr", f"Cannot read directory '{FILE}' for upload: {text}: '{FILE}'\n"),
        sends("rc", 1),
        ends(),
    )


def test_failing_unpack_is_a_failure() -> None:
    run, _ = archive_run()
    number = 3
    while BeginCall(PEER, "unpack") not in run.said:
        run.tell(CallDone(number, None))
        number += 1
    run.tell(CallDone(len(run.begun), None, FULL))
    assert run.said[-2:] == [SendItem("rc", 1), Ended("exceptions.IOError", "disk full")]


def test_a_hundred_thousand_files_do_not_pile_up() -> None:
    """The window holds the sender back: of a directory with many files only so many are read ahead."""
    entries = tuple(TreeEntry(f"{n:06}", info(size=0), "") for n in range(100_000))
    run, _ = archive_run(*entries)
    assert sum(isinstance(begun, BeginCall) for begun in run.begun.values()) == MOST_CALLS
    assert ScanDir(FILE) in [begun.effect for begun in run.begun.values() if isinstance(begun, Begin)]


# -- arguments and names


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("uploadFile", {"blocksize": 0}, "blocksize should be a whole number above 0"),
        ("uploadFile", {"blocksize": None}, "blocksize should be a whole number above 0"),
        ("uploadFile", {"blocksize": "4"}, "blocksize should be a whole number or None"),
        ("uploadFile", {"writer": None}, "writer should be a reference, not NoneType"),
        ("uploadFile", {"maxsize": -1}, "maxsize should be a whole number or None"),
        ("uploadDirectory", {"compress": 1}, "compress should be text, not int"),
        ("downloadFile", {"mode": "644"}, "mode should be a whole number or None"),
        ("downloadFile", {"workdir": None}, "workdir should be text, not NoneType"),
    ],
)
def test_refuses_other_arguments(name: str, arguments: dict[str, Value], text: str) -> None:
    with pytest.raises(CommandError) as caught:
        make(name, **arguments)
    assert str(caught.value) == text


def test_says_which_argument_is_missing() -> None:
    with pytest.raises(CommandError) as caught:
        make_script("uploadFile", {}, TEXT, COMMANDS)
    assert str(caught.value) == "uploadFile is missing args: workdir, workersrc or slavesrc, writer, blocksize"


@pytest.mark.parametrize(
    ("spelling", "usual"),
    [("upload_file", "uploadFile"), ("upload_directory", "uploadDirectory"), ("download_file", "downloadFile")],
)
def test_other_spellings(spelling: str, usual: str) -> None:
    assert COMMANDS[spelling] == COMMANDS[usual]


@pytest.mark.parametrize("key", ["workersrc", "slavesrc"])
def test_home_and_both_generations_of_names(key: str) -> None:
    context = attrs.evolve(TEXT, environ={"HOME": "/home/me"})
    arguments: dict[str, Value] = {"workdir": b"build", key: "~/f", "writer": PEER, "blocksize": 4}
    run = ScriptRun(make_script("uploadFile", arguments, context, COMMANDS))
    assert run.begun[1] == Begin(StatPath("/home/me/f"))


# -- recorded


@pytest.mark.parametrize(
    "session", ["old-old__upload", "new-new__upload", "new-new__transferfail", "old-old__transferfail"]
)
def test_recorded_uploads_say_the_same(session: str) -> None:
    """Text and code of every recorded upload, from a file that is there or not as it was there."""
    compared = 0
    for recorded in recorded_runs(session):
        if recorded.name != "uploadFile":
            continue
        sent = dict(recorded.updates)
        key = "workersrc" if recorded.context.dialect is Dialect.TEXT else "slavesrc"
        host = MemoryHost()
        maxsize = recorded.arguments["maxsize"]
        if "Cannot open" not in str(sent.get("stderr")):
            size = maxsize if isinstance(maxsize, int) else 10
            host.write(recorded.context.path(recorded.arguments["workdir"], recorded.arguments[key]), bytes(size))
        script = make_script("uploadFile", recorded.arguments, recorded.context, COMMANDS)
        run = run_through(script, host, Peer(b"", Random(1), short=False))
        ours = {said.stream: said.text for said in run.said if isinstance(said, SendText)}
        assert ours == {stream: _text(sent[stream]) for stream in ("header", "stderr") if stream in sent}
        assert code_of(run) == sent["rc"]
        compared += 1
    assert compared


def _text(value: Value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
