"""The record of a master's builds: what it has built, and what every step wrote.

Rules. A build that was told as finished is stored before that; its steps go on while what they did waits to be stored.
The log files are written in threads of their own. A log that cannot be written is cut, and gives half of its room back:
what fills a disk is most often a log. The build goes on without it. Of a log that is too large the middle is left out.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from slaveproto.ci.bounded_log import BoundedLog
from slaveproto.ci.builds import (
    BuildListener,
    Run,
    StepPlace,
)
from slaveproto.ci.errors import NO_ROOM
from slaveproto.ci.memory import Memory
from slaveproto.ci.scheduler import Wish
from slaveproto.ci.store import Store
from slaveproto.master.results import Result

if TYPE_CHECKING:
    from slaveproto.master.events import Outcome
    from slaveproto.master.output import Output


class Record(BuildListener):
    """The record of builds: remembers them and writes their logs.

    Args:
        store: where.
        memory: makes the calls of the store.
        say: is told what people should know.
        finished: is told of each request that is done with a build: its number, the build, slave and result.
        log_max_size: returns the bytes that are kept of a log; 0 for all.
    """

    def __init__(
        self,
        store: Store,
        memory: Memory,
        say: Callable[[str], None],
        finished: Callable[[int, dict[str, Any]], None],
        log_max_size: Callable[[], int],
    ) -> None:
        self._store = store
        self._memory = memory
        self._say = say
        self._finished = finished
        self._log_max_size = log_max_size
        self._numbers: dict[Run, int] = {}
        self._begun: dict[Run, float] = {}
        self._logs: dict[tuple[Run, str], BoundedLog | None] = {}
        self.on_start: Callable[[Wish], None] = lambda wish: None

    async def _build_started(self, run: Run) -> None:
        wish = run.wish
        number = await self._memory(self._store.begin_build, wish.builder, run.slave, time.time(), wish.asked)
        # Not before: a request that was stored while this waited for its turn is wanted by now.
        self.on_start(wish)
        self._numbers[run], self._begun[run] = number, trio.current_time()
        run.properties |= {"buildnumber": str(number), **await self._memory(self._store.told_of, number)}
        self._memory.later(self._store.set_properties, number, run.shown)
        self._say(f"build {number} of {run.entry.name} on slave {run.slave} started")

    async def _step_started(self, run: Run, step: StepPlace) -> None:
        begin = self._numbers[run], step.number, step.what.title, time.time(), step.target
        if step.target is None:
            self._memory.later(self._store.begin_step, *begin)
        else:
            # Not after: what a master that is killed leaves there is found by this.
            await self._memory(self._store.begin_step, *begin)

    async def _output(self, run: Run, step: StepPlace, output: Output) -> None:
        # What the slave says of it has a file of its own.
        log = "header" if output.stream == "header" else output.log
        try:
            if (run, log) not in self._logs:
                self._logs[run, log] = await self._open(run, step, log)
            file = self._logs[run, log]
            if file is not None:
                if self._memory.full:
                    # The reserve is for the store.
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.path)
                await trio.to_thread.run_sync(file.write, output.data)
        except OSError as error:
            await self._give_up(run, step, log, error)

    async def _given_up(self, run: Run, why: str) -> None:
        # Its requests have to end, and people find it where they look for builds.
        await self._build_started(run)
        await self._build_ended(run, Result.EXCEPTION, why)

    async def _open(self, run: Run, step: StepPlace, log: str) -> BoundedLog:
        number = self._numbers[run]
        file, path = await trio.to_thread.run_sync(self._store.open_log, number, step.number, log)
        self._memory.later(self._store.add_log, number, step.number, log, path)
        return BoundedLog(file, self._log_max_size())

    async def _give_up(self, run: Run, step: StepPlace, log: str, error: OSError) -> None:
        file = self._logs.get((run, log))
        self._logs[run, log] = None
        what = f"build {self._numbers[run]}: the log {log} of step {step.number}"
        whose = "the master's disk: " if error.errno in NO_ROOM else ""
        if file is None:
            self._say(f"{what} is lost: {error.filename}: {whose}{error.strerror}")
            return
        kept = await trio.to_thread.run_sync(file.cut, f"\n[the log ends here: {whose}{error.strerror}]\n".encode())
        self._say(f"{what} is cut after {kept} bytes: {file.path}: {whose}{error.strerror}")

    async def _step_ended(self, run: Run, step: StepPlace, outcome: Outcome | None) -> None:
        for _, log in [key for key in self._logs if key[0] is run]:
            await self._close(run, step, log)
            del self._logs[run, log]
        number, title = self._numbers[run], step.what.title
        if outcome is None:
            self._memory.later(self._store.skip_step, number, step.number, title)
            return
        self._memory.later(
            self._store.end_step, number, step.number, outcome.result, outcome.rc, outcome.why, outcome.elapsed
        )
        if outcome.result is not Result.SUCCESS:
            why = f": {outcome.why}" if outcome.why else ""
            self._say(f"build {number} of {run.entry.name}: step {step.number}, {title}: {outcome.result.word}{why}")

    async def _build_ended(self, run: Run, result: Result, why: str) -> None:
        number = self._numbers.pop(run)
        elapsed = trio.current_time() - self._begun.pop(run)
        counted = not run.interrupted
        self._memory.later(self._store.set_properties, number, run.shown)
        requests = await self._memory(self._store.end_build, number, result, time.time(), elapsed, why, counted=counted)
        about = f": {why}" if why else ""
        self._say(f"build {number} of {run.entry.name} on slave {run.slave}: {result.word}{about}")
        for request in requests:
            self._finished(request, {"build": number, "slave": run.slave, "result": result.word})

    async def _refused(self, run: Run, why: str) -> None:
        self._say(f"slave {run.slave} did not take a build of {run.entry.name}: {why}")

    async def _close(self, run: Run, step: StepPlace, log: str) -> None:
        file = self._logs.get((run, log))
        if file is not None:
            try:
                await trio.to_thread.run_sync(file.close)
            except OSError as error:
                what = f"build {self._numbers[run]}: the end of the log {log} of step {step.number}"
                self._say(f"{what} is lost: {file.path}: {error.strerror}")
