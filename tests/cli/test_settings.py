"""Settings of a slave: each mistake in the file is told in one line with its place; file, fields and page agree."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.privacy import exposed
from slaveproto.cli.settings import REQUIRED, SETTINGS, SHUTDOWNS, Settings, default_of, dump, load, private_files
from slaveproto.commands.listed_variables import LISTED, LISTED_BEGINNINGS

GOOD = 'host = "master"\nport = 9989\nname = "bot"\npassword = "secret"\n'


def refusal(tmp_path: Path, text: str | bytes) -> str:
    """Return why a file with this text is refused, without the path before it."""
    path = tmp_path / "slaveproto.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        load(str(tmp_path))
    return str(caught.value).removeprefix(str(path))


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    (tmp_path / "slaveproto.toml").write_text(GOOD)
    assert load(str(tmp_path)) == Settings(
        host="master", port=9989, name="bot", password="secret", basedir=str(tmp_path)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("keepalvie = 5", ":5: unknown key 'keepalvie'; there are host, port, "),
        ("[slave]\nname = 1", ":5: unknown key 'slave'"),
        ("'key word' = 1", ":5: unknown key 'key word'"),
        ('keepalive = "often"', ":5: keepalive should be an integer or a float, not a string"),
        ("keepalive = true", ":5: keepalive should be an integer or a float, not true or false"),
        ("use_pty = 1", ":5: use_pty should be true or false, not an integer"),
        ("encoding = []", ":5: encoding should be a string, not an array"),
        ("umask = 2024-01-01", ":5: umask should be an integer, not date"),
        ("keepalive = -1", ":5: keepalive should be from 0 to 999999999"),
        ("keepalive = nan", ":5: keepalive should be from 0 to"),
        ("keepalive = inf", ":5: keepalive should be from 0 to"),
        ("max_delay = 1e10", ":5: max_delay should be from 0.1 to"),
        ("max_retries = -1", ":5: max_retries should be from 1 to"),
        ("umask = 0o1000", ":5: umask should be from 0o000 to 0o777, not 0o1000"),
        ("umask = -1", ":5: umask is negative"),
        ('allow_shutdown = "maybe"', ":5: allow_shutdown should be one of none, signal, file"),
        ('encoding = "klingon"', ":5: encoding should be an encoding that"),
        ('encoding = "undefined"', ":5: encoding should be an encoding that"),
        ('encoding = "rot13"', ":5: encoding should be an encoding that"),
        ('encoding = "utf-16"', ":5: encoding should be an encoding that"),
        ('encoding = "a\\u0000b"', ":5: encoding should be an encoding that"),
        ('encoding = ""', ":5: encoding is empty"),
        ('send_environment = "none"', ":5: send_environment should be one of listed, all, not 'none'"),
        ('send_environment = ["A=b"]', ":5: send_environment should hold names of variables, not 'A=b'"),
        ('send_environment = [""]', ":5: send_environment should hold names of variables, not ''"),
        ("tls = 1", ":5: tls should be true or false, not an integer"),
        ('tls_ca = "ca.pem"', ":5: tls_ca needs tls = true"),
        ('tls = false\ntls_pin = "' + "ab" * 32 + '"', ":6: tls_pin needs tls = true"),
        ('tls = true\ntls_key = "key.pem"', ":6: tls_key needs tls_cert"),
        ('tls = true\ntls_pin = "abc"', ":6: tls_pin should be a SHA-256 of 64 hexadecimal digits"),
        ('tls = true\ntls_ca = ""', ":6: tls_ca is empty"),
        ('proxy = "https://me:pw@proxy"', ":5: proxy should be http://[USER:PASSWORD@]HOST[:PORT]"),
        ("keepalive", ":5: Expected '=' after a key in a key/value pair"),
        ("keepalive = 5\nkeepalive = 6", ":6: Cannot overwrite a value"),
        ("port = 1", ":5: Cannot overwrite a value"),
        ("keepalive =", ":5: Invalid value"),
        ("keepalive = [", ":5: Invalid value"),
        ("keepalive = " + "1" * 5000, ":5: a number of too many digits"),
        ("keepalive = " + "[" * 100_000, ": maximum recursion depth"),
    ],
)
def test_mistakes(tmp_path: Path, line: str, words: str) -> None:
    assert refusal(tmp_path, f"{GOOD}{line}\n").startswith(words)


@pytest.mark.parametrize("key", ["host", "port", "name", "password"])
def test_what_is_missing(tmp_path: Path, key: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(key)]
    assert refusal(tmp_path, "\n".join(lines)) == f": {key} missing"


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_ports(tmp_path: Path, port: str) -> None:
    assert refusal(tmp_path, GOOD.replace("9989", port)) == f":2: port should be from 1 to 65535, not {port}"


def test_an_empty_file(tmp_path: Path) -> None:
    assert refusal(tmp_path, "") == ": host, port, name, password missing"


def test_no_text(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"# \n\nhost = '\xff'") == ":3: not UTF-8"


def test_paths_are_beside_the_file(tmp_path: Path) -> None:
    text = 'tls = true\ntls_ca = "ca.pem"\ntls_cert = "../c.pem"\ntls_key = "/k.pem"\n'
    (tmp_path / "slaveproto.toml").write_text(GOOD + text)
    found = load(str(tmp_path))
    assert (found.tls_ca, found.tls_cert, found.tls_key) == (
        str(tmp_path / "ca.pem"), str(tmp_path.parent / "c.pem"), "/k.pem"
    )  # fmt: skip


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a slave's base directory.*make it one with `slaveproto create-slave`"):
        load(str(tmp_path))
    with pytest.raises(UsageError, match="no such directory; make it with"):
        load(str(tmp_path / "none"))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "slaveproto.toml").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        load(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Not a directory"):
        load(str(tmp_path / "file"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "slaveproto.toml").touch(0)
    with pytest.raises(UsageError, match="Permission denied"):
        load(str(tmp_path))


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
seconds = st.integers(0, 10**9 - 1) | st.floats(0, 10**9 - 1)


@settings(max_examples=50)
@given(
    st.builds(
        Settings,
        host=words,
        port=st.integers(1, 65535),
        name=words,
        basedir=st.just("/slave"),
        password=st.just("") | words,
        keepalive=seconds,
        max_delay=st.integers(1, 10**9 - 1) | st.floats(0.1, 10**9 - 1),
        max_retries=st.none() | st.integers(1, 10**9 - 1),
        use_pty=st.booleans(),
        umask=st.none() | st.integers(0, 0o777),
        encoding=st.sampled_from(["utf-8", "latin-1", "shift_jis"]),
        allow_shutdown=st.sampled_from(SHUTDOWNS),
        send_environment=st.sampled_from(["listed", "all", (), ("A", "b c")]),
        drain=seconds,
        max_builds=st.none() | st.integers(1, 10**9 - 1),
        idle_exit=st.none() | st.integers(1, 10**9 - 1) | st.floats(0.1, 10**9 - 1),
        numcpus=st.none() | st.integers(1, 10**9 - 1),
        delete_leftover_dirs=st.booleans(),
        tls=st.just(True),
        tls_ca=st.none() | st.just("/etc/ca.pem"),
        tls_pin=st.none() | st.just("ab" * 32),
        tls_name=st.none() | words,
        proxy=st.none() | st.just("http://me:pw@proxy:3128"),
    )
)
def test_what_is_written_is_read_back(written: Settings) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "slaveproto.toml").write_bytes(dump(written).encode())
        assert load(directory) == attrs.evolve(written, basedir=directory)


NO_PASSWORD = GOOD.replace('password = "secret"\n', "")


def test_where_the_password_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pw").write_text("of the file\nmore\n")
    monkeypatch.setenv("SLAVE_PASSWORD", "of the environment")
    receiving, sending = os.pipe()
    os.write(sending, b"of the descriptor\n")
    os.close(sending)
    for line, password in (
        ('password_file = "pw"', "of the file"),
        (f'password_file = "{tmp_path}/pw"', "of the file"),
        ('password_environment = "SLAVE_PASSWORD"', "of the environment"),
        (f"password_descriptor = {receiving}", "of the descriptor"),
    ):
        (tmp_path / "slaveproto.toml").write_text(f"{NO_PASSWORD}{line}\n")
        found = load(str(tmp_path))
        assert found.password == password
        assert password not in dump(found)
        assert line.split(" =")[0] in dump(found)
    assert "SLAVE_PASSWORD" not in os.environ, "the commands of builds would get it"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(receiving)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('password = "x"\npassword_file = "pw"', ":5: password_file is one place too many for the password"),
        ('password_environment = "A"\npassword_file = "pw"', ":4: password_environment is one place too many"),
        ('password_file = "none"', ":4: password_file 'none' cannot be read: No such file or directory"),
        ('password_file = "latin"', ":4: password_file 'latin' is not UTF-8"),
        ('password_file = "empty"', ":4: password_file 'empty' has no password"),
        ('password_environment = "NOT_THERE"', ":4: password_environment 'NOT_THERE' has no password"),
        ("password_descriptor = 999", ":4: password_descriptor 999 cannot be read: Bad file descriptor"),
        ('password_descriptor = "3"', ":4: password_descriptor should be an integer, not a string"),
    ],
)
def test_a_password_that_is_not_there(tmp_path: Path, lines: str, words: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "latin").write_bytes(b"canary\xe9\n")
    assert refusal(tmp_path, f"{NO_PASSWORD}{lines}\n").startswith(words)


@pytest.mark.parametrize(
    ("mode", "told"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o620, True)]
)
def test_files_that_others_can_read(tmp_path: Path, mode: int, told: bool) -> None:
    path = tmp_path / "slaveproto.toml"
    path.write_text(GOOD)
    path.chmod(mode)
    files = private_files(load(str(tmp_path)))
    assert files == [str(path)]
    line = f"{path} holds a password or a key, and other users may read or change it (mode {mode:04o}); "
    assert [text.startswith(line) for text in exposed(files)] == [True] * told


def test_files_that_hold_no_password(tmp_path: Path) -> None:
    path = tmp_path / "slaveproto.toml"
    (tmp_path / "pw").write_text("pw\n")
    path.write_text(f'{NO_PASSWORD}password_file = "pw"\n')
    assert private_files(load(str(tmp_path))) == [str(tmp_path / "pw")]
    path.write_text(f'{NO_PASSWORD}password_file = "pw"\nproxy = "http://me:pw@proxy:1"\n')
    assert private_files(load(str(tmp_path))) == [str(tmp_path / "pw"), str(path)]
    assert list(exposed([str(tmp_path), str(tmp_path / "none"), "/dev/null"])) == []


def test_rows_and_fields_are_the_same() -> None:
    """A new field needs a row, and a new row a field; these fields are not for the file."""
    assert {*SETTINGS} == {*attrs.fields_dict(Settings)} - {"basedir", "login_silence", "connect_timeout"}
    assert {key for key in SETTINGS if default_of(key) is attrs.NOTHING} == set(REQUIRED)


def test_defaults_are_right() -> None:
    """A default goes into the file and is read back; one that its own kind refuses would not."""
    least = Settings(host="h", port=1, name="n", password="", basedir="/")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "slaveproto.toml").write_bytes(dump(least).encode())
        assert load(directory) == attrs.evolve(least, basedir=directory)


def test_the_page() -> None:
    """docs/slave-file.md has the rows of the schema, in its order."""
    expected = []
    for key, setting in SETTINGS.items():
        default = default_of(key)
        argument = f" {setting.metavar}" if setting.metavar else ""
        options = ", ".join(f"`{option}{argument}`" for option in setting.options).replace("|", "\\|")
        shown = "required" if default is attrs.NOTHING else setting.unset or f"`{setting.show(default)}`"
        values = (setting.kind.__doc__ or "").rstrip(".").lower().replace("python", "Python").replace("ascii", "ASCII")
        expected.append(f"| `{key}` | {options} | {shown} | {values} | {setting.meaning} |")
    page = (Path(__file__).parents[2] / "docs" / "slave-file.md").read_text()
    assert [line for line in page.partition("\n## ")[0].splitlines() if line.startswith("| `")] == expected


def test_the_page_has_the_variables_that_masters_are_told() -> None:
    page = (Path(__file__).parents[2] / "docs" / "slave-file.md").read_text()
    section = page.partition("On the list")[2].partition("Not on it")[0]
    named = set(re.findall("`([^`]+)`", section)) - {"worker_environ", "SetPropertiesFromEnv"}
    assert named == LISTED | set(LISTED_BEGINNINGS)


def test_the_password_is_not_shown() -> None:
    shown = repr(Settings(host="h", port=1, name="n", password="secret", basedir="/b", proxy="http://me:secret@p"))
    assert "secret" not in shown
