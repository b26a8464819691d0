"""One master with many attached slaves, some of them busy: what each costs.

    python benchmarks/many_slaves.py [--slaves 1000] [--busy 20] [--in-process]

The slaves are ours, on real connections over loopback; in a process of their own unless --in-process is given, so that
time and memory are the master's alone. Printed as JSON: seconds and kilobytes per slave, the master's CPU time while
nothing and while the busy slaves' builds run.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from slaveproto.master import MasterConfig, MasterEvent, Result, Shell, SlaveAccount
from slaveproto.slave import SlaveConfig, SlaveSession
from transports.host import describe_host, jitter
from transports.trio import Master, open_master, run_slave

IDLE_SECONDS = 5.0
COMMAND = "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.2; done"


def main() -> int:
    """Run the benchmark, or be the process of the slaves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slaves", type=int, default=1000)
    parser.add_argument("--busy", type=int, default=20)
    parser.add_argument("--in-process", action="store_true")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        if options.port is not None:
            trio.run(run_slaves, options.port, options.slaves, Path(folder))
        else:
            print(json.dumps(trio.run(measure, options.slaves, options.busy, options.in_process, Path(folder))))
    return 0


async def run_slaves(port: int, count: int, folder: Path) -> None:
    """Run all slaves in this process, for ever."""
    host = describe_host("slaveproto benchmark")
    async with trio.open_nursery() as nursery:
        for number in range(count):
            config = SlaveConfig("127.0.0.1", port, f"s{number}", "pw", str(folder / f"s{number}"), max_delay=2.0)
            nursery.start_soon(run_slave, SlaveSession(config, host, jitter), _ignore)


def _ignore(event: object) -> None:
    """Nobody listens."""


async def measure(count: int, busy: int, in_process: bool, folder: Path) -> dict[str, object]:
    """Attach everybody, wait, build, and return what it took."""
    names = [f"s{number}" for number in range(count)]
    config = MasterConfig({name: SlaveAccount(name, "pw", {"b": "b"}) for name in names})
    events: list[MasterEvent] = []
    report: dict[str, object] = {"slaves": count, "busy": busy, "in_process": in_process}
    async with open_master(config, on_event=events.append) as master, trio.open_nursery() as nursery:
        gc.collect()
        memory, cpu, wall = resident(), time.process_time(), time.perf_counter()
        if in_process:
            nursery.start_soon(run_slaves, master.port, count, folder)
        else:
            command = [sys.executable, __file__, "--port", str(master.port), "--slaves", str(count)]
            await nursery.start(_run_process, command)
        while len(master.slaves) < count:
            await master.wait_change()
        gc.collect()
        report["attach_wall_ms_per_slave"] = round((time.perf_counter() - wall) * 1000 / count, 3)
        report["attach_cpu_ms_per_slave"] = round((time.process_time() - cpu) * 1000 / count, 3)
        report["memory_kb_per_slave"] = round((resident() - memory) / count, 1)
        cpu = time.process_time()
        await trio.sleep(IDLE_SECONDS)
        report["idle_cpu_percent"] = round((time.process_time() - cpu) * 100 / IDLE_SECONDS, 2)
        cpu, wall = time.process_time(), time.perf_counter()
        results: list[Result] = []
        async with trio.open_nursery() as builds:
            for name in names[:busy]:
                builds.start_soon(build, master, name, results.append)
        report["busy_cpu_percent"] = round((time.process_time() - cpu) * 100 / (time.perf_counter() - wall), 2)
        report["builds_ok"] = results.count(Result.SUCCESS)
        nursery.cancel_scope.cancel()
    return report


async def _run_process(command: list[str], *, task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(command, task_status=task_status)


async def build(master: Master, name: str, done: Callable[[Result], None]) -> None:
    """Run one build."""
    async with master.slaves[name].build("b") as running, running.step(Shell(command=COMMAND)) as step:
        done((await step.wait()).result)


def resident() -> int:
    """Return the resident memory of this process in kilobytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


if __name__ == "__main__":
    sys.exit(main())
