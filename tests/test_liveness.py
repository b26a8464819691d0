"""Promise 1 in virtual time, with default settings: a dead peer is noticed within 60 s, a slow one is never dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import pytest

from slaveproto.inputs import Received
from slaveproto.liveness import Liveness
from slaveproto.master import Shell, StartBuild, StartStep
from slaveproto.slave.states import LinkState
from tests.master.support import attached as slave_at_our_master
from tests.master.support import is_open
from tests.slave.support import SHELL, newest
from tests.slave.support import attached as our_slave

PROMISED: Final = 60.0
FREEZE: Final = 50.0
PHASES: Final = [0.0, 0.5, 3.0, 4.9, 5.0, 5.1, 5.9, 6.0, 6.1, 7.5]
"""Seconds from the peer's last byte to the harm: before, at and after the questions of both sides."""


class End(Protocol):
    """One side of ours in virtual time, and its peer."""

    def advance(self, seconds: float) -> None:
        """Let time pass."""

    def speak(self, size: int) -> None:
        """Have our side send so many bytes of a build, at least."""

    def freeze(self) -> None:
        """The peer reads and says nothing."""

    def thaw(self) -> None:
        """The peer goes on."""

    def acknowledge(self, kept: int) -> None:
        """Set the bytes of ours that the peer's system has not acknowledged."""

    def receive(self, data: bytes) -> None:
        """Take bytes of the peer."""

    @property
    def alive(self) -> bool:
        """Whether our side has the connection."""


class OurMaster:
    def __init__(self) -> None:
        self._driver, self._slave = slave_at_our_master()
        self._unheard: list[bytes] = []
        self.advance = self._driver.advance
        (self._link,) = self._driver.links.values()
        self._driver.handle(StartBuild(1, "bot1", "linux"))

    def speak(self, size: int) -> None:
        self._driver.handle(StartStep(1, 1, Shell(command=("echo", "x" * size))))

    def freeze(self) -> None:
        self._slave.hear = self._unheard.append  # type: ignore[assignment,method-assign]
        self._slave.data_to_send = lambda: b""  # type: ignore[method-assign]

    def thaw(self) -> None:
        del self._slave.hear, self._slave.data_to_send
        self._slave.hear(b"".join(self._unheard))
        self._unheard.clear()
        self._driver.settle()

    def acknowledge(self, kept: int) -> None:
        self._link.unacknowledged = kept

    def receive(self, data: bytes) -> None:
        self._driver.handle(Received(1, data))

    @property
    def alive(self) -> bool:
        return is_open(self._driver, self._slave)


class OurSlave:
    def __init__(self) -> None:
        self._driver, self._master = our_slave()
        self._unheard: list[bytes] = []
        self.advance = self._driver.advance
        self._master.start_command("linux", "shell", {**SHELL, "timeout": None})
        self._child = newest(self._driver)

    def speak(self, size: int) -> None:
        self._driver.output(self._child, b"x" * size)

    def freeze(self) -> None:
        self._driver.to_master = self._unheard.append  # type: ignore[assignment,method-assign]

    def thaw(self) -> None:
        del self._driver.to_master
        self._master.hear(b"".join(self._unheard))
        self._unheard.clear()
        self._driver.settle()

    def acknowledge(self, kept: int) -> None:
        self._driver.unacknowledged = kept

    def receive(self, data: bytes) -> None:
        self._driver.handle(Received(1, data))

    @property
    def alive(self) -> bool:
        return self._driver.session.state is LinkState.ATTACHED


ENDS: Final[dict[str, Callable[[], End]]] = {"our master": OurMaster, "our slave": OurSlave}


@pytest.fixture(params=list(ENDS))
def end(request: pytest.FixtureRequest) -> End:
    return ENDS[request.param]()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kept", [0, 10**6], ids=["frozen", "black hole"])
def test_dead_peers_are_noticed(end: End, phase: float, kept: int) -> None:
    end.advance(20 + phase)
    end.freeze()
    end.acknowledge(kept)
    end.advance(FREEZE)
    assert end.alive
    end.advance(PROMISED - FREEZE)
    assert not end.alive


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("freeze", [5.0, 20.0, FREEZE])
def test_frozen_peers_are_not_dropped(end: End, phase: float, freeze: float) -> None:
    for _ in range(3):
        end.advance(20 + phase)
        end.freeze()
        end.advance(freeze)
        end.thaw()
        assert end.alive


def test_what_the_system_of_a_frozen_peer_acknowledges_does_not_save_it() -> None:
    """A build that prints a little all the time fills the buffers of a frozen master only after hours."""
    end = OurSlave()
    end.advance(20)
    end.freeze()
    for _ in range(int(PROMISED)):
        end.speak(100)
        end.advance(1)
    assert not end.alive


@pytest.mark.parametrize("size", [100_000, 600_000])
def test_a_message_may_take_its_time_on_a_slow_link(end: End, size: int) -> None:
    """At 64 kbit/s, 600 KB take 75 s; what the peer says about it arrives only then."""
    rate = 8_000
    end.advance(20)
    end.freeze()
    end.speak(size)
    for second in range(size // rate):
        end.acknowledge(size - second * rate)
        end.advance(1)
        assert end.alive, f"after {second} s"
    end.acknowledge(0)
    end.advance(FREEZE)
    end.thaw()
    assert end.alive


def test_a_link_that_gets_stuck_in_a_message(end: End) -> None:
    end.advance(20)
    end.freeze()
    end.speak(600_000)
    for second in range(30):
        end.acknowledge(600_000 - second * 8_000)
        end.advance(1)
    end.advance(PROMISED)
    assert not end.alive


def test_parts_of_a_message_are_signs_of_life(end: End) -> None:
    end.advance(20)
    end.freeze()
    for _ in range(10):
        end.advance(FREEZE)
        # Digits of a length.
        end.receive(b"\x01")
        assert end.alive


# -- the bookkeeping


def test_only_what_was_sent_up_to_the_question_counts() -> None:
    liveness = Liveness(0.0)
    liveness.taken = 100
    liveness.ask(50)
    liveness.look(100, 1.0)
    assert (liveness.sign, liveness.under_way) == (1.0, True)
    liveness.taken = 1000
    liveness.look(1000, 2.0)
    assert (liveness.sign, liveness.under_way) == (1.0, True)
    liveness.look(900, 3.0)
    assert (liveness.sign, liveness.under_way) == (3.0, True)
    liveness.look(800, 4.0)
    assert (liveness.sign, liveness.under_way) == (4.0, False)
    liveness.look(700, 5.0)
    assert (liveness.sign, liveness.asked) == (4.0, True)
    liveness.heard(6.0)
    assert (liveness.sign, liveness.asked) == (6.0, False)
    liveness.look(0, 7.0)
    assert liveness.sign == 6.0


def test_answers_to_questions_do_not_put_off_other_answers() -> None:
    liveness = Liveness(0.0)
    liveness.heard(1.0)
    liveness.ask(10)
    liveness.heard(2.0)
    liveness.answered()
    assert (liveness.sign, liveness.spoke) == (2.0, 1.0)
