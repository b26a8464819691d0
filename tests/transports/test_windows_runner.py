"""The blocking runner with all that it does on Windows but starting processes."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

from slaveproto.testing.conformance import CHECKS, CheckSkipped, SlaveCheck, run_check
from tests.transports.support import Threaded
from tests.transports.windows_parts import put_disk, put_threads

pytestmark = pytest.mark.programs

# On Windows what a command started cannot get out of its reach, so threads may wait for a pipe to be closed.
ESCAPES = {"an_input_that_only_a_daemon_holds_is_given_up"}


def of_commands() -> list[SlaveCheck]:
    """The checks of processes and their streams."""

    def module(check: SlaveCheck) -> str:
        body = check.body.func if isinstance(check.body, functools.partial) else check.body
        return str(body.__module__)

    found = [check for check in CHECKS if module(check).endswith(".commands")]
    assert {check.name for check in found} > ESCAPES
    return [check for check in found if check.name not in ESCAPES]


@pytest.mark.parametrize("check", of_commands(), ids=lambda check: check.name)
def test_conformance(check: SlaveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    put_disk(monkeypatch)
    put_threads(monkeypatch)
    try:
        run_check(check, Threaded)
    except CheckSkipped as reason:
        pytest.skip(str(reason))


def test_a_warning_at_the_start() -> None:
    """On Windows the first import of a runner's parts warns that nothing was run there; elsewhere none does."""
    start = "import sys, subprocess, tempfile, warnings; {}; import transports.host.system"
    done = [
        subprocess.run([sys.executable, "-c", start.format(how)], capture_output=True, text=True, check=True)
        for how in ("sys.platform = 'win32'", "pass")
    ]
    assert "ExperimentalWarning: slaveproto was never run on Windows" in done[0].stderr
    assert done[1].stderr == ""
