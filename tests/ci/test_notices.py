"""Notices of builds that ended: when there is one, how it gets there, and that no build waits for it."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from slaveproto.ci import notifier
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import load
from slaveproto.ci.file.notices import MailEntry, NoticeEntry
from slaveproto.ci.file.secrets import FromFile, SecretSource
from slaveproto.ci.notices import Notice, is_told
from slaveproto.ci.notifier import Notifier, NotTold, perform
from slaveproto.testing.conformance import wait_until
from slaveproto.testing.peers import OurMaster

BUILDER = '[[builder]]\nname = "b"\n[[builder.step]]\nshell = "true"\n'


def notice(result: str = "failure", before: str | None = "success", **more: Any) -> Notice:
    return Notice(7, "b", "ex", result, before, "", {"revision": "1f2e"}, **more)


@pytest.mark.parametrize(
    ("result", "before", "told"),
    [
        ("success", None, {"always"}),
        ("success", "success", {"always"}),
        ("success", "warnings", {"always"}),
        ("warnings", "success", {"always"}),
        ("success", "failure", {"always", "change"}),
        ("success", "exception", {"always", "change"}),
        ("failure", None, {"always", "change", "failure"}),
        ("failure", "success", {"always", "change", "failure"}),
        ("failure", "exception", {"always", "failure"}),
        ("exception", "failure", {"always", "failure"}),
        ("retry", "success", set()),
        ("cancelled", "success", set()),
    ],
)
def test_when_there_is_one(result: str, before: str | None, told: set[str]) -> None:
    assert {when for when in ("always", "change", "failure") if is_told(when, notice(result, before))} == told


# -- the file


def read(folder: Path, text: str) -> tuple[NoticeEntry, ...]:
    (folder / "ci.toml").write_text(f'[secret.hook]\nfile = "key"\n{text}\n{BUILDER}')
    return load(str(folder / "ci.toml")).notices


def test_the_tables(tmp_path: Path) -> None:
    assert read(tmp_path, "") == ()
    command, url, mail = read(
        tmp_path,
        '[[notify]]\ncommand = ["tell", "me"]\nwhen = "always"\nbuilders = ["b"]\n'
        '[[notify]]\nurl = "https://example.org:8443/hook?x=1"\nsecret = "hook"\n'
        '[[notify]]\nmail = { to = ["a@x", "b@y"], from = "ci@x", server = "mail:2525" }\n',
    )
    assert command == NoticeEntry("always", ("b",), command=("tell", "me"))
    assert url.secret == SecretSource("hook", FromFile(str(tmp_path / "key")))
    assert mail == NoticeEntry(mail=MailEntry(("a@x", "b@y"), "ci@x", "mail:2525"))
    assert [entry.target for entry in (command, url, mail)] == ["tell", "example.org", "a@x, b@y"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "should have one of command, url, mail"),
        ('command = ["x"]\nurl = "http://x"', "should have one of command, url, mail"),
        ('url = "ftp://x"', "should be http://HOST... or https://HOST..."),
        ('url = "http://"', "should be http://HOST"),
        ('url = "http://[::1"', "should be http://HOST"),
        ('url = "http://x y"', "should be http://HOST"),
        ('command = ["x"]\nsecret = "hook"', "signs what is sent to a url"),
        ('url = "http://x"\nsecret = "none"', "is no secret of the file"),
        ('command = ["x"]\nbuilders = ["c"]', "unknown builder 'c'; there are b"),
        ('command = ["x"]\nwhen = "never"', "should be one of change, failure, always"),
        ('mail = { to = ["x"], from = "a@b" }', "should be an address such as"),
        ('mail = { to = ["a@b\\nBcc: c@d"], from = "a@b" }', "should be an address such as"),
        ('mail = { to = ["a@b"] }', "has no from"),
        ('mail = { to = ["a@b"], from = "a@b", server = "x:y" }', "should be HOST or HOST:PORT"),
        ('colour = "red"\ncommand = ["x"]', "unknown key 'colour'"),
    ],
)
def test_mistakes(table: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, f"[[notify]]\n{table}\n")
    assert words in str(refused.value)


# -- the ways


class Hook(http.server.BaseHTTPRequestHandler):
    """A webhook that keeps what it got."""

    got: list[tuple[dict[str, str], bytes]]
    status = 200

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((dict(self.headers), data))
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", self.path)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the library's
        pass


@contextmanager
def hook(status: int = 200) -> Iterator[tuple[str, type[Hook]]]:
    handler = type("Handler", (Hook,), {"got": [], "status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", handler
        server.shutdown()
        thread.join()


def test_a_webhook_is_signed(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a long enough key\n")
    with hook() as (url, handler):
        perform(NoticeEntry(url=url, secret=SecretSource("hook", FromFile(str(tmp_path / "key")))), notice())
    ((headers, data),) = handler.got
    expected = hmac.new(b"a long enough key", data, hashlib.sha256).hexdigest()
    assert headers["X-Slaveproto-Signature"] == f"sha256={expected}"
    assert json.loads(data) == {
        "event": "build-ended", "build": 7, "builder": "b", "slave": "ex", "result": "failure", "before": "success",
        "why": "", "properties": {"revision": "1f2e"},
    }  # fmt: skip


@pytest.mark.parametrize(("status", "words"), [(404, "HTTP status 404"), (302, "HTTP status 302")])
def test_a_webhook_that_does_not_take_it(status: int, words: str) -> None:
    with hook(status) as (url, handler):
        with pytest.raises(NotTold, match=words):
            perform(NoticeEntry(url=url), notice())
        assert len(handler.got) == 1


def test_a_webhook_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotTold, match="Connection refused"):
        perform(NoticeEntry(url=f"http://127.0.0.1:{port}/"), notice())


def test_a_webhook_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(NotTold, match="timed out"):
        perform(NoticeEntry(url=f"http://127.0.0.1:{listener.getsockname()[1]}/"), notice())


def test_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT", 5.0)
    path = tmp_path / "told"
    perform(
        NoticeEntry(command=("sh", "-c", f'(cat; echo " $SLAVEPROTO_BUILD $SLAVEPROTO_RESULT") > {path}')), notice()
    )
    assert path.read_text().endswith("} 7 failure\n")
    for command, words in ((("sh", "-c", "exit 3"), "exit code 3"), (("nonesuch-xyz",), "No such file")):
        with pytest.raises(NotTold, match=words):
            perform(NoticeEntry(command=command), notice())
    monkeypatch.setattr(notifier, "TIMEOUT", 0.2)
    with pytest.raises(NotTold, match="did not end within"):
        perform(NoticeEntry(command=("sleep", "60")), notice())


def take_mail(listener: socket.socket, heard: list[str]) -> None:
    """Take one mail, as a mail server does."""
    sock, _ = listener.accept()
    with sock, sock.makefile("rw", newline="\r\n") as stream:

        def say(text: str) -> None:
            stream.write(f"{text}\r\n")
            stream.flush()

        say("220 here")
        for line in stream:
            heard.append(line.rstrip("\r\n"))
            word = line.strip().upper()
            if word == "DATA":
                say("354 go on")
                while (text := stream.readline().rstrip("\r\n")) != ".":
                    heard.append(text)
            elif word == "QUIT":
                say("221 bye")
                return
            say("250 yes")


def test_a_mail() -> None:
    heard: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take_mail, args=(listener, heard))
        thread.start()
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        perform(NoticeEntry(mail=MailEntry(("a@x", "b@y"), "ci@x", server)), notice())
        thread.join()
    assert "Subject: build 7 of b: failure, was success" in heard
    assert "To: a@x, b@y" in heard
    assert "revision = 1f2e" in heard
    with pytest.raises(NotTold):
        perform(NoticeEntry(mail=MailEntry(("a@x",), "ci@x", server)), notice())


# -- in a master


@pytest.mark.trio
async def test_no_notice_waits_for_another(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    told: list[str] = []
    tries: dict[str, int] = {}
    lines: list[str] = []

    def instead(entry: NoticeEntry, notice: Notice) -> None:
        tries[entry.command[0]] = tries.get(entry.command[0], 0) + 1
        if entry.command[0] == "never" or (entry.command[0] == "later" and tries["later"] == 1):
            raise NotTold("busy")
        told.append(entry.command[0])

    monkeypatch.setattr(notifier, "perform", instead)
    teller = Notifier(lines.append)
    entries = [NoticeEntry("always", command=(name,)) for name in ("never", "later", "now")]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(teller.run)
        teller.tell(entries, notice())
        teller.tell([NoticeEntry("always", ("other",), command=("now",))], notice())
        teller.tell([NoticeEntry("change", command=("now",))], notice("success", "success"))
        await teller.wait_idle()
        nursery.cancel_scope.cancel()
    assert told == ["now", "later"]
    assert tries == {"never": 3, "later": 2, "now": 1}
    assert lines == ["never could not be told of build 7 of b: failure, was success: busy"]


def triggered(master: OurMaster) -> int:
    """Have it build, wait for the end, and return the exit code."""
    program = [sys.executable, "-m", "slaveproto", "trigger", "--wait", str(master.file), "b"]
    return subprocess.run(program, capture_output=True, timeout=30).returncode


@pytest.mark.trio
async def test_there_is_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MOST_UNDER_WAY", 3)
    lines: list[str] = []
    teller = Notifier(lines.append)
    for _ in range(5):
        teller.tell([NoticeEntry("always", command=("now",))], notice())
    assert lines == ["now is not told of build 7 of b: failure, was success: too many notices wait"] * 2


@pytest.mark.programs
def test_a_master_tells(tmp_path: Path) -> None:
    with hook() as (url, handler), socket.create_server(("127.0.0.1", 0)) as silent:
        text = (
            f'[master]\nlisten = "127.0.0.1:9989"\n[[notify]]\nurl = "{url}"\n'
            f'[[notify]]\nwhen = "always"\nurl = "http://127.0.0.1:{silent.getsockname()[1]}/hangs"\n'
            '[[builder]]\nname = "b"\n[[builder.step]]\nshell = "test -f ../good"\n'
        )
        with OurMaster(tmp_path / "master", text) as master:
            wait_until(lambda: "listening on" in master.log())
            assert triggered(master) == 1
            assert triggered(master) == 1
            (tmp_path / "master/.slaveproto/slave/b/good").touch()
            assert triggered(master) == 0
            assert triggered(master) == 0
            wait_until(lambda: len(handler.got) == 2)
        found = [json.loads(data) for _, data in handler.got]
        assert [(it["build"], it["result"], it["before"]) for it in found] == [
            (1, "failure", None), (3, "success", "failure"),
        ]  # fmt: skip
