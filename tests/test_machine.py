"""Every table of the code base, the machine that walks one, and two connections under random treatment."""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine, Table
from slaveproto.master import states as master_states
from slaveproto.slave import states as slave_states
from slaveproto.wire import (
    NEED_DATA,
    Answered,
    Call,
    CallLost,
    Closed,
    Connection,
    Event,
    Failed,
    Failure,
    Local,
    Opened,
    Released,
    Remote,
    Role,
    Value,
    remotes_in,
    states,
)
from slaveproto.wire.states import NegotiationState

MODULES: Final = [states, slave_states, master_states]
"""Where the tables are. A new module with tables is one more entry."""

TABLES: Final[list[Any]] = [
    pytest.param(table, id=name)
    for module in MODULES
    for name, table in vars(module).items()
    if isinstance(table, Table)
]


def test_the_tables_are_found() -> None:
    assert {param.id for param in TABLES} >= {"NEGOTIATION_CLIENT", "NEGOTIATION_SERVER", "LOGIN"}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_sound(table: Table[Any, Any]) -> None:
    assert table.problems() == []


def events_of(table: Table[Any, Any]) -> type[Enum]:
    return type(next(iter(table.moves[table.start])))


@pytest.mark.parametrize("table", TABLES)
def test_every_event_in_every_state_moves_or_blames(table: Table[Any, Any]) -> None:
    used = set()
    for state in type(table.start):
        for event in events_of(table):
            machine = Machine(table)
            machine.state = state
            meant = table.moves[state].get(event) or table.tolerated.get(state, {}).get(event)
            if meant is not None:
                used.add(event)
                assert machine.fire(event) is meant
                assert machine.state is meant
            else:
                blame = RemoteProtocolError if event in table.theirs else LocalProtocolError
                with pytest.raises(blame, match=f"{event.name} is not possible in {state.name}") as caught:
                    machine.fire(event)
                assert type(caught.value) is blame
                assert machine.state is state
    assert used == set(events_of(table)), "an event that no row uses"


@pytest.mark.parametrize("table", TABLES)
def test_every_walk_ends_in_the_table(table: Table[Any, Any]) -> None:
    @given(st.lists(st.sampled_from(list(events_of(table))), max_size=20))
    @settings(max_examples=30)
    def walk(taken: list[Enum]) -> None:
        machine = Machine(table)
        for event in taken:
            before = machine.state
            try:
                machine.fire(event)
            except (LocalProtocolError, RemoteProtocolError):
                assert machine.state is before
            assert machine.state in table.moves

    walk()


# -- the table's own complaints


class Light(Enum):
    RED = auto()
    GREEN = auto()


class Switch(Enum):
    GO = auto()
    STOP = auto()


LIGHT: Final = Table(
    name="light",
    start=Light.RED,
    moves={Light.RED: {Switch.GO: Light.GREEN}, Light.GREEN: {}},
    theirs=frozenset({Switch.STOP}),
    tolerated={Light.GREEN: {Switch.STOP: Light.RED}},
)


def test_tolerated_rows_move_like_others() -> None:
    assert LIGHT.problems() == []
    machine = Machine(LIGHT)
    with pytest.raises(RemoteProtocolError):
        machine.fire(Switch.STOP)
    machine.fire(Switch.GO)
    assert machine.over
    with pytest.raises(LocalProtocolError):
        machine.fire(Switch.GO)
    assert machine.fire(Switch.STOP) is Light.RED


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"moves": {Light.RED: {Switch.GO: Light.GREEN}}}, "GREEN has no row"),
        ({"moves": {Light.RED: {}, Light.GREEN: {}}}, "GREEN cannot be reached"),
        ({"theirs": frozenset()}, "GREEN tolerates STOP, which is ours"),
        (
            {"moves": {Light.RED: {Switch.GO: Light.GREEN}, Light.GREEN: {Switch.STOP: Light.RED}}},
            "GREEN both means and tolerates STOP",
        ),
    ],
)
def test_unsound_tables_are_recognised(changes: dict[str, Any], problem: str) -> None:
    assert attrs.evolve(LIGHT, **changes).problems() == [problem]


# -- two connections

SIMPLE: Final[st.SearchStrategy[Any]] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.binary(max_size=5), st.text(max_size=5)
)
PROMPT: Final = st.sampled_from([True, True, False])


class Side:
    """One end of the pair, and what a program at that end knows."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.objects = [Local(name) for name in "abc"]
        self.held: list[Remote] = []
        self.unanswered: list[int] = []
        self.answered: list[int] = []
        self.asked: set[int] = set()
        self.ended: Counter[int] = Counter()
        self.closed: list[Closed] = []
        self.log: list[Event] = []
        self.incoming = bytearray()


class PairOfConnections(RuleBasedStateMachine):
    """Calls, answers, references and cuts in any order, with bytes that travel in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Local("root")
        self.server = Side(Connection(Role.SERVER, root=self.root))
        self.client = Side(Connection(Role.CLIENT))
        self.sides = [self.client, self.server]
        self.cut = self.spoiled = False
        self.patience = 0

    # -- helpers

    def other(self, side: Side) -> Side:
        return self.server if side is self.client else self.client

    def collect(self, side: Side, *, prompt: bool = False) -> None:
        """Put what `side` wants to send on its way; if `prompt`, it arrives at once."""
        self.other(side).incoming += side.connection.data_to_send()
        if prompt:
            self.settle()

    def take_events(self, side: Side) -> None:
        while True:
            try:
                event = side.connection.next_event()
            except RemoteProtocolError:
                assert self.spoiled, "two connections of ours blame each other"
                continue
            if event is NEED_DATA:
                break
            self.take(side, event)
        self.collect(side)

    def take(self, side: Side, event: Event) -> None:
        assert not side.closed, "something happened after the end"
        side.log.append(event)
        match event:
            case Call(target=target, args=args, kwargs=kwargs):
                assert target is self.root or target in side.objects
                side.held += remotes_in(*args, *kwargs.values())
                side.unanswered.append(event.id)
            case Answered(id=number, value=value):
                side.held += remotes_in(value)
                side.ended[number] += 1
            case Failed(id=number) | CallLost(id=number):
                side.ended[number] += 1
            case Closed():
                side.closed.append(event)
            case Released(local=local):
                assert local in side.objects or local is self.root
            case Opened():
                assert not side.asked
            case _:
                assert self.spoiled, "a call of ours was refused"

    def value_of(self, side: Side, data: st.DataObject) -> Value:
        """Draw something that `side` can send."""
        atoms = [SIMPLE, st.sampled_from(side.objects)]
        if side.held:
            atoms.append(st.sampled_from(side.held))
        return data.draw(st.recursive(st.one_of(atoms), lambda v: st.lists(v, max_size=3), max_leaves=4))

    sides_drawn = st.sampled_from([0, 1])

    # -- rules

    @initialize(patience=st.integers(0, 60), at_once=st.sampled_from([True, True, True, False]))
    def begin(self, patience: int, at_once: bool) -> None:
        """Only after `patience` steps may something end the connection, so that there is something to end."""
        self.patience = patience
        self.collect(self.server)
        if at_once:
            self.settle()

    @rule(which=sides_drawn, data=st.data(), wants_answer=st.sampled_from([True, True, False]), prompt=PROMPT)
    def call(self, which: int, data: st.DataObject, wants_answer: bool, prompt: bool) -> None:
        side = self.sides[which]
        targets = [side.connection.root, *side.held] if side is self.client else side.held
        if side.connection.is_open and not targets:
            side, targets = self.client, [self.client.connection.root]
        if not side.connection.is_open:
            with pytest.raises(LocalProtocolError):
                side.connection.call(Remote(1), "m")
            assert side.connection.unsent == 0
            return
        target = data.draw(st.sampled_from(targets))
        args = tuple(self.value_of(side, data) for _ in range(data.draw(st.integers(0, 2))))
        number = side.connection.call(target, "m", args, {"k": 1}, wants_answer=wants_answer)
        if wants_answer:
            assert number not in side.asked
            side.asked.add(number)
        self.collect(side, prompt=prompt)

    @rule(which=sides_drawn, data=st.data())
    def call_with_something_unsendable(self, which: int, data: st.DataObject) -> None:
        side = self.sides[which]
        before = dict(side.connection.exported)
        with pytest.raises(LocalProtocolError):
            side.connection.call(side.connection.root, "m", (*side.objects, self.value_of(side, data), 2**448))
        assert side.connection.exported == before
        assert side.connection.unsent == 0

    @precondition(lambda self: any(side.unanswered for side in self.sides))
    @rule(which=sides_drawn, data=st.data(), fails=st.booleans(), prompt=PROMPT)
    def answer(self, which: int, data: st.DataObject, fails: bool, prompt: bool) -> None:
        side = self.sides[which]
        if not side.unanswered:
            side = self.other(side)
        if not side.connection.is_open:
            with pytest.raises(LocalProtocolError):
                side.connection.answer(10**6)
            return
        number = data.draw(st.sampled_from(side.unanswered))
        if fails:
            side.connection.fail(number, Failure("a.B", "m"))
        else:
            side.connection.answer(number, self.value_of(side, data))
        side.unanswered.remove(number)
        side.answered.append(number)
        self.collect(side, prompt=prompt)

    @precondition(lambda self: any(side.answered for side in self.sides))
    @rule(which=sides_drawn)
    def answer_again(self, which: int) -> None:
        side = self.sides[which]
        for number in side.answered:
            with pytest.raises(LocalProtocolError):
                side.connection.answer(number)
        assert side.connection.unsent == 0

    @precondition(lambda self: any(side.held for side in self.sides))
    @rule(which=sides_drawn, data=st.data(), prompt=PROMPT)
    def release(self, which: int, data: st.DataObject, prompt: bool) -> None:
        side = self.sides[which]
        if not side.held:
            side = self.other(side)
        remote = side.held.pop(data.draw(st.integers(0, len(side.held) - 1)))
        side.connection.release(remote)
        with pytest.raises(LocalProtocolError):
            side.connection.release(remote)
        self.collect(side, prompt=prompt)

    @rule(which=sides_drawn, share=st.one_of(st.just(1.0), st.floats(0, 1)))
    def deliver(self, which: int, share: float) -> None:
        side = self.sides[which]
        size = round(share * len(side.incoming))
        data = bytes(side.incoming[:size])
        del side.incoming[:size]
        side.connection.receive_data(data)
        self.take_events(side)

    @precondition(lambda self: self.patience < 0 and not self.cut)
    @rule(shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    def cut_at_any_byte(self, shares: tuple[float, float]) -> None:
        self.cut = True
        for which, share in enumerate(shares):
            self.deliver(which, share)
        for side in self.sides:
            side.incoming.clear()
            side.connection.receive_eof()
            self.take_events(side)
            assert len(side.closed) == 1

    @precondition(lambda self: self.patience < 0 and not self.spoiled)
    @rule(which=sides_drawn, garbage=st.binary(min_size=1, max_size=8))
    def spoil(self, which: int, garbage: bytes) -> None:
        self.spoiled = True
        self.sides[which].incoming += garbage

    @precondition(lambda self: self.patience < 0)
    @rule(which=sides_drawn)
    def close(self, which: int) -> None:
        side = self.sides[which]
        side.connection.close()
        self.take_events(side)
        assert len(side.closed) == 1

    # -- what always holds

    @invariant()
    def time_passes(self) -> None:
        self.patience -= 1

    @invariant()
    def no_call_ends_twice(self) -> None:
        for side in self.sides:
            assert set(side.ended) <= side.asked
            assert all(count == 1 for count in side.ended.values())

    @invariant()
    def nothing_is_exported_that_is_not_ours(self) -> None:
        for side in self.sides:
            assert set(side.connection.exported) <= {*side.objects, self.root}
            assert all(count > 0 for count in side.connection.exported.values())

    def settle(self) -> None:
        while any(side.incoming for side in self.sides):
            for which in (0, 1):
                self.deliver(which, 1.0)

    def teardown(self) -> None:
        self.settle()
        whole = not self.spoiled and all(side.connection.is_open for side in self.sides)
        if whole:
            for side in self.sides:
                held = Counter(remote.luid for remote in self.other(side).held)
                exports = side.connection._exports.by_luid.values()
                assert {export.luid: export.count for export in exports} == held
                assert set(self.other(side).ended) <= self.other(side).asked
            for side in self.sides:
                for number in side.unanswered:
                    side.connection.answer(number)
                side.unanswered.clear()
                self.collect(side)
            self.settle()
            for side in self.sides:
                assert set(side.ended) == side.asked
                for remote in side.held:
                    side.connection.release(remote)
                side.held.clear()
                self.collect(side)
            self.settle()
            for side in self.sides:
                assert side.connection.exported == {}
                assert not side.connection._held
        for side in self.sides:
            side.connection.receive_eof()
            self.take_events(side)
            assert len(side.closed) == 1
            assert set(side.ended) == side.asked
            assert side.connection.state is NegotiationState.CLOSED
            assert side.connection.exported == {}
            if whole:
                assert side.closed == [Closed(clean=True)]


PairOfConnections.TestCase.settings = settings(max_examples=40, stateful_step_count=60)
TestPairOfConnections = pytest.mark.campaigns(PairOfConnections.TestCase)
