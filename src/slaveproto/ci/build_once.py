"""The part of `slaveproto build` that needs trio."""

from __future__ import annotations

import contextlib
import json as json_format
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import trio

from slaveproto.ci.builds import Builds, Listener, last_moments
from slaveproto.ci.embedded import is_worth_telling, most_builds, run_embedded
from slaveproto.ci.file.build_file import DEFAULT_LISTEN, BuilderEntry, BuildFile
from slaveproto.ci.file.privacy import exposed
from slaveproto.ci.listening import listening
from slaveproto.ci.properties import pack
from slaveproto.ci.show.console import STDERR, STDOUT, write_all
from slaveproto.ci.show.progress import Collect, Show
from slaveproto.ci.show.slave_report import text_of
from slaveproto.ci.show.terminal import Terminal, open_terminal
from slaveproto.ci.state_dir import lock
from slaveproto.master.results import Result
from slaveproto.slave.events import Attached, AttachRefused, Detached, SlaveEvent
from transports.trio.master import Master
from transports.trio.nurseries import open_nursery

ATTEMPTS: Final = 4
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GOOD: Final = frozenset({Result.SUCCESS, Result.WARNINGS})


def run_build(
    file: BuildFile,
    chosen: Sequence[BuilderEntry],
    slave: str | None,
    asked: Mapping[str, str],
    *,
    json: bool,
    drain: float,
) -> int:
    """Build `chosen`, on `slave` if it is not None; returns the exit code.

    Args:
        file: the file.
        chosen: builders of it.
        slave: the name of the only slave; None for those of each builder.
        asked: properties of all builds.
        json: whether the results are printed as JSON.
        drain: seconds that builds have to end after the first signal.

    Raises:
        UsageError: the program cannot listen where it should, or its state directory is in use.
    """
    command = _Command(file, chosen, slave, pack(asked), json, drain)
    with contextlib.nullcontext() if file.slaves else lock(file.master.state_dir):
        # What comes outside of the program's own handling, at the very end, would decide the exit code.
        for number in command.signals:
            signal.signal(number, signal.SIG_IGN)
        return trio.run(command.run)


class _Command:
    def __init__(
        self, file: BuildFile, chosen: Sequence[BuilderEntry], slave: str | None, asked: str, json: bool, drain: float
    ) -> None:
        self._file = file
        self._chosen = chosen
        self._slave = slave
        self._asked = asked
        self._json = json
        self._drain = drain
        self._signals: list[int] = []
        # Under nohup, SIGHUP stays ignored.
        hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self.signals = [number for number in SIGNALS if number is not signal.SIGHUP or hung_up]
        self._builds: Builds | None = None

    async def run(self) -> int:
        """Do it all; returns the exit code."""
        results: dict[str, Result] = {}
        async with open_nursery() as nursery:
            async with open_terminal(STDERR if self._json else STDOUT) as terminal:
                await nursery.start(self._obey_signals, nursery.cancel_scope, terminal)
                results = await self._build(terminal)
            nursery.cancel_scope.cancel()
        if self._signals:
            return 128 + self._signals[0]
        return 0 if GOOD.issuperset(results.values()) else 1

    async def _build(self, terminal: Terminal) -> dict[str, Result]:
        file, password = self._file, secrets.token_hex(16)
        collect = Collect()
        show = Show(terminal, [entry.name for entry in self._chosen], trio.current_time)
        listeners: list[Listener] = [show.handle, collect.handle] if self._json else [show.handle]
        for line in exposed(file.private):
            terminal.note(line)
        # Only the embedded slave has to find the master.
        address = file.master.listen or (DEFAULT_LISTEN if file.slaves else (DEFAULT_LISTEN[0], 0))
        config = file.master_config(password, changes=False)
        async with listening(file, address, config, terminal.note) as master, open_nursery() as nursery:
            self._builds = Builds(master, listeners, most_builds(file), ATTEMPTS)
            for entry in self._chosen:
                self._builds.want(entry, None if self._slave is None else [self._slave], self._asked)
            if self._signals:
                self._stop()
            if file.slaves:
                nursery.start_soon(_tell_of_missing, master, self._builds, terminal)
            else:
                on_slave = self._follow(self._builds, terminal)
                nursery.start_soon(run_embedded, file, master.host, master.port, password, on_slave)
            terminal.show_below(show.status)
            await self._builds.run(until_idle=True)
            terminal.show_below(lambda: "")
            nursery.cancel_scope.cancel()
        results = dict(self._builds.finals)
        await show.summary(results)
        if self._json:
            titles = {entry.name: [step.title for step in entry.steps] for entry in self._chosen}
            text = json_format.dumps(collect.as_object(results, titles))
            await trio.to_thread.run_sync(write_all, STDOUT, text.encode() + b"\n", abandon_on_cancel=True)
        return results

    def _stop(self) -> None:
        if self._builds is not None:
            self._builds.drain(Result.CANCELLED, "interrupted", self._drain)

    def _follow(self, builds: Builds, terminal: Terminal) -> Callable[[SlaveEvent], None]:
        """Return what hears of the slave inside the program: the builds end if it cannot be attached."""
        failures = 0

        def hear(event: SlaveEvent) -> None:
            nonlocal failures
            if is_worth_telling(event):
                terminal.note(f"embedded slave: {text_of(event)}")
            if isinstance(event, Attached):
                failures = 0
            elif isinstance(event, Detached | AttachRefused):
                failures += 1
                # Whatever the reason, it will not go away by itself.
                if failures == ATTEMPTS:
                    terminal.note(f"the slave inside the program could not be attached {ATTEMPTS} times in a row")
                    builds.stop(Result.EXCEPTION, "there is no slave")

        return hear

    async def _obey_signals(
        self, everything: trio.CancelScope, terminal: Terminal, *, task_status: trio.TaskStatus[None]
    ) -> None:
        with trio.open_signal_receiver(*self.signals) as receiver:
            task_status.started()
            async for number in receiver:
                self._signals.append(number)
                if len(self._signals) > 1:
                    everything.cancel()
                    return
                limit = f" in {self._drain:g} s" if self._drain else ""
                name = signal.Signals(number).name
                terminal.note(f"received {name}: ending what runs{limit}; once more to leave at once")
                self._stop()
                everything.deadline = trio.current_time() + self._drain + last_moments(self._chosen)


async def _tell_of_missing(master: Master, builds: Builds, terminal: Terminal) -> None:
    """Say which slaves builders wait for, whenever those are others."""
    told: dict[str, Sequence[str]] = {}
    while True:
        waiting = {wish.builder: slaves for wish, slaves in builds.waiting.items()}
        missing = {name: slaves for name, slaves in waiting.items() if not master.slaves.keys() & set(slaves)}
        if missing and missing != told:
            waits = ", ".join(f"{name} for slave {' or '.join(slaves)}" for name, slaves in missing.items())
            terminal.note(f"listening on {master.host}:{master.port}; waiting: {waits}")
        told = missing
        await master.wait_change()
