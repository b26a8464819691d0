"""Both runners do what every runner must."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slaveproto.testing.conformance import CHECKS, Check, CheckSkipped, StartSlave, run_check

pytestmark = pytest.mark.programs


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_conformance(check: Check, start: StartSlave) -> None:
    try:
        run_check(check, start)
    except CheckSkipped as reason:
        pytest.skip(str(reason))


def test_names_are_unique() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_the_suite_needs_neither_pytest_nor_trio() -> None:
    program = (
        "import sys; sys.modules.update(pytest=None, trio=None); import slaveproto.testing.conformance as suite; "
        "print(len(suite.CHECKS))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(CHECKS)
