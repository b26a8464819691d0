"""What an event says of the peer's objects in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.wire import NEED_DATA, Answered, Call, Connection, Local, Opened, Remote, Role, Value, remotes_in
from slaveproto.wire.banana import Expression
from tests.wire.support import pb

NO_KEYWORDS: Expression = [b"dictionary"]


def server() -> Connection:
    """Return an open server whose call 1 waits for its answer."""
    connection = Connection(Role.SERVER, root=Local("root"))
    connection.receive_data(pb(b"pb"))
    assert connection.next_event() == Opened("pb")
    connection.call(connection.root, "x")
    return connection


def called(args: Expression, kwargs: Expression = NO_KEYWORDS) -> tuple[Connection, object]:
    connection = server()
    connection.receive_data(pb([b"message", 1, b"root", b"x", 1, args, kwargs]))
    return connection, connection.next_event()


REMOTE: Expression = [b"remote", 7]
ARGUMENTS = st.recursive(
    st.one_of(
        st.integers(0, 9),
        st.binary(max_size=3),
        st.builds(lambda luid: [b"remote", luid], st.integers(1, 3)),
        st.just([b"dereference", 1]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: [b"list", *items]),
        st.lists(inner, max_size=4).map(lambda items: [b"tuple", *items]),
        st.lists(st.tuples(inner, inner).map(list), max_size=3).map(lambda pairs: [b"dictionary", *pairs]),
    ),
    max_leaves=10,
)


@given(args=st.lists(ARGUMENTS, max_size=3), value=ARGUMENTS)
def test_every_one_that_is_there_is_told_once(args: list[Expression], value: Expression) -> None:
    shared: Expression = [b"reference", 1, [b"list", REMOTE]]
    connection, call = called([b"tuple", *args, shared], [b"dictionary", [b"key", value]])
    if isinstance(call, Call):
        values: list[Value] = [*call.args, *call.kwargs.values()]
        assert sorted(map(id, call.remotes)) == sorted(map(id, remotes_in(*values)))
    else:
        # What could not be read is given back already.
        assert connection.next_event() is NEED_DATA
    connection.receive_data(pb([b"answer", 1, [b"tuple", *args, shared]]))
    answered = connection.next_event()
    if isinstance(answered, Answered):
        assert sorted(map(id, answered.remotes)) == sorted(map(id, remotes_in(answered.value)))
    for event in (call, answered):
        if isinstance(event, (Call, Answered)):
            for remote in event.remotes:
                connection.release(remote)
    assert not connection._held


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2]])
def test_they_are_told_in_the_order_in_which_they_came(order: list[int]) -> None:
    args: list[Expression] = [[b"remote", luid] for luid in order]
    _, call = called([b"tuple", *args])
    assert isinstance(call, Call)
    assert [remote.luid for remote in call.remotes] == order


def test_one_that_was_lost_on_the_way_is_not_told() -> None:
    """Of two equal keys, the first value gives way."""
    connection, call = called([b"tuple", [b"dictionary", [b"key", [b"remote", 1]], [b"key", [b"remote", 2]]]])
    assert isinstance(call, Call)
    (kept,) = call.remotes
    assert isinstance(kept, Remote)
    assert kept.luid == 2
    assert connection.data_to_send().endswith(pb([b"decref", 1]))


def test_two_events_are_equal_if_what_they_say_is() -> None:
    assert Answered(1, 2) == Answered(1, 2, (Remote(1),))
    assert "remotes" not in repr(Answered(1, 2))
