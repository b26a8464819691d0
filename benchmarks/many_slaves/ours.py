"""Our master with many slaves: `python -m benchmarks.many_slaves.ours PORT COUNT BUSY IDLE`; prints its report."""

from __future__ import annotations

from collections.abc import Callable

import trio

from benchmarks.many_slaves.fleet import BUILDER, COMMAND, HOST, LINES, PASSWORD, SETTLED, Book, Task, names, task
from slaveproto.master import MasterConfig, Result, Shell, SlaveAccount
from transports.trio import Master, open_master


async def run(task: Task) -> None:
    """Wait for everybody, wait, build."""
    config = MasterConfig({name: SlaveAccount(name, PASSWORD, {BUILDER: BUILDER}) for name in names(task.count)})
    async with open_master(config, host=HOST, port=task.port) as master:
        book = Book(task)
        while len(master.slaves) < task.count:
            await master.wait_change()
        book.attached()
        await trio.sleep(SETTLED)
        book.settled()
        await trio.sleep(task.idle)
        book.idled()
        complete: list[bool] = []
        async with trio.open_nursery() as builds:
            for name in names(task.busy):
                builds.start_soon(_build, master, name, complete.append)
        book.built(complete.count(True))


async def _build(master: Master, name: str, done: Callable[[bool], None]) -> None:
    pieces = []
    async with master.slaves[name].build(BUILDER) as running, running.step(Shell(command=COMMAND)) as step:
        async for output in step:
            if output.stream == "stdout":
                pieces.append(output.data)
        done(step.outcome.result is Result.SUCCESS and b"".join(pieces).count(b"line") == LINES)


if __name__ == "__main__":
    trio.run(run, task())
