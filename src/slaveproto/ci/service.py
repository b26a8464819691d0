"""The part of `slaveproto master` that needs trio."""

from __future__ import annotations

import json
import math
import secrets
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, Final, ParamSpec, TypeVar, assert_never

import trio

from slaveproto.ci import control
from slaveproto.ci.builds import (
    Builds,
    Run,
    RunBegan,
    RunEnded,
    RunEvent,
    RunNotTaken,
    RunOutput,
    RunStepBegan,
    RunStepEnded,
    StepPlace,
)
from slaveproto.ci.embedded import is_worth_telling, most_builds, run_embedded
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import DEFAULT_LISTEN, BuilderEntry, BuildFile, load
from slaveproto.ci.listening import listening
from slaveproto.ci.schedule import next_due
from slaveproto.ci.show.console import STDERR
from slaveproto.ci.show.slave_report import text_of
from slaveproto.ci.show.terminal import Terminal, open_terminal
from slaveproto.ci.state_dir import lock
from slaveproto.ci.store import Store
from slaveproto.master.changes import Change
from slaveproto.master.events import ChangeReceived, MasterEvent
from slaveproto.master.results import Result
from slaveproto.slave.events import SlaveEvent
from transports.trio.nurseries import open_nursery

if TYPE_CHECKING:
    from slaveproto.master.events import Outcome
    from slaveproto.master.output import Output
    from transports.trio.master import Master

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_NAP: Final = 60.0
"""Seconds after which the clock is looked at again, for it may have been set."""
UNSTORED_CHANGES: Final = 1000
QUESTION_TIMEOUT: Final = 10.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIXED: Final = ("listen", "tls_cert", "state_dir")


def run_master(file: BuildFile) -> int:
    """Run the master until it is told to stop; returns the exit code.

    Raises:
        UsageError: it cannot listen where it should, or not keep its state.
    """
    with lock(file.master.state_dir):
        store = Store(file.master.state_dir)
        # What comes outside of the program's own handling, at the very end, would decide the exit code.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        try:
            return trio.run(_Service(file, store).run)
        finally:
            store.close()


class Memory:
    """The store, for tasks: each call in a worker thread, one after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = trio.Lock()

    async def __call__(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the store."""
        async with self._turn:
            return await trio.to_thread.run_sync(lambda: method(*args, **kwargs))


class Record:
    """The record of builds: remembers them and writes their logs.

    Args:
        store: where.
        say: is told what people should know.
        finished: is told of each request that is done with a build: its number, the build, slave and result.
    """

    def __init__(
        self, store: Store, memory: Memory, say: Callable[[str], None], finished: Callable[[int, dict[str, Any]], None]
    ) -> None:
        self._store = store
        self._memory = memory
        self._say = say
        self._finished = finished
        self._numbers: dict[Run, int] = {}
        self._logs: dict[tuple[Run, str], BinaryIO | None] = {}
        self.on_start: Callable[[str], None] = lambda builder: None

    async def handle(self, event: RunEvent) -> None:
        """Take an event of a build."""
        match event:
            case RunBegan(run):
                await self._build_started(run)
            case RunStepBegan(run, step):
                await self._step_started(run, step)
            case RunOutput(run, step, output):
                await self._output(run, step, output)
            case RunStepEnded(run, step, outcome):
                await self._step_ended(run, step, outcome)
            case RunEnded(run, result):
                await self._build_ended(run, result)
            case RunNotTaken(run, why):
                await self._refused(run, why)
            case _:
                assert_never(event)

    async def _build_started(self, run: Run) -> None:
        """A slave has taken the build, and with it all requests for its builder."""
        number = await self._memory(self._store.begin_build, run.entry.name, run.slave, time.time())
        # Not before: a request that was stored while this waited for its turn is wanted by now.
        self.on_start(run.entry.name)
        self._numbers[run] = number
        self._say(f"build {number} of {run.entry.name} on slave {run.slave} started")

    async def _step_started(self, run: Run, step: StepPlace) -> None:
        """A step begins."""
        await self._memory(self._store.begin_step, self._numbers[run], step.number, step.what.title, time.time())

    async def _output(self, run: Run, step: StepPlace, output: Output) -> None:
        """A step has written something. What the slave says of it has a file of its own."""
        log = "header" if output.stream == "header" else output.log
        try:
            if (run, log) not in self._logs:
                opened = await self._memory(self._store.open_log, self._numbers[run], step.number, log)
                self._logs[run, log] = opened
            file = self._logs[run, log]
            if file is not None:
                await trio.to_thread.run_sync(_write, file, output.data)
        except OSError as error:
            self._say(f"build {self._numbers[run]}: the log {log} of step {step.number} is lost: {error.strerror}")
            self._close(run, log)
            self._logs[run, log] = None

    async def _step_ended(self, run: Run, step: StepPlace, outcome: Outcome | None) -> None:
        """A step has ended."""
        for _, log in [key for key in self._logs if key[0] is run]:
            self._close(run, log)
            del self._logs[run, log]
        number, title = self._numbers[run], step.what.title
        if outcome is None:
            await self._memory(self._store.skip_step, number, step.number, title)
            return
        await self._memory(
            self._store.end_step, number, step.number, outcome.result, outcome.rc, outcome.why, outcome.elapsed
        )
        if outcome.result is not Result.SUCCESS:
            why = f": {outcome.why}" if outcome.why else ""
            self._say(f"build {number} of {run.entry.name}: step {step.number}, {title}: {outcome.result.word}{why}")

    async def _build_ended(self, run: Run, result: Result) -> None:
        """All is over."""
        number = self._numbers.pop(run)
        requests = await self._memory(self._store.end_build, number, result, time.time())
        self._say(f"build {number} of {run.entry.name} on slave {run.slave}: {result.word}")
        for request in requests:
            self._finished(request, {"build": number, "slave": run.slave, "result": result.word})

    async def _refused(self, run: Run, why: str) -> None:
        """The slave did not take the build."""
        self._say(f"slave {run.slave} did not take a build of {run.entry.name}: {why}")

    def _close(self, run: Run, log: str) -> None:
        file = self._logs.get((run, log))
        if file is not None:
            file.close()


class _Service:
    def __init__(self, file: BuildFile, store: Store) -> None:
        self._file = file
        self._store = store
        self._memory = Memory(store)
        self._password = secrets.token_hex(16)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._changes_in, self._changes = trio.open_memory_channel[Change](UNSTORED_CHANGES)
        self._reloaded = trio.Event()
        self._begun = time.time()
        self._signals: list[int] = []
        self._working = False
        self._builds: Builds
        self._master: Master
        self._terminal: Terminal

    async def run(self) -> int:
        """Run to the end; returns the exit code."""
        async with open_nursery() as nursery:
            async with open_terminal(STDERR) as self._terminal:
                await nursery.start(self._obey_signals, nursery.cancel_scope)
                address = self._file.master.listen or DEFAULT_LISTEN
                config = self._file.master_config(self._password, changes=True)
                async with listening(self._file, address, config, self._say, self._on_event) as self._master:
                    await self._work()
                self._say("stopped")
            nursery.cancel_scope.cancel()
        return 128 + self._signals[0] if len(self._signals) > 1 else 0

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
            self._say(f"listening on {self._master.host}:{self._master.port}")
            if self._signals:
                self._stop()
            await builds.run()
            # A client that told of a change was told that it is known.
            self._changes_in.close()
            await changes_stored.wait()
            nursery.cancel_scope.cancel()

    def _say(self, text: str) -> None:
        self._terminal.note(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

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
                self._say(f"received {signal.Signals(number).name}: stopping; once more to leave at once")
                self._stop()

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
            await _send(stream, {"request": number})
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


def _write(file: BinaryIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _is_daily_due(entry: BuilderEntry, since: float, now: float) -> bool:
    return next_due(entry.triggers.daily, since) <= now
