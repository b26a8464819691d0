"""The runners of slaves and of masters, as the conformance suites want them."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue

import trio

from slaveproto import SlaveSession
from slaveproto.inputs import Stop
from slaveproto.master import MasterConfig, MasterEvent, MasterInput, Output
from slaveproto.slave.events import Input, SlaveEvent
from slaveproto.testing.conformance import RunningMaster
from slaveproto.testing.conformance.socket_master import DEADLINE
from transports.host.route import Route
from transports.threads.runner import Runner
from transports.trio import Master, Slave, open_master, open_slave
from transports.trio.nurseries import open_nursery


class _InThread:
    """A runner in a thread of its own."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._announced: list[SlaveEvent] = []
        self._error: BaseException | None = None
        self._run_it = run
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._run_it()
        except BaseException as error:
            self._error = error

    def on_event(self, event: SlaveEvent) -> None:
        """Keep an announcement."""
        self._announced.append(event)

    def events(self) -> Sequence[SlaveEvent]:
        """Return all that was announced so far."""
        return list(self._announced)

    def wait(self, timeout: float) -> bool:
        """Wait for the end; raises what the runner raised."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()


class Threaded(_InThread):
    """The blocking runner."""

    def __init__(self, session: SlaveSession, route: Route = Route()) -> None:  # noqa: B008  frozen
        runner = Runner(
            session,
            self.on_event,
            ssl_context=route.ssl_context,
            server_hostname=route.server_hostname,
            proxy=route.proxy,
        )
        super().__init__(runner.run)
        self.post = runner.post
        self.stop = runner.stop
        self.begin()


class UnderTrio(_InThread):
    """The trio runner, in a loop of its own."""

    def __init__(self, session: SlaveSession, route: Route = Route()) -> None:  # noqa: B008  frozen
        self._route = route
        super().__init__(lambda: trio.run(self._main, session))
        self._put, self._take = trio.open_memory_channel[Input](100)
        self._begun: SimpleQueue[trio.lowlevel.TrioToken] = SimpleQueue()
        self.begin()
        self._token = self._begun.get(timeout=DEADLINE)

    def post(self, item: Input) -> None:
        """Have a task of the program hand an input to the session."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._put.send_nowait, item)

    def stop(self, why: str) -> None:
        """Have a task of the program stop the session."""
        self.post(Stop(why))

    async def _main(self, session: SlaveSession) -> None:
        route = self._route
        opening = open_slave(
            session, ssl_context=route.ssl_context, server_hostname=route.server_hostname, proxy=route.proxy
        )
        async with opening as slave, open_nursery() as nursery:
            nursery.start_soon(self._post_to, slave)
            self._begun.put(trio.lowlevel.current_trio_token())
            async for event in slave:
                self.on_event(event)
            nursery.cancel_scope.cancel()

    async def _post_to(self, slave: Slave) -> None:
        async for item in self._take:
            slave.post(item)


RUNNERS: Mapping[str, type[Threaded] | type[UnderTrio]] = {"threads": Threaded, "trio": UnderTrio}


class MasterUnderTrio:
    """The trio master, in a loop of its own."""

    def __init__(self, config: MasterConfig, ssl_context: ssl.SSLContext | None) -> None:
        self._announced: list[MasterEvent] = []
        self._error: BaseException | None = None
        self._begun: SimpleQueue[tuple[trio.lowlevel.TrioToken, Master]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(config, ssl_context))
        self._thread.start()
        self._token, self._master = self._begun.get(timeout=DEADLINE)
        self.port: int = self._master.port

    def _run(self, config: MasterConfig, ssl_context: ssl.SSLContext | None) -> None:
        try:
            trio.run(self._main, config, ssl_context)
        except BaseException as error:
            self._error = error

    async def _main(self, config: MasterConfig, ssl_context: ssl.SSLContext | None) -> None:
        self._over = trio.Event()
        async with open_master(config, ssl_context=ssl_context, on_event=self._announced.append) as master:
            self._begun.put((trio.lowlevel.current_trio_token(), master))
            await self._over.wait()

    def events(self) -> Sequence[MasterEvent]:
        """Return all that was announced so far."""
        return list(self._announced)

    def post(self, item: MasterInput) -> None:
        """Have the loop hand an input to the session."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._master._hub.want, item)

    def take_output(self, step: int) -> Sequence[Output]:
        """Return what a step said since the last time."""
        hub = self._master._hub
        try:
            return trio.from_thread.run_sync(hub.output, step, trio_token=self._token)
        except trio.RunFinishedError:
            return hub.output(step)

    def stop(self, why: str) -> None:
        """Ask for the end."""

        def stop() -> None:
            self._master.stop(why)
            self._over.set()

        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(stop)

    def wait(self, timeout: float) -> bool:
        """Wait for the end; raises what the runner raised."""
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()


def start_master(config: MasterConfig, ssl_context: ssl.SSLContext | None) -> RunningMaster:
    """Start the trio master."""
    return MasterUnderTrio(config, ssl_context)
