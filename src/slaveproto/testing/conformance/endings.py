"""The end of a runner in every situation."""

from __future__ import annotations

import threading

from slaveproto.slave.events import Attached, CommandFinished, Connecting, Detached, MasterSaid, Stopped
from slaveproto.testing.conformance.connections import full_port, never
from slaveproto.testing.conformance.harness import (
    Lab,
    Suite,
    descriptors,
    is_alive,
    need_proc,
    wait_until,
    wait_until_stuck,
)
from slaveproto.testing.conformance.socket_master import say_without_pause

SUITE: Suite[Lab] = Suite()


@SUITE.add()
def stop_while_connecting(lab: Lab) -> None:
    with full_port() as port, lab.slave(port=port, jitter=never) as slave:
        slave.wait_for(Connecting)
        slave.stop("enough")
        slave.join(2)
        assert slave.wait_for(Stopped) == Stopped("enough", False)


@SUITE.add()
def stop_while_waiting(lab: Lab) -> None:
    with lab.slave(port=1, jitter=never) as slave:
        slave.wait_for(Detached)
        slave.stop("enough")
        slave.join(2)


@SUITE.add()
def stop_at_once(lab: Lab) -> None:
    with lab.slave(port=1, jitter=never) as slave:
        slave.stop("enough")
        slave.join(2)
        assert slave.wait_for(Stopped) == Stopped("enough", False)


@SUITE.add()
def stop_while_idle(lab: Lab) -> None:
    with lab.attached() as (slave, master):
        slave.wait_for(Attached)
        slave.stop("enough")
        slave.join(2)
        master.wait_closed()


@SUITE.add()
def what_was_said_last_still_gets_out(lab: Lab) -> None:
    with lab.attached() as (slave, master):
        assert master.call_bot("shutdown") is None
        master.wait_closed()
        slave.join(2)
        assert slave.wait_for(Stopped) == Stopped("the master asked for it", False)


@SUITE.add()
def stop_during_a_build(lab: Lab) -> None:
    need_proc()
    with lab.attached() as (slave, master):
        step = master.start("b", "echo $$; sleep 60 & echo $!; wait")
        master.wait_for(lambda: len(step.numbers) == 2)
        slave.stop("enough")
        slave.join(5)
        wait_until(lambda: not any(map(is_alive, step.numbers)))
        assert slave.wait_for(CommandFinished).dropped


@SUITE.add()
def the_second_stop_does_not_wait(lab: Lab) -> None:
    need_proc()
    script = "trap '' TERM; echo $$; sleep 60 & echo $!; while :; do sleep 1; done"
    with lab.attached() as (slave, master):
        step = master.start("b", script, sigtermTime=1000)
        master.wait_for(lambda: len(step.numbers) == 2)
        slave.stop("enough")
        slave.wait_for(Stopped)
        assert not slave.is_over(0.3), "the first stop waits for what dies slowly"
        slave.stop("really")
        slave.join(2)
        wait_until(lambda: not any(map(is_alive, step.numbers)))


@SUITE.add()
def stop_while_the_master_talks_without_pause(lab: Lab) -> None:
    with lab.attached() as (slave, master):
        talker = threading.Thread(target=say_without_pause, args=(master,))
        talker.start()
        slave.wait_for(MasterSaid, 20)
        slave.stop("enough")
        slave.join(2)
        talker.join(5)
        assert not talker.is_alive()


@SUITE.add()
def the_second_stop_in_the_middle_of_much_output(lab: Lab) -> None:
    for _ in range(5):
        with lab.attached() as (slave, master):
            step = master.start("b", "exec cat /dev/zero", keep=False)
            master.wait_for(lambda step=step: step.calls > 20)  # type: ignore[misc]
            slave.stop("enough")
            slave.stop("really")
            slave.join(2)


@SUITE.add()
def stop_while_the_master_does_not_read(lab: Lab) -> None:
    need_proc()
    with lab.attached() as (slave, master):
        master.start("b", "echo $$ > pid; exec cat /dev/zero")
        file = lab.directory / "b" / "pid"
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
        pid = int(file.read_text())
        wait_until_stuck(pid)
        slave.stop("enough")
        slave.join()
        wait_until(lambda: not is_alive(pid))


@SUITE.add()
def nothing_is_left_of_a_runner(lab: Lab) -> None:
    need_proc()
    lab.directory.joinpath("b").mkdir()

    def live() -> None:
        with lab.attached() as (slave, master):
            master.run("b", "echo fine")
            master.start("b", "exec cat /dev/zero", keep=False)
            slave.stop("enough")
            slave.join()

    live()
    before = descriptors()
    for _ in range(5):
        live()
    wait_until(lambda: descriptors() <= before)
