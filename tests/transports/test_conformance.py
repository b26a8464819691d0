"""Both runners do what every runner must."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

import pytest

from slaveproto import SlaveSession
from slaveproto.inputs import Stop
from slaveproto.slave.events import Connecting, Input, SlaveEvent
from slaveproto.testing.conformance import (
    CHECKS,
    TLS_CHECKS,
    CheckSkipped,
    SlaveCheck,
    StartSlave,
    run_check,
    wait_until,
)
from tests.transports.support import RUNNERS
from tests.transports.test_trio import CERTIFICATE
from transports.host.route import Route
from transports.host.tls import client_context, server_context

pytestmark = pytest.mark.programs


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_conformance(check: SlaveCheck, start: StartSlave) -> None:
    try:
        run_check(check, start)
    except CheckSkipped as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("check", TLS_CHECKS, ids=lambda check: check.name)
def test_conformance_over_tls(check: SlaveCheck, runner: str) -> None:
    route = Route(client_context(ca=CERTIFICATE))
    try:
        run_check(check, partial(RUNNERS[runner], route=route), server_context(CERTIFICATE))
    except CheckSkipped as reason:
        pytest.skip(str(reason))


def test_names_are_unique() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)


class Lazy:
    """A runner that ends at once and did nothing."""

    def __init__(self, session: SlaveSession) -> None:
        self.posted: list[Input] = []

    def events(self) -> Sequence[SlaveEvent]:
        return [Connecting("127.0.0.1", 1)]

    def post(self, item: Input) -> None:
        self.posted.append(item)

    def stop(self, why: str) -> None:
        self.post(Stop(why))

    def wait(self, timeout: float) -> bool:
        return True


def test_a_failure_tells_what_was_expected_and_what_came() -> None:
    check = next(check for check in CHECKS if check.name == "stop_while_waiting")
    with pytest.raises(AssertionError) as failure:
        run_check(check, Lazy)
    lines = str(failure.value).splitlines()
    assert lines[0] == "stop while waiting: not so"
    assert lines[1] == "expected: the slave announces Detached, but the runner has ended"
    assert re.fullmatch(r"  endings\.py:\d+: slave\.wait_for\(Detached\)", lines[3])
    assert lines[-4:-2] == ["announcements of slave 1:", "  Connecting(host='127.0.0.1', port=1)"]
    assert lines[-2].startswith("threads besides the main one: ")
    assert lines[-1].startswith("child processes of the main thread: ")


def test_a_condition_that_does_not_hold_is_shown_as_it_is_written() -> None:
    with pytest.raises(AssertionError, match=r"^`wait_until\(lambda: False, 0\)` within 0 s$"):
        wait_until(lambda: False, 0)


def test_the_suite_needs_neither_pytest_nor_trio() -> None:
    program = (
        "import sys; sys.modules.update(pytest=None, trio=None); import slaveproto.testing.conformance as suite; "
        "print(len(suite.CHECKS))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(CHECKS)
