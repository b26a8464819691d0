"""Base directories of Buildbot's slaves: what is read of their files, what is said of the rest; no code is run."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.ci.errors import UsageError
from slaveproto.cli import main
from slaveproto.cli.endpoints import parse_endpoint
from slaveproto.cli.home import settings_of
from slaveproto.cli.settings import load
from slaveproto.cli.tac import Tac, read_tac
from tests.cli.test_create_slave import complaint

TACS = Path(__file__).parent.parent / "data" / "tacs"
SHAPES = sorted(path.stem for path in TACS.iterdir())


def placed(folder: Path, shape: str) -> Path:
    """Make a base directory with a file of that shape."""
    shutil.copyfile(TACS / f"{shape}.tac", folder / "buildbot.tac")
    return folder


def written(folder: Path, text: str) -> Tac:
    """Read a file with that text."""
    (folder / "buildbot.tac").write_text(text)
    return read_tac(str(folder), {"SET": "from the environment", "PORT": "9989"})


def made(arguments: str, before: str = "") -> str:
    """Return a file that makes a worker with these arguments behind the usual ones."""
    return f"{before}\ns = Worker('h', 9989, 'n', 'p', '.', 600, {arguments})\n"


WITH_VARIABLES = {
    "BUILDMASTER": "m.example.org",
    "BUILDMASTER_PORT": "9995",
    "WORKERNAME": "w1",
    "WORKERPASS": "pw",
    "SITE": "example.org",
}


@pytest.mark.parametrize(
    ("shape", "settings", "remarks"),
    [
        (
            "python2",
            {"host": "master.example.org", "port": 9990, "name": "bot", "password": "se#cret 022", "keepalive": 0,
             "use_pty": True, "umask": 0o22, "max_delay": 30},
            ["26: basedir = '/srv/another place' is another directory"],
        ),
        (
            "container",
            {"host": "m.example.org", "port": 9995, "name": "w1", "password": "pw",
             "password_environment": "WORKERPASS", "umask": 0o22, "max_retries": 10},
            ["20: not run: for variable in list(os.environ.keys()):", "24: keepalive = 600 is the default there"],
        ),
        (
            "password-file",
            {"host": "build.example.org", "port": 9989, "name": "bot-example.org", "password": "from a file",
             "password_file": "secrets/password", "keepalive": 60, "numcpus": 4, "allow_shutdown": "file",
             "delete_leftover_dirs": True, "tls": True, "proxy": "http://proxy.example.org:3128"},
            [],
        ),
        (
            "own-commands",
            {"host": "master.example.org", "port": 9989, "name": "bot", "password": "secret", "use_pty": False},
            ["4: not run: import requests", "8: not run: class SlavePyFlakes", "15: keepalive = 600",
             "15: umask is not read, and left as it is by default: umask",
             "15: unicode_encoding = 'latin-1' is not obeyed", "15: allow_shutdown = True does nothing",
             "17: not run: registerSlaveCommand"],
        ),
        (
            "endpoint",
            {"host": "fe80::1", "port": 9991, "name": "bot", "password": "secret", "max_delay": 300,
             "allow_shutdown": "signal", "delete_leftover_dirs": False, "tls": True},
            ["42: keepalive = 600"],
        ),
    ],
)  # fmt: skip
def test_shapes(shape: str, settings: dict[str, Any], remarks: list[str], tmp_path: Path) -> None:
    placed(tmp_path, shape)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/password").write_text("from a file\n")
    tac = read_tac(str(tmp_path), WITH_VARIABLES)
    assert tac.settings == settings
    assert len(tac.remarks) == len(remarks), tac.remarks
    for told in remarks:
        assert any(f"buildbot.tac:{told}" in remark for remark in tac.remarks), (told, tac.remarks)


def test_all_shapes_are_looked_at() -> None:
    assert SHAPES == ["container", "endpoint", "own-commands", "password-file", "python2"]


@pytest.mark.parametrize("code", [
    "open('ran', 'w').write('x')",
    "__import__('os').system('touch ran')",
    "(lambda: open('ran', 'w').close())()",
    "[open('ran', 'w') for _ in [1]][0]",
    "os.path.join(open('ran', 'w').name, 'x')",
    "int(open('ran', 'w').write('1'))",
    "f\"{open('ran', 'w').write('x')}\"",
])  # fmt: skip
def test_no_code_is_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is no value that can be read without running code"):
        written(tmp_path, f"import os\npasswd = {code}\ns = Worker('h', 1, 'n', passwd, '.', 600)\n")
    written(tmp_path, made("umask=None", f"import os\n{code}\nx = {code}\n"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["buildbot.tac"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "makes no slave that can be read here"),
        ("def f():\n    Worker('h', 1, 'n', 'p', '.', 600)\n", "makes no slave"),
        (
            "a = Worker('h', 1, 'n', 'p', '.', 6)\nb = Worker('h', 1, 'm', 'p', '.', 6)\n",
            r"makes 2 slaves (lines 1, 2)",
        ),
        ("print 'hello'\n", "1: is no Python that can be read here"),
        ("x = (\n", "is no Python"),
        ("s = Worker(*args)\n", "1: the arguments of Worker are not all written out"),
        ("from host import port\ns = Worker('h', port, 'n', 'p', '.', 6)\n", "2: port is no value"),
        ("if x:\n    port = 1\nelse:\n    port = 2\ns = Worker('h', port, 'n', 'p', '.', 6)\n", "5: port is no value"),
        ("s = Worker('h', 1, 'n', os.environ['NOT_SET'], '.', 6)\n", "the variable NOT_SET is not set"),
        ("s = Worker('h', 1, 'n', open('none').read(), '.', 6)\n", "none: No such file"),
        ("s = Worker('h', 1, 'n', None, '.', 6)\n", "1: password missing"),
        ("s = Worker('h', 99999, 'n', 'p', '.', 6)\n", "1: port should be from 1 to 65535, not 99999"),
        ("s = Worker('h', '99', 'n', 'p', '.', -6)\n", "1: keepalive should be"),
        (made("protocol='msgpack_experimental_v7'"), "protocol 'msgpack_experimental_v7' is not spoken here"),
        (made("connection_string='unix:/x'"), "should begin with tcp:, tls: or ssl:"),
        (made("umask='022'"), "umask should be"),
        (made("proxy_connection_string='tls:h:1'"), "a proxy with TLS is not spoken to"),
        ("\0", "cannot be read|no Python"),
        ("(" * 5000, "no Python|cannot be read"),
        ("x = " + "-" * 5000 + "1\n", "no Python|cannot be read|makes no slave"),
    ],
)
def test_what_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(").replace(")", r"\)")) as refused:
        written(tmp_path, text)
    assert "\n" not in str(refused.value)


@given(st.text("sWorker(','h) 19\n=[]{}:#\"\\b0x+-*/if elsdf_try.", max_size=200) | st.text(max_size=100))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    with contextlib.suppress(UsageError):
        assert written(folder, made("", text)).settings["host"]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("tcp:h:1", {"host": "h", "port": 1}),
        ("tcp:host=h:port=1", {"host": "h", "port": 1}),
        (r"tcp:host=\:\:1:port=1", {"host": "::1", "port": 1}),
        ("tls:h:1", {"host": "h", "port": 1, "tls": True}),
        ("ssl:port=1:host=h:certKey=/c:privateKey=/k", {"host": "h", "port": 1, "tls": True, "tls_cert": "/c",
                                                       "tls_key": "/k"}),
        ("tls:h:1:certificate=/c", {"host": "h", "port": 1, "tls": True, "tls_cert": "/c"}),
    ],
)  # fmt: skip
def test_endpoints(text: str, settings: dict[str, Any]) -> None:
    assert parse_endpoint(text) == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "should begin with"), (":", "should begin with"), ("unix:/s", "should begin with"), ("h:1", "begin with"),
        ("tcp:h", "needs a host and a port"), ("tcp:h:x", "needs a host and a port"), ("tcp::1", "needs a host"),
        ("tcp:h:0", "needs a host and a port"), ("tcp:h:1:30", "timeout"), ("tcp:h:1:1:1:1:1", "one part too many"),
        ("ssl:h:1:caCertsDir=/d", "name the file with the authorities instead"), ("tcp:h:1:certificate=/c", "cert"),
    ],
)  # fmt: skip
def test_endpoints_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_endpoint(text)


# -- the subcommands


def test_adopt_writes_our_file_and_says_what_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = placed(tmp_path, "python2")
    (base / "info").mkdir()
    (base / "info/admin").write_text("me\n")
    before = (base / "buildbot.tac").read_bytes()
    assert main(["adopt", str(base)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == f"{base}: slaveproto.toml ready, for slave bot of master.example.org:9990"
    assert {line.strip() for line in lines[1:] if line.startswith(" ")} == {
        "keepalive = 0", "max_delay = 30", "umask = 0o022", "use_pty = true",
    }  # fmt: skip
    assert "kept: buildbot.tac, info/admin and all else" in lines[-1]
    found = load(str(base))
    assert (found.host, found.port, found.password, found.umask) == ("master.example.org", 9990, "se#cret 022", 0o22)
    assert (base / "info/admin").read_text() == "me\n"
    assert (base / "buildbot.tac").read_bytes() == before
    assert oct((base / "slaveproto.toml").stat().st_mode)[-3:] == "600"
    assert "slaveproto adopt" in (base / "slaveproto.toml").read_text()


def test_adopted_passwords_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WITH_VARIABLES.items():
        monkeypatch.setenv(name, value)
    base = placed(tmp_path, "password-file")
    (base / "secrets").mkdir()
    (base / "secrets/password").write_text("from a file\n")
    assert main(["adopt", str(base)]) == 0
    assert "from a file" not in (base / "slaveproto.toml").read_text()
    assert load(str(base)).password == "from a file"
    other = tmp_path / "other"
    other.mkdir()
    assert main(["adopt", str(placed(other, "container"))]) == 0
    assert 'password_environment = "WORKERPASS"' in (other / "slaveproto.toml").read_text()


def test_our_file_counts_once_it_is_there(tmp_path: Path) -> None:
    base = placed(tmp_path, "python2")
    home = settings_of(str(base))
    assert (home.settings.host, home.settings.basedir) == ("master.example.org", str(base))
    assert "nothing in it was run" in home.remarks[0]
    assert main(["create-slave", "-q", str(base), "elsewhere", "other", "pw"]) == 0
    assert settings_of(str(base)).settings.host == "elsewhere"
    assert settings_of(str(base)).remarks == ()


def test_a_password_of_the_environment_is_taken_out_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name, value in WITH_VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert settings_of(str(placed(tmp_path, "container"))).settings.password == "pw"
    assert "WORKERPASS" not in os.environ


def test_what_adopt_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no buildbot.tac there" in complaint(capfd, "adopt", str(tmp_path))
    base = placed(tmp_path, "python2")
    (base / "slaveproto.toml").write_text("host = 1\n")
    assert "--force overwrites it" in complaint(capfd, "adopt", str(base))
    (base / "buildbot.tac").write_text("x\n")
    assert "makes no slave" in complaint(capfd, "adopt", str(base))


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--connection-string=tls:m.example.org:1234"], {"host": "m.example.org", "port": 1234, "tls": True}),
        (
            ["--proxy-connection-string=tcp:host=p:port=8080"],
            {"host": "master", "port": 9989, "proxy": "http://p:8080"},
        ),
    ],
)
def test_create_slave_knows_endpoints(options: list[str], settings: dict[str, Any], tmp_path: Path) -> None:
    assert main(["create-slave", "-q", *options, str(tmp_path / "s"), "master", "n", "p"]) == 0
    found = load(str(tmp_path / "s"))
    assert {key: getattr(found, key) for key in settings} == settings


def test_create_slave_says_what_it_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = placed(tmp_path, "python2")
    (base / "info").mkdir()
    (base / "info/host").write_text("a host\n")
    assert main(["create-slave", str(base), "master", "n", "p"]) == 0
    assert "kept buildbot.tac, info/host" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["create-slave", "--tls-cc", "X", "d", "h", "n", "-"],
            "unknown option: --tls-cc; see `slaveproto create-slave",
        ),
        (["create-slave", "d", "h", "n", "p", "q"], "too many arguments: q; see `slaveproto create-slave --help`"),
        (["slave", "--no-such", "d"], "unknown option: --no-such; see `slaveproto slave --help`"),
        (["create-slave", "--tls", "--connection-string=tls:h:1", "d", "h", "n", "p"], "tls is given twice"),
        (["create-slave", "--protocol=msgpack", "d", "h", "n", "p"], "invalid choice: 'msgpack'"),
    ],
)
def test_a_wrong_option_is_named_with_the_right_page(
    argv: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert words in complaint(capfd, *argv)
