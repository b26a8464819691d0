"""The record of a master's builds: what it has built, and what every step wrote.

Rules. A build that was told as finished is stored before that. The store has one thread at a time; the log files are
written in threads of their own, and a log that cannot be written is lost alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, ParamSpec, TypeVar

import trio

from slaveproto.ci.builds import (
    BuildListener,
    Run,
    StepPlace,
)
from slaveproto.ci.schedule import change_variables
from slaveproto.ci.store import Store
from slaveproto.master.results import Result

if TYPE_CHECKING:
    from slaveproto.master.events import Outcome
    from slaveproto.master.output import Output

P = ParamSpec("P")
T = TypeVar("T")


class Memory:
    """The store, for tasks: each call in a worker thread, one after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = trio.Lock()

    async def __call__(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the store."""
        async with self._turn:
            return await trio.to_thread.run_sync(lambda: method(*args, **kwargs))


class Record(BuildListener):
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

    async def _build_started(self, run: Run) -> None:
        number = await self._memory(self._store.begin_build, run.entry.name, run.slave, time.time())
        # Not before: a request that was stored while this waited for its turn is wanted by now.
        self.on_start(run.entry.name)
        self._numbers[run] = number
        run.variables = change_variables(await self._memory(self._store.change_of, number))
        self._say(f"build {number} of {run.entry.name} on slave {run.slave} started")

    async def _step_started(self, run: Run, step: StepPlace) -> None:
        await self._memory(self._store.begin_step, self._numbers[run], step.number, step.what.title, time.time())

    async def _output(self, run: Run, step: StepPlace, output: Output) -> None:
        # What the slave says of it has a file of its own.
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
        number = self._numbers.pop(run)
        requests = await self._memory(self._store.end_build, number, result, time.time())
        self._say(f"build {number} of {run.entry.name} on slave {run.slave}: {result.word}")
        for request in requests:
            self._finished(request, {"build": number, "slave": run.slave, "result": result.word})

    async def _refused(self, run: Run, why: str) -> None:
        self._say(f"slave {run.slave} did not take a build of {run.entry.name}: {why}")

    def _close(self, run: Run, log: str) -> None:
        file = self._logs.get((run, log))
        if file is not None:
            file.close()


def _write(file: BinaryIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]
