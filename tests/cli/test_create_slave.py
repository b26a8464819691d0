"""The subcommand `create-slave`: the directory that it makes, and the calls that it refuses."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.address import parse_address
from slaveproto.cli import main
from slaveproto.cli.settings import Settings, load

MASTER = ("master.example.org:9989", "bot", "secret")


def complaint(capfd: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run the program, which has to refuse; return the one line that it says."""
    assert main(argv) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("slaveproto: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    return err


def created(tmp_path: Path, *options: str) -> Settings:
    """Create a slave and read back what is in its file."""
    assert main(["create-slave", "-q", *options, str(tmp_path / "slave"), *MASTER]) == 0
    return load(str(tmp_path / "slave"))


def test_what_is_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "new" / "slave"
    assert main(["create-slave", str(base), *MASTER]) == 0
    out, err = capfd.readouterr()
    assert out == f"{base}: ready; now edit info/admin and info/host, then: slaveproto slave {base}\n"
    assert err == ""
    assert sorted(path.relative_to(base).as_posix() for path in base.rglob("*")) == [
        "info",
        "info/admin",
        "info/host",
        "slaveproto.toml",
    ]
    assert (base / "info/admin").read_text() == "Your Name Here <admin@youraddress.invalid>\n"
    assert (base / "info/host").read_text() == "Please put a description of this build host here\n"
    assert stat.S_IMODE((base / "slaveproto.toml").stat().st_mode) == 0o600
    assert tomllib.loads((base / "slaveproto.toml").read_text()) == {
        "host": "master.example.org",
        "port": 9989,
        "name": "bot",
        "password": "secret",
        "keepalive": 6,
        "silence": 52,
        "max_delay": 300,
        "use_pty": False,
        "kill_leftovers": False,
        "resume": True,
        "encoding": "utf-8",
        "allow_shutdown": "none",
        "send_environment": "listed",
        "tls": False,
        "drain": 600,
        "delete_leftover_dirs": False,
    }


def test_the_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        created(tmp_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "slave/slaveproto.toml").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"keepalive": 6, "max_delay": 300, "max_retries": None, "use_pty": False, "umask": None}),
        (["-k", "60"], {"keepalive": 60}),
        (["--keepalive=0"], {"keepalive": 0}),
        (["--keepalive", "2.5"], {"keepalive": 2.5}),
        (["--usepty", "1"], {"use_pty": True}),
        (["--usepty=0"], {"use_pty": False}),
        (["--umask", "022"], {"umask": 0o022}),
        (["--umask", "0o027"], {"umask": 0o027}),
        (["--umask", "0"], {"umask": 0}),
        (["--umask", "None"], {"umask": None}),
        (["--maxdelay", "10"], {"max_delay": 10}),
        (["--maxretries", "5"], {"max_retries": 5}),
        (["--maxdelay", "0.1"], {"max_delay": 0.1}),
        (["-a", "signal"], {"allow_shutdown": "signal"}),
        (["--allow-shutdown=file"], {"allow_shutdown": "file"}),
        (["--numcpus=4", "--delete-leftover-dirs"], {"numcpus": 4, "delete_leftover_dirs": True}),
        (["--numcpus", "None"], {"numcpus": None, "delete_leftover_dirs": False}),
        (["--verbose", "--protocol=pb", "--maxretries=10", "--log-count=None", "--umask=0o22"], {"umask": 0o22}),
        (["--send-environment", "all"], {"send_environment": "all"}),
        (["--send-environment", "A,B_C"], {"send_environment": ("A", "B_C")}),
        ([], {"tls": False, "tls_ca": None, "proxy": None}),
        (["--tls"], {"tls": True, "tls_ca": None}),
        (["--use-tls"], {"tls": True}),
        (["--tls-ca", "/etc/ca.pem"], {"tls": True, "tls_ca": "/etc/ca.pem"}),
        (["--tls-ca=ca.pem"], {"tls": True, "tls_ca": os.path.abspath("ca.pem")}),
        (["--tls-pin", "sha256 Fingerprint=" + ":".join(["AB"] * 32)], {"tls": True, "tls_pin": "ab" * 32}),
        (["--tls-name", "m.example.org"], {"tls": True, "tls_name": "m.example.org"}),
        (["--tls-cert", "/c", "--tls-key", "/k"], {"tls": True, "tls_cert": "/c", "tls_key": "/k"}),
        (["--proxy", "http://me:secret@proxy:3128"], {"tls": False, "proxy": "http://me:secret@proxy:3128"}),
        (["-r", "-n", "-s", "10000000", "-l", "10"], {}),
        (["--relocatable", "--no-logrotate", "--log-size", "1", "--log-count", "None", "--force"], {}),
    ],
)
def test_options(tmp_path: Path, options: list[str], expected: dict[str, Any]) -> None:
    settings = created(tmp_path, *options)
    assert {key: getattr(settings, key) for key in expected} == expected


def test_a_key_without_its_certificate(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = complaint(capfd, "create-slave", str(tmp_path / "slave"), *MASTER, "--tls-key", "k")
    assert line == "slaveproto: --tls-key needs --tls-cert\n"


@pytest.mark.parametrize(
    "options",
    [
        ["--maxretries", "0"],
        ["--maxdelay", "0"],
        ["-k", "soon"], ["-k", "-1"], ["-k", "nan"], ["-k", "inf"], ["--usepty", "yes"], ["--umask", "9"],
        ["--umask", "1000"], ["--umask", "-1"], ["--maxdelay", ""], ["--maxretries", "-1"], ["--maxretries", "1.5"],
        ["--tls-pin", "ab"], ["--tls-ca", ""], ["--tls-name", ""], ["--proxy", "socks5://p"], ["--tls-ca"],
        ["-a", "none"], ["-a", "never"], ["--send-environment", "A=b"], ["--send-environment", "A,"], ["-s", "big"],
        ["-l", "none"], ["--protocol", "msgpack_experimental_v7"], ["--numcpus", "0"], ["--numcpus", "all"],
        ["--no-such-option"], ["-k"],
    ],
)  # fmt: skip
def test_bad_options(tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str]) -> None:
    line = complaint(capfd, "create-slave", str(tmp_path / "slave"), *MASTER, *options)
    assert "; see `slaveproto" in line
    assert "invalid _" not in line, "names of functions do not belong into messages"
    assert not (tmp_path / "slave").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--password-file", "/run/pw"], 'password_file = "/run/pw"'),
        (["--password-environment", "PW"], 'password_environment = "PW"'),
        (["--password-descriptor", "3"], "password_descriptor = 3"),
    ],
)
def test_a_password_that_is_elsewhere(tmp_path: Path, words: list[str], line: str) -> None:
    assert main(["create-slave", "-q", str(tmp_path / "s"), "m", "bot", *words]) == 0
    lines = (tmp_path / "s" / "slaveproto.toml").read_text().splitlines()
    assert line in lines
    assert not any(other.startswith("password =") or "Holds a password" in other for other in lines)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "PASSWORD is missing"),
        (["pw", "--password-file", "x"], "PASSWORD and --password-file cannot be given together"),
        (["--password-file", "x", "--password-descriptor", "3"],
         "--password-file and --password-descriptor cannot be given together"),
    ],
)  # fmt: skip
def test_one_password(tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    assert complaint(capfd, "create-slave", str(tmp_path / "s"), "m", "bot", *words) == f"slaveproto: {why}\n"
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("master", ("master", 9989)),
        ("master:1", ("master", 1)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("[::1]", ("::1", 9989)),
        ("[fe80::1%eth0]:9000", ("fe80::1%eth0", 9000)),
        ("httpd.example.org", ("httpd.example.org", 9989)),
    ],
)
def test_masters(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ":", ":9989", "m:", "m:0", "m:65536", "m:-1", "m:+1", "m: 1", "m:9989x", "m:1_0", "m:" + "1" * 5000, "m:٣",
        "::1", "fe80::1:9989", "[::1", "::1]", "[::1]x", "[::1]x:1", "[]", "[]:1", "[::1]:", "[[::1]]:1", "a:b:1",
        "http://master:8010", "https://master", "http:",
    ],
)  # fmt: skip
def test_bad_masters(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"should be|no port number|web page"):
        parse_address(text)
    complaint(capfd, "create-slave", str(tmp_path / "slave"), text, "bot", "secret")
    assert not (tmp_path / "slave").exists()


def test_empty_words(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "BASEDIR is empty" in complaint(capfd, "create-slave", "", *MASTER)
    assert "NAME is empty" in complaint(capfd, "create-slave", "slave", "master", "", "secret")
    assert not list(tmp_path.iterdir())


def test_an_empty_password_is_one(tmp_path: Path) -> None:
    assert main(["create-slave", "-q", str(tmp_path), "master", "bot", ""]) == 0
    assert load(str(tmp_path)).password == ""


@pytest.mark.parametrize(
    "password", ['"', "\\", "\\n", "\n", "\t\0\x1f\x7f", "é", "😀", "'''", '"""', "#", " = ", "x" * 10000]
)
def test_words_are_read_back_as_they_were(tmp_path: Path, password: str) -> None:
    assert main(["create-slave", "-q", str(tmp_path), "master", password, password]) == 0
    settings = load(str(tmp_path))
    assert (settings.name, settings.password) == (password, password)


# -- directories that are there


def test_the_same_again_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    created(tmp_path)
    (tmp_path / "slave/info/admin").write_text("me")
    before = (tmp_path / "slave/slaveproto.toml").stat()
    assert main(["create-slave", str(tmp_path / "slave"), *MASTER]) == 0
    assert ": unchanged; " in capfd.readouterr().out
    assert (tmp_path / "slave/slaveproto.toml").stat().st_ino == before.st_ino
    assert (tmp_path / "slave/info/admin").read_text() == "me"


def test_another_configuration_is_not_lost(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    created(tmp_path)
    line = complaint(capfd, "create-slave", str(tmp_path / "slave"), "other", "bot", "secret")
    assert "says something else; --force overwrites it" in line
    assert load(str(tmp_path / "slave")).host == "master.example.org"
    (tmp_path / "slave/slaveproto.toml").chmod(0o644)
    assert main(["create-slave", "-q", "-f", str(tmp_path / "slave"), "other", "bot", "secret"]) == 0
    assert load(str(tmp_path / "slave")).host == "other"
    assert stat.S_IMODE((tmp_path / "slave/slaveproto.toml").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "slave").iterdir()) == ["info", "slaveproto.toml"]


def test_what_an_interrupted_call_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "slave").mkdir()
    (tmp_path / "slave/slaveproto.toml.new").write_text("x" * 10_000)
    (tmp_path / "slave/slaveproto.toml.new").chmod(0o666)
    created(tmp_path)
    assert stat.S_IMODE((tmp_path / "slave/slaveproto.toml").stat().st_mode) == 0o600
    assert not (tmp_path / "slave/slaveproto.toml.new").exists()


def test_the_directory_of_a_buildslave_is_taken_over(tmp_path: Path) -> None:
    base = tmp_path / "slave"
    (base / "info").mkdir(parents=True)
    (base / "buildbot.tac").write_text("tac")
    (base / "info/admin").write_text("me")
    created(tmp_path)
    assert (base / "buildbot.tac").read_text() == "tac"
    assert (base / "info/admin").read_text() == "me"


def test_where_no_directory_can_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file/slave", tmp_path / "file"):
        assert "Not a directory" in complaint(capfd, "create-slave", str(place), *MASTER)
        assert "Traceback" not in complaint(capfd, "create-slave", str(place), *MASTER)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in complaint(capfd, "create-slave", str(tmp_path / "slave"), *MASTER)


def test_a_name_with_a_newline_is_still_said_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a\nb").write_text("")
    assert "a\\nb" in complaint(capfd, "create-slave", str(tmp_path / "a\nb" / "slave"), *MASTER)
    assert main(["create-slave", str(tmp_path / "c\nd\udc80"), *MASTER]) == 0
    assert capfd.readouterr().out.count("\n") == 1


# -- the password on standard input


@contextlib.contextmanager
def standard_input(file: Path, data: bytes) -> Iterator[None]:
    """Let descriptor 0 be a file with `data`."""
    file.write_bytes(data)
    saved, opened = os.dup(0), os.open(file, os.O_RDONLY)
    os.dup2(opened, 0)
    os.close(opened)
    try:
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (b"secret\n", "secret"),
        (b"secret", "secret"),
        (b"secret\r\n", "secret"),
        (b" a b \nmore", " a b "),
        ("ä\n".encode(), "ä"),
    ],
)
def test_a_password_from_standard_input(tmp_path: Path, data: bytes, password: str) -> None:
    with standard_input(tmp_path / "input", data):
        assert main(["create-slave", "-q", str(tmp_path / "s"), "m", "bot", "-"]) == 0
    assert load(str(tmp_path / "s")).password == password


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "no password"), (b"\n", "no password"), (b"\xff\n", "not UTF-8")]
)  # fmt: skip
def test_no_password_on_standard_input(
    tmp_path: Path, data: bytes, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with standard_input(tmp_path / "input", data):
        assert words in complaint(capfd, "create-slave", str(tmp_path / "s"), "m", "bot", "-")
    assert not (tmp_path / "s").exists()


def test_no_standard_input(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "slaveproto", "create-slave", str(tmp_path / "s"), "m", "bot", "-"]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *call], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (2, b"slaveproto: no password on standard input\n")


def test_a_name_that_is_no_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = complaint(capfd, "create-slave", str(tmp_path / "s"), "m", os.fsdecode(b"\xff"), "secret")
    assert line == "slaveproto: MASTERHOST, NAME or PASSWORD is not UTF-8\n"
    assert not (tmp_path / "s").exists()
