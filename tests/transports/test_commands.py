"""Real processes, from the command of a master to the last byte of their output."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slaveproto.slave.events import Completed, StepFinished
from tests.transports.scripted_master import Listener, Master, Step
from tests.transports.support import Slave, descriptors, is_alive, running_slave, state_of, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")


def pids_in(step: Step) -> list[int]:
    return [int(word) for word in step.text("stdout").split()]


@pytest.fixture
def doomed() -> Iterator[list[int]]:
    """Processes that a test leaves on purpose."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("use_pty", [False, True])
def test_output_is_complete_and_in_order(master: Master, use_pty: bool) -> None:
    # On a terminal there is only one stream, in which lines of two writers would mix.
    step = master.run("b", f"seq 100000 {';' if use_pty else '&'} seq -f e%.0f 100000 >&2; wait", usePTY=use_pty)
    assert step.rc == 0
    lines = (step.text("stdout") + step.text("stderr")).replace("\r\n", "\n").splitlines()
    assert [line for line in lines if line[0] != "e"] == [str(n) for n in range(1, 100001)]
    assert [line for line in lines if line[0] == "e"] == [f"e{n}" for n in range(1, 100001)]


def test_streams_are_told_apart(master: Master) -> None:
    step = master.run("b", "echo out; echo err >&2")
    assert (step.text("stdout"), step.text("stderr")) == ("out\n", "err\n")


def test_bytes_arrive_as_they_were_written(listener: Listener, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "data").write_bytes(data)
    with running_slave(listener.port, tmp_path), listener.attach("b", text=False) as master:
        step = master.run("b", ["cat", "../data"])
        assert b"".join(value for key, value in step.updates if key == "stdout") == data  # type: ignore[misc]


@pytest.mark.parametrize(("command", "expected"), [("wc -c", "600000"), ("exec true", ""), ("head -c 7", "x" * 7)])
def test_standard_input_is_written_whether_or_not_it_is_read(master: Master, command: str, expected: str) -> None:
    step = master.run("b", command, initial_stdin="x" * 600_000)
    assert step.rc == 0
    assert step.text("stdout").strip() == expected


def test_standard_input_is_at_its_end_if_there_is_none(master: Master) -> None:
    assert master.run("b", "cat; echo end").text("stdout") == "end\n"


def test_a_child_that_closes_its_output_early_still_reads_its_input_and_ends_with_its_code(
    master: Master, tmp_path: Path
) -> None:
    step = master.run("b", "exec >&- 2>&-; sleep 0.2; cat > got; exit 7", initial_stdin="x" * 600_000)
    assert step.rc == 7
    assert (tmp_path / "b" / "got").stat().st_size == 600_000


def test_signals_are_as_a_new_process_expects_them(master: Master) -> None:
    for use_pty in (False, True):
        step = master.run("b", ["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"], usePTY=use_pty)
        # Of the numbers above 31 glibc keeps two for itself.
        assert [int(line.split()[1], 16) & 0x7FFFFFFF for line in step.text("stdout").splitlines()] == [0, 0], use_pty


def test_descriptors_of_the_slave_stay_with_the_slave(master: Master) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        for use_pty in (False, True):
            step = master.run("b", ["ls", "/proc/self/fd"], usePTY=use_pty)
            # The fourth is the directory itself.
            assert step.text("stdout").split() == ["0", "1", "2", "3"], use_pty
    finally:
        os.close(inherited)


def test_a_terminal_is_the_controlling_one(master: Master) -> None:
    script = "tty; ps -o tty= -p $$; : > /dev/tty && echo has one; ps -o pid=,pgid=,sid=,tpgid= -p $$; echo err >&2"
    step = master.run("b", script, usePTY=True)
    name, of_ps, has_one, numbers, err = step.text("stdout").replace("\r\n", "\n").splitlines()
    assert name == f"/dev/{of_ps.strip()}"
    assert has_one == "has one"
    assert len(set(numbers.split())) == 1, "it leads its session, its group and the foreground"
    assert err == "err"
    assert step.text("stderr") == ""


def test_a_terminal_has_job_control(master: Master) -> None:
    script = (
        "set -m; sh -c 'trap \"echo got INT; exit 3\" INT; echo up; sleep 60 & wait' & fg %1 < /dev/tty; echo rc $?"
    )
    step = master.start("b", ["bash", "-c", script], usePTY=True)
    master.wait_for(lambda: "up" in step.text("stdout"))
    master.interrupt("b")
    master.finish(step)
    assert step.rc == -1


def test_the_end_of_a_terminal_is_the_end_of_its_output(master: Master) -> None:
    step = master.run("b", "sleep 60 & echo $!", usePTY=True)
    assert step.rc == 0
    (pid,) = pids_in(step)
    wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize("use_pty", [False, True])
@pytest.mark.parametrize("command", [["no-such-program"], ["./no-such-program"], ["/etc/passwd"], ["."]])
def test_a_program_that_cannot_be_started(master: Master, use_pty: bool, command: list[str]) -> None:
    step = master.run("b", command, usePTY=use_pty)
    assert step.rc == 1
    assert step.completed == [None]
    assert len(step.text("stderr").splitlines()) == 1
    assert master.run("b", "echo fine").text("stdout") == "fine\n"


@pytest.mark.parametrize("use_pty", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        {"command": ["echo", "a\0b"]},
        {"command": ["a\0b"]},
        {"command": "echo a\0b"},
        {"command": ["true"], "env": {"A": "a\0b"}},
        {"command": ["true"], "env": {"A=B": "c"}},
        {"command": ["true"], "env": {"A\0B": "c"}},
        {"command": ["true"], "workdir": "a\0b"},
        {"command": ["true"], "logfiles": {"log": "a\0b"}},
        {"command": ["x" * 600_000] * 4},
    ],
)
def test_what_no_system_takes_ends_the_command_and_not_the_slave(
    master: Master, use_pty: bool, arguments: dict[str, Any]
) -> None:
    step = master.start("b", usePTY=use_pty, **arguments)
    master.finish(step)
    assert step.rc != 0 or "logfiles" in arguments
    assert master.run("b", "echo fine").text("stdout") == "fine\n"


@pytest.mark.parametrize("use_pty", [False, True])
def test_a_signal_reaches_the_whole_group(master: Master, use_pty: bool) -> None:
    script = "sh -c 'sleep 60 & echo $!; wait' & echo $!; echo $$; trap '' TERM; wait; wait"
    step = master.start("b", script, usePTY=use_pty)
    master.wait_for(lambda: len(pids_in(step)) == 3)
    pids = pids_in(step)
    assert all(map(is_alive, pids))
    master.interrupt("b")
    master.finish(step)
    assert step.rc == -1
    wait_until(lambda: not any(map(is_alive, pids)))


def test_a_daemon_that_holds_the_output_open_does_not_hold_a_killed_command(master: Master, doomed: list[int]) -> None:
    before = descriptors()
    step = master.start("b", "setsid sleep 60 & echo $!; wait")
    master.wait_for(lambda: pids_in(step))
    doomed += pids_in(step)
    assert descriptors() > before
    master.interrupt("b")
    master.finish(step)
    assert step.rc == -1
    assert is_alive(doomed[0])
    wait_until(lambda: descriptors() == before)


def test_an_input_that_only_a_daemon_holds_is_given_up(master: Master, doomed: list[int]) -> None:
    before = descriptors()
    step = master.run("b", "exec 3<&0; sleep 60 <&3 >/dev/null 2>&1 & echo $!", initial_stdin="x" * 600_000)
    doomed += pids_in(step)
    assert step.rc == 0
    assert is_alive(doomed[0])
    wait_until(lambda: descriptors() == before)


def test_output_of_a_grandchild_belongs_to_the_command_which_keeps_its_number_until_then(master: Master) -> None:
    step = master.start("b", "echo $$; (sleep 60; echo never) & exit 5")
    master.wait_for(lambda: pids_in(step))
    (pid,) = pids_in(step)
    wait_until(lambda: state_of(pid) == "Z")
    with pytest.raises(AssertionError, match="in time"):
        master.wait_for(lambda: step.completed, timeout=0.3)
    assert state_of(pid) == "Z", "its number is not given up as long as its group may be signalled"
    master.interrupt("b")
    master.finish(step)
    assert step.rc == 5
    wait_until(lambda: state_of(pid) == "")


def test_nothing_is_left_of_200_commands(master: Master, slave: Slave) -> None:
    def run(count: int) -> None:
        for n in range(count):
            more = {"initial_stdin": "x"} if n % 3 == 0 else {"usePTY": n % 3 == 1}
            assert master.run("b", ["no-such-program"] if n % 10 == 9 else ["cat", "/dev/null"], **more).completed

    run(10)
    wait_until(lambda: not waiting())
    files, threads = descriptors(), threading.active_count()
    run(200)
    wait_until(lambda: (descriptors(), threading.active_count()) == (files, threads))
    assert not Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert len(slave.of(StepFinished)) == 210


def waiting() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("wait", "file"))]


def test_first_output_comes_soon_and_a_trickle_does_not_flood(master: Master) -> None:
    step = master.start("b", "echo first; for i in $(seq 40); do sleep 0.02; echo $i; done")
    begun = time.monotonic()
    master.finish(step)
    took = time.monotonic() - begun
    assert step.first_output is not None
    assert step.first_output - begun < 0.5
    print(f"first output after {step.first_output - begun:.3f} s; {step.calls} updates in {took:.1f} s")
    assert step.calls < 10 + took, "41 lines; a handful of calls at once, then one per second"


def test_log_files_are_followed_beside_much_output(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slaveproto.commands.shell.POLL_INTERVAL", 0.01)
    script = "(for i in $(seq 40); do echo $i; sleep 0.01; done > log) & head -c 200000000 /dev/zero; wait"
    step = master.run("b", script, keep=False, logfiles={"log": "log"})
    assert step.rc == 0
    assert step.sizes["stdout"] == 200_000_000
    pieces = [value for key, value in step.updates if key == "log"]
    assert "".join(text for _, text in pieces) == "".join(f"{n}\n" for n in range(1, 41))  # type: ignore[misc,str-unpack]


def test_an_input_that_the_session_does_not_expect_ends_the_runner_and_its_children(
    listener: Listener, tmp_path: Path
) -> None:
    slave = Slave(listener.port, tmp_path, lambda delay: 0.0)
    slave.thread.start()
    with listener.attach("b") as master:
        step = master.start("b", "echo $$; sleep 60 & echo $!; wait")
        master.wait_for(lambda: len(pids_in(step)) == 2)
        slave.runner.post(Completed(10**6, None))
        slave.thread.join(10)
        assert type(slave.error).__name__ == "LocalProtocolError"
        wait_until(lambda: not any(map(is_alive, pids_in(step))))
        master.wait_closed()
