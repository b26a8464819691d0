"""The trio master and the asyncio example do what every runner of a master must."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar, get_args

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import asyncio_master

from slaveproto.master import MasterConfig, MasterEvent, MasterInput, MasterSession, Output
from slaveproto.testing.conformance import (
    MASTER_CHECKS,
    CheckSkipped,
    MasterCheck,
    RunningMaster,
    StartMaster,
    run_master_check,
)
from slaveproto.testing.conformance.socket_master import DEADLINE
from tests.transports.support import start_master
from tests.transports.test_trio import CERTIFICATE

pytestmark = pytest.mark.programs

T = TypeVar("T")


class MasterOnAsyncio:
    """The master on asyncio, in a loop of its own."""

    def __init__(self, config: MasterConfig) -> None:
        self._announced: list[MasterEvent] = []
        self._error: BaseException | None = None
        self._begun: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio_master.Master, int]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(config,))
        self._thread.start()
        self._loop, self._master, self.port = self._begun.get(timeout=DEADLINE)

    def _run(self, config: MasterConfig) -> None:
        try:
            asyncio.run(self._main(config))
        except BaseException as error:
            self._error = error

    async def _main(self, config: MasterConfig) -> None:
        self._over = asyncio.Event()
        master = asyncio_master.Master(MasterSession(config, resume=os.urandom(32)))
        port = await master.listen("127.0.0.1", 0)
        self._begun.put((asyncio.get_running_loop(), master, port))
        listening = asyncio.create_task(self._listen(master))
        await self._over.wait()
        await master.close()
        # What was announced last is still in the queue.
        await asyncio.sleep(0)
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening

    async def _listen(self, master: asyncio_master.Master) -> None:
        while True:
            self._announced.append(await master.heard(*get_args(MasterEvent)))

    def _in_loop(self, call: Callable[[], T]) -> T:
        async def run() -> T:
            return call()

        try:
            return asyncio.run_coroutine_threadsafe(run(), self._loop).result(DEADLINE)
        except RuntimeError:
            # The loop is closed.
            return call()

    def events(self) -> Sequence[MasterEvent]:
        """Return all that was announced so far."""
        return list(self._announced)

    def post(self, item: MasterInput) -> None:
        """Have the loop hand an input to the session."""
        self._loop.call_soon_threadsafe(self._master.post, item)

    def take_output(self, step: int) -> Sequence[Output]:
        """Return what a step said since the last time."""
        return self._in_loop(lambda: self._master.take_output(step))

    def stop(self, why: str) -> None:
        """Ask for the end."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop, why)

    def _stop(self, why: str) -> None:
        self._master.stop(why)
        self._over.set()

    def wait(self, timeout: float) -> bool:
        """Wait for the end; raises what the runner raised."""
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()


def start_on_asyncio(config: MasterConfig, ssl_context: ssl.SSLContext | None) -> RunningMaster:
    """Start the example."""
    if ssl_context is not None:
        raise CheckSkipped("the example has no TLS")
    return MasterOnAsyncio(config)


@pytest.fixture(params=[start_master, start_on_asyncio], ids=["trio", "asyncio"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StartMaster:
    """The function that starts a runner."""
    # Last bytes that are not read would take five seconds.
    monkeypatch.setattr(asyncio_master, "LINGER", 0.5)
    start: StartMaster = request.param
    return start


@pytest.mark.parametrize("check", MASTER_CHECKS, ids=lambda check: check.name)
def test_conformance(check: MasterCheck, start: StartMaster) -> None:
    try:
        run_master_check(check, start, Path(CERTIFICATE))
    except CheckSkipped as reason:
        pytest.skip(str(reason))


def test_names_are_unique() -> None:
    assert len({check.name for check in MASTER_CHECKS}) == len(MASTER_CHECKS)
