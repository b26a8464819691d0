"""The part of `slaveproto master` that needs trio."""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import trio

from slaveproto.ci import control, leftovers
from slaveproto.ci.builds import LAST_MOMENTS, Builds, Run, RunEnded, RunEvent, RunGivenUp, last_moments
from slaveproto.ci.embedded import is_worth_telling, most_builds, run_embedded
from slaveproto.ci.errors import CannotStore, UsageError
from slaveproto.ci.file.build_file import DEFAULT_LISTEN, BuildFile, load
from slaveproto.ci.file.privacy import exposed
from slaveproto.ci.listening import listening
from slaveproto.ci.memory import Memory
from slaveproto.ci.notices import Notice, counts
from slaveproto.ci.notifier import Notifier
from slaveproto.ci.properties import MOST, OF_REQUESTS, asked_by, is_free, left_out, pack, simple_text
from slaveproto.ci.record import Record
from slaveproto.ci.reserve import Reserve
from slaveproto.ci.schedule import Timetable, Triggers
from slaveproto.ci.scheduler import Wish
from slaveproto.ci.show.console import STDERR, say
from slaveproto.ci.show.slave_report import text_of
from slaveproto.ci.show.terminal import Terminal, open_terminal
from slaveproto.ci.state_dir import lock
from slaveproto.ci.store import Horizon, Store
from slaveproto.master.config import MasterConfig
from slaveproto.master.events import ChangeReceived, MasterEvent
from slaveproto.master.results import Result
from slaveproto.slave.events import SlaveEvent
from slaveproto.wire.values import Failure
from transports.host.service_manager import ServiceManager
from transports.host.shortage import Shortage
from transports.trio.heartbeats import keep_beating
from transports.trio.nurseries import open_nursery
from transports.trio.shortage import endure

if TYPE_CHECKING:
    from transports.trio.master import Master

LONGEST_NAP: Final = 60.0
"""Seconds after which the clock is looked at again, for it may have been set."""
HORIZON_PAUSE: Final = 1.0
LAST_NOTICES: Final = 5.0
"""Seconds that notices have when a master ends."""
UNSTORED_CHANGES: Final = 1000
MOST_NAMED: Final = 10
"""Properties of a change that are named because builds are not told of them."""
QUESTION_TIMEOUT: Final = 10.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIXED: Final = ("listen", "tls_cert", "tls_client_ca", "state_dir", "max_tries")


def run_master(file: BuildFile, drain: float) -> int:
    """Run the master until it is told to stop; returns the exit code.

    Args:
        file: the file.
        drain: seconds that builds have to end after SIGTERM.

    Raises:
        UsageError: it cannot listen where it should, or not keep its state.
        CannotStore: there is no room for its state, or another program holds it.
    """
    with lock(file.master.state_dir):
        reserve = Reserve(file.master.state_dir)
        store = _open_store(file.master.state_dir, reserve)
        # What comes outside of the program's own handling, at the very end, would decide the exit code.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        try:
            return trio.run(_Service(file, store, reserve, drain).run)
        finally:
            store.close()


def _open_store(state_dir: str, reserve: Reserve) -> Store:
    try:
        return Store(state_dir)
    except CannotStore as error:
        if not (error.full and reserve.spend()):
            raise
        return Store(state_dir)


class _Service:
    def __init__(self, file: BuildFile, store: Store, reserve: Reserve, drain: float) -> None:
        self._file = file
        self._store = store
        self._drain = drain
        self._manager = ServiceManager(os.environ)
        self._memory = Memory(store.check, reserve, self._say, self._on_storage)
        self._password = secrets.token_hex(16)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._changes_in, self._changes = trio.open_memory_channel[ChangeReceived](UNSTORED_CHANGES)
        self._reloaded = trio.Event()
        self._ended = trio.Event()
        self._notifier = Notifier(self._say)
        # How each builder stands.
        self._standing: dict[str, str] = {}
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
        record = Record(self._store, self._memory, self._say, self._finished, self._log_max_size)
        builds = Builds(
            self._master, [record.handle, self._on_run], most_builds(self._file), self._file.master.max_tries
        )
        record.on_start = lambda wish: builds.forget([wish])
        self._builds, self._working = builds, True
        async with open_nursery() as nursery:
            nursery.start_soon(self._memory.run)
            nursery.start_soon(self._notifier.run)
            self._standing = await self._memory(self._store.last_results)
            await self._recover()
            nursery.start_soon(self._serve, control.listen(self._file.master.state_dir))
            nursery.start_soon(self._store_changes)
            nursery.start_soon(self._keep_schedule)
            nursery.start_soon(self._keep_horizon)
            if not self._file.slaves:
                master = self._master
                nursery.start_soon(run_embedded, self._file, master.host, master.port, self._password, self._on_slave)
            for line in exposed(self._file.private):
                self._say(line)
            listening_on = f"listening on {self._master.host}:{self._master.port}"
            self._say(listening_on)
            self._manager.ready(listening_on)
            if self._signals:
                self._stop()
            await builds.run()
            with trio.move_on_after(LAST_NOTICES):
                await self._notifier.wait_idle()
            nursery.cancel_scope.cancel()

    def _say(self, text: str) -> None:
        self._terminal.note(self._stamped(text))

    @staticmethod
    def _stamped(text: str) -> str:
        return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"

    def _log_max_size(self) -> int:
        return self._file.master.log_max_size

    def _on_slave(self, event: SlaveEvent) -> None:
        if is_worth_telling(event):
            self._say(f"embedded slave: {text_of(event)}")

    def _on_storage(self, well: bool) -> None:
        self._builds.hold(not well)

    # -- requests

    def _want(self, wish: Wish) -> None:
        if not self._builds.wants(wish):
            self._resume(wish, 0)

    def _resume(self, wish: Wish, tries: int) -> None:
        entry = self._file.builders.get(wish.builder)
        if entry is None:
            self._say(f"a request waits for builder {wish.builder}, which is not in the file")
        else:
            self._builds.resume(entry, wish.asked, tries)

    async def _remove_leftovers(self) -> None:
        uploads = await self._memory(self._store.uploads)
        for target, since in uploads:
            for path in await trio.to_thread.run_sync(leftovers.remove, target, since):
                self._say(f"removed {path}, which an upload left that did not end")
        if uploads:
            await self._memory(self._store.forget_uploads)

    async def _recover(self) -> None:
        await self._remove_leftovers()
        lost = await self._memory(self._store.recover, time.time(), self._file.master.max_tries)
        for build, why in lost.items():
            self._say(f"build {build} did not end when the master did, and is {why or 'built again'}")
        await self._want_pending()

    async def _want_pending(self) -> None:
        for wish, tries in (await self._memory(self._store.pending)).items():
            self._resume(wish, tries)

    async def _request(self, wish: Wish, reason: str, *, scheduled: bool = False) -> int:
        number = await self._memory.new(
            self._store.add_request, wish.builder, reason, time.time(), wish.asked, scheduled=scheduled
        )
        self._want(wish)
        return number

    def _finished(self, request: int, end: dict[str, Any]) -> None:
        waiting = self._waiting.pop(request, None)
        if waiting is not None:
            waiting.send_nowait(end)

    # -- changes

    def _on_event(self, event: MasterEvent) -> None:
        if isinstance(event, ChangeReceived):
            try:
                self._changes_in.send_nowait(event)
            except trio.WouldBlock:
                self._say("too many changes at once: this one is not taken")
                self._master.answer_change(event, Failure("builtins.RuntimeError", "too many changes at once"))

    async def _store_changes(self) -> None:
        async for event in self._changes:
            change = event.change
            builders = [entry.name for entry in self._file.builders.values() if entry.triggers.wants(change)]
            number = await self._memory.new(self._store.add_change, change, builders, time.time())
            self._master.answer_change(event)
            self._say(f"change {number} is for {', '.join(builders) or 'no builder'}")
            if builders and (unheard := left_out(change)):
                names = ", ".join(map(repr, unheard[:MOST_NAMED])) + (", ..." if len(unheard) > MOST_NAMED else "")
                self._say(f"change {number}: builds are not told of the properties {names}")
            for builder in builders:
                self._want(Wish(builder, pack(asked_by(change))))

    # -- schedule

    async def _keep_schedule(self) -> None:
        last = await self._memory(self._store.last_scheduled)
        table = Timetable(self._triggers(), last, time.time(), trio.current_time())
        while True:
            self._reloaded = trio.Event()
            table.revise(self._triggers())
            for builder in table.due(time.time(), trio.current_time()):
                await self._request(Wish(builder), "schedule", scheduled=True)
            with trio.move_on_after(min(LONGEST_NAP, table.next(time.time(), trio.current_time()))):
                await self._reloaded.wait()

    def _triggers(self) -> dict[str, Triggers]:
        return {entry.name: entry.triggers for entry in self._file.builders.values()}

    # -- what is remembered

    async def _on_run(self, event: RunEvent) -> None:
        match event:
            case RunEnded(run, result, why):
                self._ended.set()
                self._notify(run, result, why)
            case RunGivenUp(run, why):
                self._ended.set()
                self._notify(run, Result.EXCEPTION, why)
            case _:
                pass

    def _notify(self, run: Run, result: Result, why: str) -> None:
        builder = run.entry.name
        number, before = int(run.properties["buildnumber"]), self._standing.get(builder)
        notice = Notice(number, builder, run.slave, result.word, before, why, run.shown)
        if counts(result.word):
            self._standing[builder] = result.word
        self._notifier.tell(self._file.notices, notice)

    async def _keep_horizon(self) -> None:
        told = ""
        while True:
            self._ended = trio.Event()
            master = self._file.master
            horizon = Horizon(master.keep_builds, master.keep_time, master.keep_bytes)
            try:
                while await self._memory(self._store.prune, horizon, time.time()):
                    pass
            except OSError as error:
                trouble = f"an old log cannot be removed: {error.filename}: {error.strerror}"
                if trouble != told:
                    self._say(trouble)
                told = trouble
            # Looking through all builds is not free.
            await trio.sleep(HORIZON_PAUSE)
            await self._ended.wait()

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
            self._memory.stop()

    async def _reload(self) -> None:
        def read() -> tuple[BuildFile, MasterConfig]:
            file = load(self._file.path)
            return file, file.master_config(self._password, changes=True)

        try:
            file, config = await trio.to_thread.run_sync(read)
        except UsageError as error:
            self._say(f"the file stays as it was: {error}")
            return
        if bool(file.slaves) != bool(self._file.slaves):
            self._say("the file stays as it was: between a slave of its own and others only a restart can change")
            return
        for key in _FIXED:
            if getattr(file.master, key) != getattr(self._file.master, key):
                self._say(f"{key} is different; a restart will see to that")
        if file.master.config.patience != self._file.master.config.patience:
            self._say("patience is different; a restart will see to that")
        self._file = file
        self._master.configure(config)
        self._builds.revise(file.builders, most_builds(file))
        self._builds.forget(list(self._builds.waiting))
        await self._want_pending()
        self._reloaded.set()
        self._say(f"read {file.path} again")

    # -- `slaveproto trigger`

    async def _serve(self, server: Any) -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(server))
        shortage = Shortage("what `slaveproto trigger` says")
        async with open_nursery() as nursery:
            while True:
                try:
                    nursery.start_soon(self._answer, await listener.accept())
                except OSError as error:
                    if not await endure(shortage, error):
                        raise

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
        builder, other = question.get("trigger"), question.get("file")
        mine = os.path.realpath(self._file.path)
        if other is not None and other != mine:
            await _send(stream, {"error": f"the master that runs in its state directory is that of {mine}"})
            return
        if not isinstance(builder, str) or builder not in self._file.builders:
            await _send(stream, {"error": f"no builder {builder!r}; there are {', '.join(self._file.builders)}"})
            return
        asked = _asked_in(question)
        if asked is None:
            await _send(stream, {"error": "the properties are no table of texts with names that are free"})
            return
        try:
            self._file.builders[builder].check_asked(asked)
        except UsageError as error:
            await _send(stream, {"error": str(error)})
            return
        if self._memory.trouble:
            await _send(stream, {"waiting": self._memory.trouble})
        number = await self._request(Wish(builder, pack(asked)), "trigger")
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


def _asked_in(question: dict[str, Any]) -> dict[str, str] | None:
    """Return what a question asks of the build; None if it is not said in the right way."""
    asked = question.get("properties", {})
    if not isinstance(asked, dict) or len(asked) > MOST + len(OF_REQUESTS):
        return None
    for name, text in asked.items():
        if not (name in OF_REQUESTS or is_free(name)) or not isinstance(text, str) or simple_text(text) != text:
            return None
    return asked


async def _send(stream: trio.SocketStream, answer: dict[str, Any]) -> None:
    await stream.send_all(json.dumps(answer).encode() + b"\n")


async def _until_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    while await stream.receive_some(control.LONGEST_LINE):
        pass
    scope.cancel()
