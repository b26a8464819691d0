"""Tests of log files that are followed."""

from __future__ import annotations

import pytest

from slaveproto.commands.logfiles import LogWatcher, watchers
from slaveproto.effects import FileStamp, HostEffect, ReadFile, Request, Script, SendText, Stat
from slaveproto.errors import CommandError, HostError
from slaveproto.inputs import Completed, Rejected
from slaveproto.testing import MemoryHost, ScriptRun, ends, play, replies, sends_text, wants
from slaveproto.wire import Value
from tests.commands.support import TEXT

PATH = "/slave/linux/build/log"
BLOCK = 64 * 1024


class Following:
    """A watcher, the host that it looks at, and what it sent."""

    def __init__(self, *, follow: bool = False, before: bytes | None = None) -> None:
        self.host = MemoryHost()
        if before is not None:
            self.host.write(PATH, before)
        self.watcher = LogWatcher("log", PATH, follow)
        self.effects: list[HostEffect] = []
        self.sent: list[bytes] = []
        self._run(self.watcher.begin())

    def poll(self, *, to_the_end: bool = False) -> tuple[bytes, bool]:
        """Return what a poll sent, and what it said about that."""
        self.sent = []
        self.effects = []
        outcome: list[bool] = []

        def script() -> Script[None]:
            outcome.append((yield from self.watcher.poll(to_the_end=to_the_end)))

        self._run(script())
        return b"".join(self.sent), outcome[0]

    def _run(self, script: Script[None]) -> None:
        run = ScriptRun(script)
        while run.waits_for is not None:
            self.effects.append(run.waits_for)
            (report,) = self.host.perform(Request(1, run.waits_for))
            match report:
                case Completed(result=result):
                    run.reply(result)
                case Rejected(error=error):
                    run.reject(error)
        for said in run.said:
            if isinstance(said, SendText):
                assert (said.stream, said.log) == ("log", "log")
                assert isinstance(said.text, bytes)
                self.sent.append(said.text)


def test_file_that_never_appears() -> None:
    log = Following()
    assert log.poll() == (b"", False)
    assert log.poll(to_the_end=True) == (b"", False)


@pytest.mark.parametrize("follow", [False, True])
def test_file_that_appears_is_sent_whole_and_only_once(follow: bool) -> None:
    log = Following(follow=follow)
    log.host.write(PATH, b"one\n")
    assert log.poll() == (b"one\n", True)
    assert log.poll() == (b"", False)
    log.host.append(PATH, b"two\n")
    assert log.poll() == (b"two\n", True)


@pytest.mark.parametrize("follow", [False, True])
def test_file_of_before_is_left_alone_until_it_changes(follow: bool) -> None:
    log = Following(follow=follow, before=b"old\n")
    assert log.poll(to_the_end=True) == (b"", False)
    log.host.append(PATH, b"new\n")
    assert log.poll() == (b"new\n" if follow else b"old\nnew\n", True)


def test_file_rewritten_with_the_same_size_changed() -> None:
    log = Following(before=b"old\n")
    log.host.write(PATH, b"new\n")
    assert log.poll() == (b"new\n", True)


@pytest.mark.parametrize("follow", [False, True])
def test_file_of_before_that_is_cut_short_is_sent_from_its_beginning(follow: bool) -> None:
    log = Following(follow=follow, before=b"a long old one\n")
    log.host.write(PATH, b"new\n")
    assert log.poll() == (b"new\n", True)


@pytest.mark.parametrize("follow", [False, True])
def test_file_that_is_cut_short_later_is_sent_again_from_its_beginning(follow: bool) -> None:
    log = Following(follow=follow)
    log.host.write(PATH, b"one two\n")
    log.poll()
    log.host.write(PATH, b"three\n")
    assert log.poll() == (b"three\n", True)
    log.host.write(PATH, b"")
    assert log.poll() == (b"", False)
    log.host.append(PATH, b"4\n")
    assert log.poll() == (b"4\n", True)


@pytest.mark.parametrize("follow", [False, True])
def test_file_that_is_replaced_is_sent_whole(follow: bool) -> None:
    log = Following(follow=follow, before=b"old\n")
    log.host.append(PATH, b"one\n")
    log.poll()
    log.host.remove(PATH)
    assert log.poll() == (b"", False)
    log.host.write(PATH, b"a longer new one\n")
    assert log.poll() == (b"a longer new one\n", True)


def test_file_of_before_that_is_replaced_is_sent_whole_even_if_followed() -> None:
    log = Following(follow=True, before=b"old\n")
    log.host.remove(PATH)
    log.host.write(PATH, b"a longer new one\n")
    assert log.poll() == (b"a longer new one\n", True)


def test_huge_file_is_sent_a_megabyte_at_a_time_and_in_the_end_whole() -> None:
    log = Following()
    data = bytes(range(256)) * 4 * 1024 * 3
    log.host.write(PATH, data)
    first, _ = log.poll()
    assert first == data[: 16 * BLOCK]
    rest, _ = log.poll(to_the_end=True)
    assert first + rest == data
    assert max(effect.size for effect in log.effects if isinstance(effect, ReadFile)) == BLOCK


def test_growing_while_it_is_read_is_left_to_the_next_poll() -> None:
    watcher = LogWatcher("log", PATH, follow=False)
    grown: list[bool] = []

    def script() -> Script[None]:
        yield from watcher.begin()
        grown.append((yield from watcher.poll(to_the_end=True)))

    play(
        script(),
        wants(Stat(PATH)),
        replies(None),
        wants(Stat(PATH)),
        replies(FileStamp(1, 3, 1, 1)),
        wants(ReadFile(PATH, 0, 3)),
        replies(b"one"),
        sends_text("log", b"one", "log"),
        ends(),
    )
    assert grown == [True]


def test_file_that_shrinks_while_it_is_read() -> None:
    watcher = LogWatcher("log", PATH, follow=False)

    def script() -> Script[None]:
        yield from watcher.begin()
        assert not (yield from watcher.poll())

    play(
        script(),
        wants(Stat(PATH)),
        replies(None),
        wants(Stat(PATH)),
        replies(FileStamp(1, 3, 1, 1)),
        wants(ReadFile(PATH, 0, 3)),
        replies(b""),
        ends(),
    )


@pytest.mark.parametrize("kind", [Stat, ReadFile])
def test_file_that_cannot_be_read_is_tried_again(kind: type[HostEffect]) -> None:
    log = Following()
    log.host.write(PATH, b"one\n")
    log.host.refuses = lambda effect: HostError(5, "I/O error") if isinstance(effect, kind) else None
    assert log.poll() == (b"", False)
    log.host.refuses = lambda effect: None
    assert log.poll() == (b"one\n", True)


def test_first_look_that_fails_counts_as_no_file() -> None:
    log = Following()
    log.host.refuses = lambda effect: HostError(5, "I/O error")
    log._run(log.watcher.begin())
    log.host.refuses = lambda effect: None
    log.host.write(PATH, b"one\n")
    assert log.poll() == (b"one\n", True)


@pytest.mark.parametrize(
    ("logfiles", "name", "path", "follow"),
    [
        ({"log": "a/b"}, "log", "/slave/linux/build/a/b", False),
        ({b"log": b"a"}, b"log", "/slave/linux/build/a", False),
        ({"log": "/var/log/a"}, "log", "/var/log/a", False),
        ({"log": {"filename": "a"}}, "log", "/slave/linux/build/a", False),
        ({"log": {"filename": "a", "follow": True}}, "log", "/slave/linux/build/a", True),
        ({b"log": {b"filename": b"a", b"follow": 1}}, b"log", "/slave/linux/build/a", True),
        ({"log": {"filename": "a", "follow": False}}, "log", "/slave/linux/build/a", False),
    ],
)
def test_argument(logfiles: Value, name: str | bytes, path: str, follow: bool) -> None:
    (watcher,) = watchers(logfiles, "/slave/linux/build", TEXT)
    assert (watcher.name, watcher.path, watcher.follow) == (name, path, follow)


@pytest.mark.parametrize("nothing", [None, {}, []])
def test_no_argument(nothing: Value) -> None:
    assert watchers(nothing, "/slave/linux/build", TEXT) == []


@pytest.mark.parametrize(
    ("logfiles", "text"),
    [
        (["a"], "logfiles should be a dictionary"),
        ("a", "logfiles should be a dictionary"),
        ({1: "a"}, "the name of a log should be text"),
        ({"log": None}, "a path should be text, not NoneType"),
        ({"log": 1}, "a path should be text, not int"),
        ({"log": ["a"]}, "a path should be text, not list"),
        ({"log": {}}, "a path should be text, not dict"),
        ({"log": {"follow": True}}, "a path should be text, not NoneType"),
        ({"log": {1: "a"}}, "logfiles should be text, not int"),
    ],
)
def test_refuses(logfiles: Value, text: str) -> None:
    with pytest.raises(CommandError) as caught:
        watchers(logfiles, "/slave/linux/build", TEXT)
    assert str(caught.value) == text
