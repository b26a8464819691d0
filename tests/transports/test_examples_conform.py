"""The slaves among the examples do what every runner must."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import asyncio_slave
import selectors_slave

from slaveproto import SlaveSession
from slaveproto.effects import Spawn
from slaveproto.slave import Input, SlaveEvent, Stop
from slaveproto.testing.conformance import CHECKS, CheckSkipped, MasterSocket, SlaveCheck, StartSlave, run_check
from slaveproto.testing.conformance.harness import descriptors, is_alive
from transports.host.system import processes

pytestmark = pytest.mark.programs

CERTIFICATE = Path(__file__).parents[1] / "data" / "localhost.pem"


class _InThread:
    """A runner in a thread of its own."""

    def __init__(self, session: SlaveSession) -> None:
        self.announced: list[SlaveEvent] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(session,))
        self._thread.start()

    def _run(self, session: SlaveSession) -> None:
        try:
            self.drive(session)
        except BaseException as error:
            self._error = error

    def drive(self, session: SlaveSession) -> None:
        """Run the session to its end."""
        raise NotImplementedError

    def events(self) -> Sequence[SlaveEvent]:
        """Return all that was announced so far."""
        return list(self.announced)

    def wait(self, timeout: float) -> bool:
        """Wait for the end; raises what the runner raised."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True


class OnAsyncio(_InThread):
    """The slave on asyncio, in a loop of its own."""

    def __init__(self, session: SlaveSession) -> None:
        begun: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio_slave.Slave]] = SimpleQueue()
        self._begun = begun
        super().__init__(session)
        self._loop, self._slave = begun.get(timeout=20)

    def drive(self, session: SlaveSession) -> None:
        asyncio.run(self._main(session))

    async def _main(self, session: SlaveSession) -> None:
        slave = asyncio_slave.Slave(session, self.announced.append)
        loop = asyncio.get_running_loop()
        loop.call_soon(self._begun.put, (loop, slave))
        await slave.run()

    def post(self, item: Input) -> None:
        """Hand an input to the session."""
        # After the end there is no loop.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._slave.post, item)

    def stop(self, why: str) -> None:
        """Ask for the end."""
        self.post(Stop(why))


class OnSelectors(_InThread):
    """The slave on a bare selector."""

    def __init__(self, session: SlaveSession) -> None:
        self._slave = selectors_slave.Slave(session, self.announce)
        self.post = self._slave.post
        self.stop = self._slave.stop
        super().__init__(session)

    def announce(self, event: SlaveEvent) -> None:
        """Keep an announcement."""
        self.announced.append(event)

    def drive(self, session: SlaveSession) -> None:
        self._slave.run()


SLAVES: Mapping[str, StartSlave] = {"asyncio": OnAsyncio, "selectors": OnSelectors}

BLOCKED = ("selectors", "a_copy_that_takes_long_can_be_interrupted")
"""A bare loop performs file effects on the spot, as the example says, and hears nothing meanwhile."""

PROCESSES = 3
"""For each slave: most checks wait most of the time, and look at their own process."""

Outcomes = Mapping[str, str]
"""What came of each check: `passed`, why it was skipped, or a traceback."""


def run_some(slave: str, part: int) -> Outcomes:
    """Run every `PROCESSES`th check."""
    # Last bytes that nobody reads would take five seconds.
    asyncio_slave.LINGER = 0.5
    outcomes = {}
    for check in CHECKS[part::PROCESSES]:
        if (slave, check.name) != BLOCKED:
            try:
                run_check(check, SLAVES[slave])
                outcomes[check.name] = "passed"
            except CheckSkipped as reason:
                outcomes[check.name] = f"skipped: {reason}"
            except Exception:
                outcomes[check.name] = traceback.format_exc()
    return outcomes


@pytest.fixture(scope="module")
def outcomes() -> Mapping[str, Outcomes]:
    """All checks of both slaves, in several processes at once."""
    running = [
        (slave, subprocess.Popen([sys.executable, "-W", "error", __file__, slave, str(part)], stdout=PIPE, stderr=PIPE))
        for part in range(PROCESSES)
        for slave in SLAVES
    ]
    found: dict[str, dict[str, str]] = {slave: {} for slave in SLAVES}
    for slave, process in running:
        out, err = process.communicate(timeout=120)
        # Whatever is not freed, or goes wrong where nobody is told, is to be read there.
        assert not err, err.decode()
        found[slave] |= json.loads(out)
    return found


@pytest.mark.parametrize("slave", SLAVES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_conformance(outcomes: Mapping[str, Outcomes], check: SlaveCheck, slave: str) -> None:
    if (slave, check.name) == BLOCKED:
        assert check.name not in outcomes[slave]
        return
    outcome = outcomes[slave][check.name]
    if outcome.startswith("skipped: "):
        pytest.skip(outcome)
    assert outcome == "passed", outcome


def test_a_child_whose_end_could_not_be_noticed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    processes.spawn(Spawn((b"true",), {b"PATH": b"/bin:/usr/bin"}, "/", b"", False)).reap()
    monkeypatch.setattr(os, "pidfd_open", refuse)
    before = descriptors()
    child = processes.spawn(Spawn((b"sleep", b"60"), {b"PATH": b"/bin:/usr/bin"}, "/", b"x" * 600_000, False))
    with pytest.raises(OSError, match="Too many open files"):
        processes.open_exit(child)
    assert not is_alive(child.pid)
    assert descriptors() == before


def test_asyncio_with_tls(tmp_path: Path) -> None:
    listening = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    listening.load_cert_chain(CERTIFICATE)
    command = [sys.executable, "-W", "error", asyncio_slave.__file__, "127.0.0.1"]
    with MasterSocket(listening) as listener:
        where = [str(listener.port), "bot", "secret", str(tmp_path), str(CERTIFICATE)]
        with subprocess.Popen([*command, *where], stderr=PIPE) as process:
            with listener.attach("b") as master:
                step = master.run("b", "tee /dev/stderr", initial_stdin="x" * 600_000)
                assert (step.output(), step.output("stderr")) == ("x" * 600_000, "x" * 600_000)
                assert master.call_bot("shutdown") is None
                # A farewell that was forgotten would be an error here.
                master.wait_closed()
            _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"Stopped(why='the master asked for it'" in err


if __name__ == "__main__":
    print(json.dumps(run_some(sys.argv[1], int(sys.argv[2]))))
