"""Values of secrets: where they come from, and the words for those that are of no use, without the value."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slaveproto.ci.file.secrets import LARGEST, FromCommand, FromEnvironment, FromFile, SecretSource, SecretUnreadable


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b" two words \n", " two words "),
        (b"first\nsecond\n", "first\nsecond\n"),
        ("caf\xe9".encode(), "caf\xe9"),
    ],
)
def test_a_file(tmp_path: Path, data: bytes, value: str) -> None:
    (tmp_path / "key").write_bytes(data)
    assert SecretSource("x", FromFile(str(tmp_path / "key"))).read() == value


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is shorter than 4 characters"),
        (b"abc\n", "is shorter than 4 characters"),
        (b"  a  \n", "is shorter than 4 characters"),
        (b"canary\0", "contains a null character"),
        (b"canary\xff", "is not UTF-8"),
        (b"x" * (LARGEST + 1), "is larger than 16384 bytes"),
        (b"name", "is a part of its name"),
    ],
)
def test_values_that_are_of_no_use(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(SecretUnreadable, match=f"^the secret my-name {why}") as caught:
        SecretSource("my-name", FromFile(str(tmp_path / "key"))).read()
    assert "canary" not in str(caught.value)


def test_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SecretSource("x", FromEnvironment("SOME_TOKEN"))
    monkeypatch.delenv("SOME_TOKEN", raising=False)
    with pytest.raises(SecretUnreadable, match="the secret x is not there: no environment variable SOME_TOKEN"):
        source.read()
    monkeypatch.setenv("SOME_TOKEN", "hunter2")
    assert source.read() == "hunter2"


@pytest.mark.programs
def test_a_program(tmp_path: Path) -> None:
    def read(*words: str) -> str:
        return SecretSource("x", FromCommand(words, str(tmp_path))).read()

    (tmp_path / "key").write_text("hunter2\n")
    assert read("cat", "key") == "hunter2"
    for words, why in (
        (("sh", "-c", "echo canary; echo canary >&2; exit 3"), "cannot be read: sh ended with exit code 3"),
        (("no-such-program",), "cannot be read: no-such-program: No such file or directory"),
        (
            (sys.executable, "-c", "raise SystemExit('canary')"),
            f"cannot be read: {sys.executable} ended with exit code 1",
        ),
    ):
        with pytest.raises(SecretUnreadable) as caught:
            read(*words)
        assert str(caught.value) == f"the secret x {why}"
