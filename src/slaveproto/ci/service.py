"""The part of `slaveproto master` that needs trio."""

from __future__ import annotations

import json
import math
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import trio

from slaveproto.ci import control
from slaveproto.ci.builds import LAST_MOMENTS, Builds, last_moments
from slaveproto.ci.embedded import is_worth_telling, most_builds, run_embedded
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import DEFAULT_LISTEN, BuilderEntry, BuildFile, load
from slaveproto.ci.listening import listening
from slaveproto.ci.record import Memory, Record
from slaveproto.ci.schedule import next_due
from slaveproto.ci.show.console import STDERR, say
from slaveproto.ci.show.slave_report import text_of
from slaveproto.ci.show.terminal import Terminal, open_terminal
from slaveproto.ci.state_dir import lock
from slaveproto.ci.store import Store
from slaveproto.master.changes import Change
from slaveproto.master.events import ChangeReceived, MasterEvent
from slaveproto.master.results import Result
from slaveproto.slave.events import SlaveEvent
from transports.host.service_manager import ServiceManager
from transports.trio.heartbeats import keep_beating
from transports.trio.nurseries import open_nursery

if TYPE_CHECKING:
    from transports.trio.master import Master

LONGEST_NAP: Final = 60.0
"""Seconds after which the clock is looked at again, for it may have been set."""
UNSTORED_CHANGES: Final = 1000
QUESTION_TIMEOUT: Final = 10.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIXED: Final = ("listen", "tls_cert", "state_dir")


def run_master(file: BuildFile, drain: float) -> int:
    """Run the master until it is told to stop; returns the exit code.

    Args:
        file: the file.
        drain: seconds that builds have to end after SIGTERM.

    Raises:
        UsageError: it cannot listen where it should, or not keep its state.
    """
    with lock(file.master.state_dir):
        store = Store(file.master.state_dir)
        # What comes outside of the program's own handling, at the very end, would decide the exit code.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        try:
            return trio.run(_Service(file, store, drain).run)
        finally:
            store.close()


class _Service:
    def __init__(self, file: BuildFile, store: Store, drain: float) -> None:
        self._file = file
        self._store = store
        self._drain = drain
        self._manager = ServiceManager(os.environ)
        self._memory = Memory(store)
        self._password = secrets.token_hex(16)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._changes_in, self._changes = trio.open_memory_channel[Change](UNSTORED_CHANGES)
        self._reloaded = trio.Event()
        self._begun = time.time()
        self._signals: list[int] = []
        self._working = False
        self._stopped = False
        self._builds: Builds
        self._master: Master
        self._terminal: Terminal

    async def run(self) -> int:
        """Run to the end; returns the exit code."""
        async with open_nursery() as nursery:
            if self._manager.heartbeat is not None:
                nursery.start_soon(keep_beating, self._manager.heartbeat)
            async with open_terminal(STDERR) as self._terminal:
                await nursery.start(self._obey_signals, nursery.cancel_scope)
                address = self._file.master.listen or DEFAULT_LISTEN
                config = self._file.master_config(self._password, changes=True)
                async with listening(self._file, address, config, self._say, self._on_event) as self._master:
                    await self._work()
                self._say("stopped")
                self._stopped = True
            nursery.cancel_scope.cancel()
        if len(self._signals) > 1:
            return 128 + self._signals[0]
        if not self._stopped:
            say(STDERR, self._stamped("what was interrupted does not end: leaving"))
        return 0

    async def _work(self) -> None:
        record = Record(self._store, self._memory, self._say, self._finished)
        builds = Builds(self._master, [record.handle], most_builds(self._file))
        record.on_start = lambda builder: builds.forget([builder])
        self._builds, self._working = builds, True
        changes_stored = trio.Event()
        async with open_nursery() as nursery:
            await self._recover()
            nursery.start_soon(self._serve, control.listen(self._file.master.state_dir))
            nursery.start_soon(self._store_changes, changes_stored)
            nursery.start_soon(self._keep_schedule)
            if not self._file.slaves:
                master = self._master
                nursery.start_soon(run_embedded, self._file, master.host, master.port, self._password, self._on_slave)
            listening_on = f"listening on {self._master.host}:{self._master.port}"
            self._say(listening_on)
            self._manager.ready(listening_on)
            if self._signals:
                self._stop()
            await builds.run()
            # A client that told of a change was told that it is known.
            self._changes_in.close()
            await changes_stored.wait()
            nursery.cancel_scope.cancel()

    def _say(self, text: str) -> None:
        self._terminal.note(self._stamped(text))

    @staticmethod
    def _stamped(text: str) -> str:
        return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"

    def _on_slave(self, event: SlaveEvent) -> None:
        if is_worth_telling(event):
            self._say(f"embedded slave: {text_of(event)}")

    # -- requests

    def _want(self, builder: str) -> None:
        entry = self._file.builders.get(builder)
        if entry is None:
            self._say(f"a request waits for builder {builder}, which is not in the file")
        elif builder not in self._builds.waiting:
            self._builds.want(entry)

    async def _recover(self) -> None:
        lost = await self._memory(self._store.recover, time.time())
        if lost:
            self._say(f"{lost} builds did not end when the master did, and are built again")
        for builder in await self._memory(self._store.pending):
            self._want(builder)

    async def _request(self, builder: str, reason: str, *, scheduled: bool = False) -> int:
        number = await self._memory(self._store.add_request, builder, reason, time.time(), scheduled=scheduled)
        self._want(builder)
        return number

    def _finished(self, request: int, end: dict[str, Any]) -> None:
        waiting = self._waiting.pop(request, None)
        if waiting is not None:
            waiting.send_nowait(end)

    # -- changes

    def _on_event(self, event: MasterEvent) -> None:
        if isinstance(event, ChangeReceived):
            try:
                self._changes_in.send_nowait(event.change)
            except trio.WouldBlock:
                self._say("too many changes at once: this one is left out")
            except trio.ClosedResourceError:
                self._say("a change came when the master was stopped already: it is left out")

    async def _store_changes(self, over: trio.Event) -> None:
        async for change in self._changes:
            builders = [entry.name for entry in self._file.builders.values() if entry.triggers.wants(change)]
            number = await self._memory(self._store.add_change, change, builders, time.time())
            self._say(f"change {number} is for {', '.join(builders) or 'no builder'}")
            for builder in builders:
                self._want(builder)
        over.set()

    # -- schedule

    async def _keep_schedule(self) -> None:
        since = time.time()
        # Of an interval, as of now; what was missed while no master ran is made up for once.
        due: dict[str, float] = {}
        while True:
            self._reloaded = trio.Event()
            now = time.time()
            for entry in list(self._file.builders.values()):
                if _is_daily_due(entry, since, now) or due.get(entry.name, math.inf) <= now:
                    await self._request(entry.name, "schedule", scheduled=True)
            since = now
            due = await self._intervals(now)
            next_times = [
                *due.values(),
                *(next_due(entry.triggers.daily, now) for entry in self._file.builders.values()),
            ]
            with trio.move_on_after(max(0.0, min([LONGEST_NAP, *(when - time.time() for when in next_times)]))):
                await self._reloaded.wait()

    async def _intervals(self, now: float) -> dict[str, float]:
        due = {}
        for entry in list(self._file.builders.values()):
            if entry.triggers.every is not None:
                last = await self._memory(self._store.last_scheduled, entry.name)
                due[entry.name] = (self._begun if last is None else last) + entry.triggers.every
        return due

    # -- signals

    async def _obey_signals(self, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*SIGNALS) as receiver:
            task_status.started()
            async for number in receiver:
                if number == signal.SIGHUP:
                    # At the very beginning, the file has just been read.
                    if self._working:
                        await self._reload()
                    continue
                self._signals.append(number)
                if len(self._signals) > 1:
                    everything.cancel()
                    return
                running = self._builds.running if self._working else 0
                drain = self._drain if number == signal.SIGTERM and running else 0.0
                what = f"stopping when builds ({running}) have ended, within {drain:g} s" if drain else "stopping"
                status = f"received {signal.Signals(number).name}: {what}; once more to leave at once"
                self._say(status)
                limit = drain + last_moments(self._file.builders.values())
                self._manager.stopping(status, limit + LAST_MOMENTS)
                if drain:
                    for slave in self._master.slaves.values():
                        slave.print(f"this master is about to end: no new builds, those that run have {drain:g} s")
                    self._builds.drain(Result.RETRY, "the master stops", drain)
                else:
                    self._stop()
                # A slave that is frozen would not let its build end.
                everything.deadline = trio.current_time() + limit

    def _stop(self) -> None:
        if self._working:
            self._builds.stop(Result.RETRY, "the master stops")

    async def _reload(self) -> None:
        try:
            file = await trio.to_thread.run_sync(load, self._file.path)
        except UsageError as error:
            self._say(f"the file stays as it was: {error}")
            return
        if bool(file.slaves) != bool(self._file.slaves):
            self._say("the file stays as it was: between a slave of its own and others only a restart can change")
            return
        for key in _FIXED:
            if getattr(file.master, key) != getattr(self._file.master, key):
                self._say(f"{key} is different; a restart will see to that")
        self._file = file
        self._master.configure(file.master_config(self._password, changes=True))
        self._builds.revise(file.builders, most_builds(file))
        self._builds.forget(list(self._builds.waiting))
        for builder in await self._memory(self._store.pending):
            self._want(builder)
        self._reloaded.set()
        self._say(f"read {file.path} again")

    # -- `slaveproto trigger`

    async def _serve(self, server: Any) -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(server))
        await trio.serve_listeners(self._answer, [listener])

    async def _answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                question = None
                with trio.move_on_after(QUESTION_TIMEOUT):
                    question = await _read_question(stream)
                if question is not None:
                    await self._obey(question, stream)
            except trio.BrokenResourceError:
                # The client does not want to know any more.
                return

    async def _obey(self, question: dict[str, Any], stream: trio.SocketStream) -> None:
        builder = question.get("trigger")
        if not isinstance(builder, str) or builder not in self._file.builders:
            await _send(stream, {"error": f"no builder {builder!r}; there are {', '.join(self._file.builders)}"})
            return
        number = await self._request(builder, "trigger")
        sender, receiver = trio.open_memory_channel[dict[str, Any]](1)
        if question.get("wait"):
            # Nothing has happened since the request was stored: it cannot be done yet.
            self._waiting[number] = sender
        try:
            note = {"note": "this master is about to end; the next one builds it"} if self._signals else {}
            await _send(stream, {"request": number, **note})
            if question.get("wait"):
                async with open_nursery() as nursery:
                    nursery.start_soon(_until_gone, stream, nursery.cancel_scope)
                    await _send(stream, await receiver.receive())
                    nursery.cancel_scope.cancel()
        finally:
            self._waiting.pop(number, None)


async def _read_question(stream: trio.SocketStream) -> dict[str, Any] | None:
    """Return what is asked; None if it is no question."""
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some(control.LONGEST_LINE)
        data += more
        if not more or len(data) > control.LONGEST_LINE:
            return None
    try:
        question = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return question if isinstance(question, dict) else None


async def _send(stream: trio.SocketStream, answer: dict[str, Any]) -> None:
    await stream.send_all(json.dumps(answer).encode() + b"\n")


async def _until_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    while await stream.receive_some(control.LONGEST_LINE):
        pass
    scope.cancel()


def _is_daily_due(entry: BuilderEntry, since: float, now: float) -> bool:
    return next_due(entry.triggers.daily, since) <= now
