"""The threads of the blocking runner."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from slaveproto.slave.events import Detached, MasterSaid
from slaveproto.testing.conformance import MasterSocket, wait_until
from slaveproto.testing.conformance.harness import Lab, descriptors, need_proc
from slaveproto.testing.conformance.socket_master import say_without_pause
from tests.transports.support import Threaded


@pytest.fixture
def lab(listener: MasterSocket, tmp_path: Path) -> Lab:
    need_proc()
    return Lab(tmp_path, listener, Threaded)


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_no_thread_is_left_of_commands(lab: Lab) -> None:
    with lab.attached() as (_, master):

        def run(count: int) -> None:
            for n in range(count):
                more = {"initial_stdin": "x"} if n % 3 == 0 else {"usePTY": n % 3 == 1}
                assert master.run("b", ["no-such-program"] if n % 10 == 9 else ["cat", "/dev/null"], **more).ends

        run(10)
        wait_until(lambda: not [name for name in names() if name.startswith(("wait", "worker"))])
        before = (descriptors(), threading.active_count())
        run(50)
        wait_until(lambda: (descriptors(), threading.active_count()) == before)


def test_no_thread_is_left_of_a_runner(lab: Lab) -> None:
    def live() -> None:
        with lab.attached() as (slave, master):
            master.run("b", "echo fine")
            master.start("b", "exec cat /dev/zero", keep=False)
            slave.stop("enough")
            slave.join()

    others = set(threading.enumerate())
    for _ in range(3):
        live()
        wait_until(lambda: not set(threading.enumerate()) - others)


def test_no_thread_is_left_of_a_connection_without_pause(lab: Lab) -> None:
    with lab.attached() as (slave, master):
        # Workers end by themselves.
        others = {thread for thread in threading.enumerate() if thread.name != "worker"}
        talker = threading.Thread(target=say_without_pause, args=(master,))
        talker.start()
        slave.wait_for(MasterSaid, 20)
        slave.stop("enough")
        slave.join(2)
        talker.join(5)
        # Main and streams of the slave.
        wait_until(lambda: len(others & set(threading.enumerate())) == len(others) - 2)


def test_no_thread_is_left_of_a_connection_that_is_stuck(lab: Lab) -> None:
    with lab.slave(keepalive=0.6, silence=0.5) as slave, lab.listener.attach("b") as master:
        master.start("b", "exec cat /dev/zero")
        assert slave.wait_for(Detached).why == "the master said nothing for 0.5 s"
        assert names().count("last words") == 1
        with lab.listener.attach("b"):
            # They have had their time, and the master of the first connection still does not read.
            wait_until(lambda: "last words" not in names())
            assert master.open
