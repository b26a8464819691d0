"""The part of its environment that a slave tells its master: in its info, and in the headers of commands."""

from __future__ import annotations

import pytest

from slaveproto import HostInfo
from slaveproto.slave.events import SlaveNotice
from slaveproto.testing import SessionDriver
from slaveproto.wire import Value
from tests.commands.sources import install
from tests.slave.support import BUILDERS, GENERATIONS, attach, configured, end_children, events_of, name, newest

CANARY = "canary-7d1f"
OWN = {"PATH": "/bin", "LC_TIME": "C", "TOKEN": CANARY, "http_proxy": f"http://me:{CANARY}@proxy", "MINE": "mine"}


def attached(told: str | tuple[str, ...], generation: str = "4.x") -> SessionDriver:
    driver = SessionDriver(configured(send_environment=told), HostInfo(OWN, "posix", 2, {}, "1.0"))
    attach(driver.start(), generation)
    return driver


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ("listed", {"PATH", "LC_TIME"}),
        (("MINE", "ABSENT"), {"PATH", "LC_TIME", "MINE"}),
        ((), {"PATH", "LC_TIME"}),
        ("all", set(OWN)),
    ],
)
def test_the_info(told: str | tuple[str, ...], names: set[str]) -> None:
    answers = SessionDriver(configured(send_environment=told), HostInfo(OWN, "posix", 2, {}, "1.0")).start()
    info = answers.attach_as_4x(BUILDERS)["getWorkerInfo"]
    assert isinstance(info, dict)
    environ = info["environ"]
    assert isinstance(environ, dict)
    assert set(environ) == names


@pytest.mark.parametrize(
    ("command", "env", "shown"),
    [
        ("shell", None, ["LC_TIME=C", "PATH=/bin"]),
        ("shell", {"TOKEN": "of the step", "A": "${TOKEN} ${PATH} ${NONE}"}, ["A=${TOKEN} /bin", "TOKEN=of the step"]),
        ("shell", {"MINE": None}, ["PATH=/bin"]),
        ("git", None, ["LC_TIME=C", "PATH=/bin"]),
    ],
)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_header(generation: str, command: str, env: Value, shown: list[str]) -> None:
    driver = attached("listed", generation)
    install(driver.host, "git")
    given: dict[str, Value] = {"workdir": "build", "command": ["make"], "env": env, "repourl": "/x", "mode": "copy"}
    header = header_of(driver, generation, command, given)
    assert " environment:\n" in header
    assert set(shown) < {line.strip() for line in header.splitlines()}
    assert CANARY not in header
    assert "more that the slave does not tell)" in header
    assert CANARY.encode() in newest(driver).effect.environ[b"http_proxy"]


def header_of(driver: SessionDriver, generation: str, command: str, arguments: dict[str, Value]) -> str:
    run = driver.master.start_command(name(generation, "linux"), command, arguments)
    end_children(driver)
    driver.advance(10)
    text = run.text("header")
    return text if isinstance(text, str) else text.decode()


def test_all_is_told_if_so_configured() -> None:
    driver = attached("all")
    header = header_of(driver, "4.x", "shell", {"workdir": "build", "command": ["make"]})
    assert f"  TOKEN={CANARY}\n" in header
    assert "does not tell" not in header
    assert not events_of(driver, SlaveNotice)


def test_it_is_said_once() -> None:
    driver = attached("listed")
    driver.lose_connection()
    attach(driver.reconnect(), "0.8")
    assert [event.text for event in events_of(driver, SlaveNotice)] == [
        "the master is told 2 of 5 variables of the environment; send_environment in the configuration changes that"
    ]
