"""Tests of the ways in which a slave speaks to the kinds of masters."""

from __future__ import annotations

import pytest

from slaveproto.testing import CallRefused, MasterCommand, SessionDriver
from slaveproto.updates import Dialect
from slaveproto.wire import Value
from tests.slave.support import CONFIG, INFO, attached, name, newest

COMMAND: dict[str, Value] = {"workdir": "build", "command": [b"make", b"-j2"], "logEnviron": False}


def output_of(generation: str, **more: Value) -> Value:
    """Return what a master of that generation gets of bytes that are no UTF-8."""
    driver, master = attached(generation)
    command = master.start_command(name(generation, "linux"), "shell", COMMAND | more)
    child = newest(driver)
    driver.output(child, b"caf\xe9\n")
    driver.end(child)
    assert command.ends == [None]
    return command.text("stdout")


@pytest.mark.parametrize("more", [{}, {"raw_output": False}, {"raw_output": 1}, {"raw_output": b"yes"}])
def test_output_is_text_for_a_master_that_reads_text(more: dict[str, Value]) -> None:
    assert output_of("4.x", **more) == "caf\ufffd\n"


def test_master_can_ask_for_the_bytes_of_processes() -> None:
    assert output_of("4.x", raw_output=True) == b"caf\xe9\n"


def test_master_of_08_gets_bytes_anyhow() -> None:
    assert output_of("0.8") == output_of("0.8", raw_output=True) == b"caf\xe9\n"


def header_of(command: MasterCommand) -> str:
    text = command.text("header")
    return text if isinstance(text, str) else text.decode()


def test_master_09_on_python2_reads_text_and_is_shown_text() -> None:
    """Such a master has workers, and all that it says is bytes."""
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    master.call_bot("print", message=b"attached")
    info = master.call_bot("getWorkerInfo")
    assert isinstance(info, dict)
    assert all(isinstance(key, str) for key in info)
    master.set_builders([(b"linux", b"linux")])
    master.accept_login()
    logs: Value = {b"extra": {b"filename": b"x.log", b"follow": False}}
    command = master.start_command(b"linux", b"shell", COMMAND | {"logfiles": logs, "timeout": 3})
    driver.advance(3.0)
    assert isinstance(command.text("header"), str)
    text = header_of(command)
    assert " argv: ['make', '-j2']\n" in text
    assert " watching logfiles {'extra': {'filename': 'x.log', 'follow': False}}\n" in text
    assert "without output running ['make', '-j2'], attempting to kill" in text
    assert "b'" not in text


def test_master_on_python3_is_shown_what_workers_on_python3_show() -> None:
    driver, master = attached("4.x")
    command = master.start_command("linux", "shell", COMMAND)
    driver.advance(1.0)
    assert " argv: [b'make', b'-j2']\n" in header_of(command)


@pytest.mark.parametrize(
    ("generation", "kind", "message"),
    [
        ("0.8", "buildslave.bot.UnknownCommand", "unrecognized SlaveCommand 'fly'"),
        ("4.x", "buildbot_worker.base.UnknownCommand", "(command 0): unrecognized WorkerCommand 'fly'"),
    ],
)
def test_unknown_command_fails_as_the_masters_own_slaves_fail_it(generation: str, kind: str, message: str) -> None:
    _, master = attached(generation)
    with pytest.raises(CallRefused) as refused:
        master.start_command(name(generation, "linux"), "fly", {})
    assert (refused.value.failure.kind, refused.value.failure.message) == (kind, message)


def test_kind_of_a_master_is_forgotten_with_its_connection() -> None:
    driver, _ = attached("4.x")
    driver.lose_connection()
    master = driver.reconnect()
    assert driver.session._context.dialect is Dialect.BYTES
    assert isinstance(master.call_bot("getVersion"), bytes)
