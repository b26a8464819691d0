"""Real processes, from the command of a master to the last byte of their output."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from slaveproto.errors import LocalProtocolError
from slaveproto.inputs import Completed
from slaveproto.slave.events import CommandFinished
from slaveproto.testing.conformance.harness import (
    Lab,
    Suite,
    descriptors,
    is_alive,
    need_proc,
    state_of,
    wait_until,
)
from slaveproto.wire import Failure

SUITE: Suite[Lab] = Suite()

_WRITE: Final = 'echo $$ > "$0".new; mv "$0".new "$0".pid'
_STAY: Final = f"{_WRITE}; exec sleep 1000"

ESCAPES: Final[Mapping[str, str]] = {
    "setsid": f"setsid sh -c '{_STAY}' setsid &",
    "double-fork": f"setsid sh -c 'sh -c \"$1\" double-fork & exit 0' x '{_STAY}' &",
    "nohup": f"nohup sh -c '{_STAY}' nohup &",
    "closed": f"sh -c '{_STAY}' closed <&- >&- 2>&- &",
    "ignores-term": f"sh -c 'trap \"\" TERM; {_WRITE}; while :; do sleep 1; done' ignores-term &",
    "no-environment": f"env -i setsid sh -c '{_STAY}' no-environment &",
}
"""Lines of a shell that start processes, each with another way to escape the end of its command. Each writes its number
into a file `NAME.pid` of the working directory."""

WITH_AND_WITHOUT_TERMINAL = ({"use_pty": False}, {"use_pty": True})


@contextlib.contextmanager
def doomed() -> Iterator[list[int]]:
    """Processes that a check leaves on purpose."""
    pids: list[int] = []
    try:
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


@SUITE.add(*WITH_AND_WITHOUT_TERMINAL)
def output_is_complete_and_in_order(lab: Lab, use_pty: bool) -> None:
    # On a terminal there is only one stream, in which lines of two writers would mix.
    with lab.attached() as (_, master):
        step = master.run("b", f"seq 100000 {';' if use_pty else '&'} seq -f e%.0f 100000 >&2; wait", usePTY=use_pty)
        assert step.rc == 0
        lines = (step.output() + step.output("stderr")).replace("\r\n", "\n").splitlines()
        assert [line for line in lines if line[0] != "e"] == [str(n) for n in range(1, 100001)]
        assert [line for line in lines if line[0] == "e"] == [f"e{n}" for n in range(1, 100001)]


@SUITE.add()
def streams_are_told_apart(lab: Lab) -> None:
    with lab.attached() as (_, master):
        step = master.run("b", "echo out; echo err >&2")
        assert (step.output(), step.output("stderr")) == ("out\n", "err\n")


@SUITE.add()
def bytes_arrive_as_they_were_written(lab: Lab) -> None:
    data = bytes(range(256)) * 1000
    (lab.directory / "data").write_bytes(data)
    with lab.slave(), lab.listener.attach("b", text=False) as master:
        assert master.run("b", ["cat", "../data"]).text("stdout") == data


@SUITE.add(
    {"command": "wc -c", "expected": "600000"},
    {"command": "exec true", "expected": ""},
    {"command": "head -c 7", "expected": "x" * 7},
)
def standard_input_is_written_whether_or_not_it_is_read(lab: Lab, command: str, expected: str) -> None:
    with lab.attached() as (_, master):
        step = master.run("b", command, initial_stdin="x" * 600_000)
        assert step.rc == 0
        assert step.output().strip() == expected


@SUITE.add()
def standard_input_is_at_its_end_if_there_is_none(lab: Lab) -> None:
    with lab.attached() as (_, master):
        assert master.run("b", "cat; echo end").output() == "end\n"


@SUITE.add({"command": "exit 3"}, {"command": "exec <&-; sleep 0.1; exit 3"}, {"command": "head -c 10; exit 3"})
def a_child_does_not_have_to_read_what_it_gets(lab: Lab, command: str) -> None:
    with lab.attached() as (_, master):
        assert master.run("b", command, initial_stdin="x" * 600_000).rc == 3


@SUITE.add()
def much_goes_in_and_out_at_once(lab: Lab) -> None:
    data = "".join(map(chr, range(32, 127))) * 6000
    with lab.attached() as (_, master):
        step = master.run("b", "tee /dev/stderr", initial_stdin=data)
        assert (step.output(), step.output("stderr")) == (data, data)


@SUITE.add()
def a_child_that_closes_its_output_early_still_reads_its_input_and_ends_with_its_code(lab: Lab) -> None:
    with lab.attached() as (_, master):
        step = master.run("b", "exec >&- 2>&-; sleep 0.2; cat > got; exit 7", initial_stdin="x" * 600_000)
        assert step.rc == 7
        assert (lab.directory / "b" / "got").stat().st_size == 600_000


@SUITE.add(*WITH_AND_WITHOUT_TERMINAL)
def signals_are_as_a_new_process_expects_them(lab: Lab, use_pty: bool) -> None:
    need_proc()
    with lab.attached() as (_, master):
        step = master.run("b", ["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"], usePTY=use_pty)
        # Of the numbers above 31 glibc keeps two for itself.
        assert [int(line.split()[1], 16) & 0x7FFFFFFF for line in step.output().splitlines()] == [0, 0]


@SUITE.add(*WITH_AND_WITHOUT_TERMINAL)
def descriptors_of_the_slave_stay_with_the_slave(lab: Lab, use_pty: bool) -> None:
    need_proc()
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        with lab.attached() as (_, master):
            # The fourth is the directory itself.
            assert master.run("b", ["ls", "/proc/self/fd"], usePTY=use_pty).numbers == [0, 1, 2, 3]
    finally:
        os.close(inherited)


@SUITE.add()
def a_terminal_is_the_controlling_one(lab: Lab) -> None:
    script = "tty; ps -o tty= -p $$; : > /dev/tty && echo has one; ps -o pid=,pgid=,sid=,tpgid= -p $$; echo err >&2"
    with lab.attached() as (_, master):
        step = master.run("b", script, usePTY=True)
        name, of_ps, has_one, numbers, err = step.output().replace("\r\n", "\n").splitlines()
        assert name == f"/dev/{of_ps.strip()}"
        assert has_one == "has one"
        assert len(set(numbers.split())) == 1, "it leads its session, its group and the foreground"
        assert err == "err"
        assert step.output("stderr") == ""


@SUITE.add()
def a_terminal_has_job_control(lab: Lab) -> None:
    script = (
        "set -m; sh -c 'trap \"echo got INT; exit 3\" INT; echo up; sleep 60 & wait' & fg %1 < /dev/tty; echo rc $?"
    )
    with lab.attached() as (_, master):
        step = master.start("b", ["bash", "-c", script], usePTY=True)
        master.wait_for(lambda: "up" in step.output())
        master.interrupt("b")
        master.finish(step)
        assert step.rc == -1


@SUITE.add()
def the_end_of_a_terminal_is_the_end_of_its_output(lab: Lab) -> None:
    need_proc()
    with lab.attached() as (_, master):
        step = master.run("b", "sleep 60 & echo $!", usePTY=True)
        assert step.rc == 0
        (pid,) = step.numbers
        wait_until(lambda: not is_alive(pid))


@SUITE.add(
    *(
        {"use_pty": use_pty, "command": command}
        for use_pty in (False, True)
        for command in (["no-such-program"], ["./no-such-program"], ["/etc/passwd"], ["."])
    )
)
def a_program_that_cannot_be_started(lab: Lab, use_pty: bool, command: list[str]) -> None:
    with lab.attached() as (_, master):
        step = master.run("b", command, usePTY=use_pty)
        assert step.rc == 1
        assert step.ends == [None]
        assert len(step.output("stderr").splitlines()) == 1
        assert master.run("b", "echo fine").output() == "fine\n"


@SUITE.add(*WITH_AND_WITHOUT_TERMINAL)
def what_no_system_takes_ends_the_command_and_not_the_slave(lab: Lab, use_pty: bool) -> None:
    bad: list[dict[str, Any]] = [
        {"command": ["echo", "a\0b"]},
        {"command": ["a\0b"]},
        {"command": "echo a\0b"},
        {"command": ["true"], "env": {"A": "a\0b"}},
        {"command": ["true"], "env": {"A=B": "c"}},
        {"command": ["true"], "env": {"A\0B": "c"}},
        {"command": ["true"], "workdir": "a\0b"},
        {"command": ["true"], "logfiles": {"log": "a\0b"}},
        {"command": ["x" * 600_000] * 4},
    ]
    with lab.attached() as (_, master):
        for arguments in bad:
            step = master.run("b", usePTY=use_pty, **arguments)
            assert step.rc != 0 or "logfiles" in arguments, arguments
        assert master.run("b", "echo fine").output() == "fine\n"


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """No file can be opened in this process."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@SUITE.add(*WITH_AND_WITHOUT_TERMINAL)
def a_host_without_descriptors_is_no_failure_of_the_build(lab: Lab, use_pty: bool) -> None:
    need_proc()
    with lab.attached() as (_, master):
        assert master.run("b", "true", usePTY=use_pty).rc == 0
        with no_more_descriptors():
            step = master.run("b", "true", usePTY=use_pty)
        assert step.rc is None
        assert [type(end) for end in step.ends] == [Failure]
        assert master.run("b", "echo fine").output() == "fine\n"


@SUITE.add(*WITH_AND_WITHOUT_TERMINAL)
def a_signal_reaches_the_whole_group(lab: Lab, use_pty: bool) -> None:
    need_proc()
    script = "sh -c 'sleep 60 & echo $!; wait' & echo $!; echo $$; trap '' TERM; wait; wait"
    with lab.attached() as (_, master):
        step = master.start("b", script, usePTY=use_pty)
        master.wait_for(lambda: len(step.numbers) == 3)
        pids = step.numbers
        assert all(map(is_alive, pids))
        master.interrupt("b")
        master.finish(step)
        assert step.rc == -1
        wait_until(lambda: not any(map(is_alive, pids)))


def escaped(directory: Path) -> dict[str, int]:
    """Return the processes of `ESCAPES` by their names, once all of them run in a directory; empty before."""
    files = {name: directory / f"{name}.pid" for name in ESCAPES}
    return (
        {name: int(file.read_text()) for name, file in files.items()} if all(map(Path.exists, files.values())) else {}
    )


@SUITE.add(
    {"how": "interrupt"},
    {"how": "interrupt", "interruptSignal": "INT"},
    {"how": "interrupt", "usePTY": True},
    {"how": "timeout", "timeout": 2, "sigtermTime": 0.2},
    {"how": "disconnect"},
    {"how": "stop"},
)
def nothing_that_a_command_started_outlives_its_end(lab: Lab, how: str, **arguments: Any) -> None:
    need_proc()
    script = "".join(f"{line}\n" for line in ESCAPES.values())
    with lab.attached() as (slave, master):
        master.start("b", f"{script}sleep 1000", **arguments)
        wait_until(lambda: escaped(lab.directory / "b"))
        pids = escaped(lab.directory / "b")
        assert all(map(is_alive, pids.values()))
        match how:
            case "interrupt":
                master.interrupt("b")
            case "disconnect":
                master.socket.close()
            case "stop":
                slave.stop("enough")
        wait_until(lambda: [name for name, pid in pids.items() if is_alive(pid)] == [])


@SUITE.add({"kill_leftovers": False}, {"kill_leftovers": True})
def what_is_left_of_a_command_that_ended_by_itself(lab: Lab, kill_leftovers: bool) -> None:
    """Leftovers live on, unless that is not wanted; then even what holds the output of the command is killed."""
    need_proc()
    holder = "setsid sleep 60" if kill_leftovers else "setsid sleep 60 >/dev/null 2>&1"
    with doomed() as pids, lab.attached() as (_, master):
        step = master.run("b", f"{holder} & echo $!; sleep 0.1", kill_leftovers=kill_leftovers)
        assert step.rc == 0
        assert is_alive(step.numbers[0]) is not kill_leftovers
        if not kill_leftovers:
            pids += step.numbers


@SUITE.add()
def a_daemon_that_holds_the_output_is_named(lab: Lab) -> None:
    need_proc()
    with lab.attached() as (_, master):
        step = master.start("b", "setsid sleep 60 & echo $!")
        master.wait_for(lambda: step.numbers)
        (pid,) = step.numbers
        master.wait_for(lambda: f"is held open by process {pid} (sleep); waiting for that" in step.output("header"))
        master.interrupt("b")
        master.finish(step)
        wait_until(lambda: not is_alive(pid))


@SUITE.add()
def an_input_that_only_a_daemon_holds_is_given_up(lab: Lab) -> None:
    need_proc()
    with doomed() as pids, lab.attached() as (_, master):
        assert master.run("b", "true").rc == 0
        before = descriptors()
        step = master.run("b", "exec 3<&0; sleep 60 <&3 >/dev/null 2>&1 & echo $!", initial_stdin="x" * 600_000)
        pids += step.numbers
        assert step.rc == 0
        assert is_alive(pids[0])
        wait_until(lambda: descriptors() <= before)


@SUITE.add()
def what_is_left_of_a_group_after_its_command_is_left_alone(lab: Lab) -> None:
    """A process that a command started, and that holds no stream of it, outlives it, and even the slave."""
    need_proc()
    with doomed() as pids:
        with lab.attached() as (slave, master):
            step = master.run("b", "sleep 60 >/dev/null 2>&1 </dev/null & echo $!")
            pids += step.numbers
            assert step.rc == 0
            slave.stop("enough")
            slave.join()
        assert is_alive(pids[0])


@SUITE.add()
def output_of_a_grandchild_belongs_to_the_command_which_keeps_its_number_until_then(lab: Lab) -> None:
    need_proc()
    with lab.attached() as (_, master):
        step = master.start("b", "echo $$; (sleep 60; echo never) & exit 5")
        master.wait_for(lambda: step.numbers)
        (pid,) = step.numbers
        wait_until(lambda: state_of(pid) == "Z")
        try:
            master.wait_for(lambda: step.ends, timeout=0.3)
        except AssertionError:
            pass
        else:
            raise AssertionError("the command ended although its output goes on")
        assert state_of(pid) == "Z", "its number is not given up as long as its group may be signalled"
        master.interrupt("b")
        master.finish(step)
        assert step.rc == 5
        wait_until(lambda: state_of(pid) == "")


@SUITE.add()
def files_are_made_copied_and_removed(lab: Lab) -> None:
    place = lab.directory / "b"
    with lab.attached() as (_, master):
        assert master.finish(master.begin("b", "mkdir", {"dir": "one/two"})).rc == 0
        (place / "one" / "two" / "file").write_bytes(b"data")
        assert master.finish(master.begin("b", "cpdir", {"fromdir": "one", "todir": "copy"})).rc == 0
        assert (place / "copy" / "two" / "file").read_bytes() == b"data"
        assert master.finish(master.begin("b", "rmdir", {"dir": "one"})).rc == 0
        assert not (place / "one").exists()
        assert master.finish(master.begin("b", "stat", {"file": "one"})).rc != 0


@SUITE.add()
def a_copy_that_takes_long_can_be_interrupted(lab: Lab) -> None:
    place = lab.directory / "b"
    size = 8_000_000_000
    with lab.attached() as (_, master):
        assert master.finish(master.begin("b", "mkdir", {"dir": "big"})).rc == 0
        with (place / "big" / "file").open("wb") as file:
            # Of nothing but a hole.
            file.truncate(size)
        step = master.begin("b", "cpdir", {"fromdir": "big", "todir": "copy"})
        wait_until((place / "copy" / "file").exists)
        master.interrupt("b")
        master.finish(step)
        assert step.rc != 0
        assert (place / "copy" / "file").stat().st_size < size


@SUITE.add()
def nothing_is_left_of_100_commands(lab: Lab) -> None:
    need_proc()
    with lab.attached() as (slave, master):

        def run(count: int) -> None:
            for n in range(count):
                more = {"initial_stdin": "x"} if n % 3 == 0 else {"usePTY": n % 3 == 1}
                assert master.run("b", ["no-such-program"] if n % 10 == 9 else ["cat", "/dev/null"], **more).ends

        run(10)
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        wait_until(lambda: not children.read_text().split())
        before = descriptors()
        run(100)
        wait_until(lambda: descriptors() <= before)
        wait_until(lambda: not children.read_text().split())
        # The slave says it a moment after the master knows.
        wait_until(lambda: len(slave.of(CommandFinished)) == 110)


@SUITE.add()
def first_output_comes_soon_and_a_trickle_does_not_flood(lab: Lab) -> None:
    with lab.attached() as (_, master):
        step = master.start("b", "echo first; for i in $(seq 40); do sleep 0.02; echo $i; done")
        begun = time.monotonic()
        master.finish(step)
        took = time.monotonic() - begun
        assert step.first_output is not None
        assert step.first_output - begun < 0.5
        assert step.calls < 10 + took, "41 lines; a handful of calls at once, then one per second"


@SUITE.add()
def an_input_that_the_session_does_not_expect_ends_the_runner_and_its_children(lab: Lab) -> None:
    need_proc()
    with lab.attached() as (slave, master):
        step = master.start("b", "echo $$; sleep 60 & echo $!; wait")
        master.wait_for(lambda: len(step.numbers) == 2)
        slave.post(Completed(10**6, None))
        slave.fails(LocalProtocolError)
        wait_until(lambda: not any(map(is_alive, step.numbers)))
        master.wait_closed()
