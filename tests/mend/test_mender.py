"""What passes a mender unchanged, and what each row changes."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.errors import RemoteProtocolError
from slaveproto.mend import BEYOND, MENDS, Mended, Mender, MendEvent, PassedOn, Side
from slaveproto.mend.mender import MENDER_LIMITS
from slaveproto.mend.rows import TABLE
from slaveproto.wire.banana import Expression, encode
from slaveproto.wire.values import FAILURE_TAG
from tests.wire.support import LIMITS, capture, captures, expressions, pb

MASTER, SLAVE = Side.MASTER, Side.SLAVE
SIDES: Final = {"m2s": MASTER, "s2m": SLAVE}
NO_KEYWORDS: Final[Expression] = [b"dictionary"]
NO_SUCH_METHOD: Final = b"twisted.spread.flavors.NoSuchMethod"


def u(text: str) -> Expression:
    """Text."""
    return [b"unicode", text.encode()]


def d(**pairs: Any) -> Expression:
    """A dictionary of Python 2."""
    return [b"dictionary", *[[key.encode(), value] for key, value in pairs.items()]]


def ud(**pairs: Any) -> Expression:
    """A dictionary of Python 3."""
    return [b"dictionary", *[[u(key), value] for key, value in pairs.items()]]


def call(number: int, luid: int, method: bytes, *args: Expression, kw: Expression = NO_KEYWORDS) -> Expression:
    """A call that wants an answer."""
    return [b"message", number, luid, method, 1, [b"tuple", *args], kw]


def failure(**state: Any) -> Expression:
    """A failure of Python 2."""
    return [FAILURE_TAG, d(**state)]


class Link:
    """Two ends and the mender between them; each thing that one says returns what the other hears."""

    def __init__(self, piece: int = 1 << 20) -> None:
        self.mender = Mender()
        self.piece = piece
        self.say(MASTER, [b"pb", b"none"])
        self.say(SLAVE, b"pb")
        self.says(MASTER, [b"version", 6])
        self.says(SLAVE, [b"version", 6])

    def say(self, side: Side, expression: Expression) -> list[Expression]:
        """Say one expression."""
        data = encode(expression, vocabulary=expression != [b"pb", b"none"], limits=LIMITS)
        for start in range(0, len(data), self.piece):
            self.mender.receive(side, data[start : start + self.piece])
        return expressions(self.mender.data_to_send(side.other))

    def says(self, side: Side, expression: Expression) -> None:
        """Say what is to arrive as it is."""
        assert self.say(side, expression) == [expression]

    def becomes(self, side: Side, expression: Expression, *heard: Expression) -> None:
        """Say what is to arrive as something else."""
        assert self.say(side, expression) == list(heard)

    def events(self) -> list[MendEvent]:
        """What was told."""
        told = []
        while (event := self.mender.next_event()) is not None:
            told.append(event)
        return told

    def old_slave(self, version: bytes = b"2.13") -> None:
        """A slave before 0.9 attaches to a master of Python 3."""
        self.says(MASTER, call(1, 1, b"print", kw=ud(message=u("attached"))))
        self.says(SLAVE, [b"answer", 1, [b"None"]])
        self.says(MASTER, call(2, 1, b"getWorkerInfo"))
        self.becomes(
            SLAVE,
            [b"error", 2, failure(type=NO_SUCH_METHOD, value=b"No such method", parents=[b"list", NO_SUCH_METHOD])],
            [
                b"error",
                2,
                [
                    FAILURE_TAG,
                    ud(
                        type=NO_SUCH_METHOD,
                        value=u("No such method"),
                        parents=[b"list", u(NO_SUCH_METHOD.decode())],
                        traceback=u(""),
                    ),
                ],
            ],
        )
        self.says(MASTER, call(3, 1, b"getSlaveInfo"))
        self.says(SLAVE, [b"answer", 3, d(system=b"posix")])
        self.says(MASTER, call(4, 1, b"getCommands"))
        self.says(SLAVE, [b"answer", 4, d(shell=version)])

    def python2_worker(self, version: bytes, system: bytes = b"posix") -> None:
        """A worker of Python 2 attaches to a master of Python 3."""
        self.says(MASTER, call(1, 1, b"print", kw=ud(message=u("attached"))))
        self.says(MASTER, call(2, 1, b"getWorkerInfo"))
        self.says(SLAVE, [b"answer", 2, d(system=system, worker_commands=d(shell=version))])

    def worker_at_old_master(self) -> None:
        """A worker of Python 3 attaches to a master before 0.9."""
        self.says(MASTER, call(1, 1, b"print", b"attached"))
        assert self.say(MASTER, call(2, 1, b"getSlaveInfo")) == [call(2, 1, b"getSlaveInfo")]
        no_such = [FAILURE_TAG, ud(type=NO_SUCH_METHOD, value=u("x"), parents=[b"list", u("x")], traceback=u(""))]
        assert self.say(SLAVE, [b"error", 2, no_such]) == [], "the master waits"
        (asked,) = expressions(self.mender.data_to_send(SLAVE))
        assert isinstance(asked, list)
        assert asked[2:4] == [1, b"getWorkerInfo"]
        info = ud(basedir=u("/b"), worker_commands=ud(shell=u("3.3")))
        self.becomes(
            SLAVE, [b"answer", asked[1], info], [b"answer", 2, d(basedir=b"/b", worker_commands=d(shell=b"3.3"))]
        )


@pytest.fixture(params=[1 << 20, 1], ids=["whole", "byte by byte"])
def link(request: pytest.FixtureRequest) -> Link:
    """A link whose ends speak in pieces."""
    return Link(request.param)


def command(name: bytes, details: Expression, number: int = 9) -> Expression:
    """The call that starts a command."""
    return call(number, 5, b"startCommand", [b"remote", 7], b"1", name, details)


# -- what passes


@pytest.mark.parametrize("name", [name for name in captures() if name.startswith(("old-old", "new-new"))])
def test_peers_of_one_generation_hear_what_was_said(name: str) -> None:
    """Byte for byte, once it is known who they are."""
    mender = Mender()
    said: dict[Side, bytes] = {MASTER: b"", SLAVE: b""}
    heard: dict[Side, bytes] = {MASTER: b"", SLAVE: b""}
    for _, way, data in (chunk[:3] for chunk in capture(name)):
        side = SIDES[way]
        said[side] += bytes.fromhex(data)
        mender.receive(side, bytes.fromhex(data))
        heard[side] += mender.data_to_send(side.other)
        assert not mender.congested(side)
    told = []
    while (event := mender.next_event()) is not None:
        told.append(event)
    if not told:
        assert heard == said
    # A master cannot know on what its slave runs before it has logged in.
    assert {event.name for event in told if isinstance(event, Mended)} <= {"failures"}
    assert not [event for event in told if isinstance(event, PassedOn)]


leaves = st.one_of(st.integers(-(2**100), 2**100), st.binary(max_size=20), st.sampled_from([b"unicode", b"update"]))
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=5), max_leaves=30)
messages = st.one_of(
    trees,
    st.tuples(st.just(b"message"), leaves, leaves, leaves, st.integers(0, 1), trees, trees).map(list),
    st.tuples(st.sampled_from([b"answer", b"error"]), leaves, trees).map(list),
    st.tuples(st.sampled_from([b"decref", b"version", b"decache", b"uncache", b"didNotUnderstand"]), leaves).map(list),
)


@given(st.lists(st.tuples(st.sampled_from(Side), messages), max_size=10), st.integers(1, 50))
def test_what_needs_no_mend_passes_byte_for_byte(talk: list[tuple[Side, Expression]], piece: int) -> None:
    """Also what is no message at all; before it is known who speaks, nothing is touched."""
    link = Link()
    for side, expression in talk:
        data = pb(expression)
        heard = b""
        for start in range(0, len(data), piece):
            link.mender.receive(side, data[start : start + piece])
            heard += link.mender.data_to_send(side.other)
        assert heard == data
        assert link.mender.data_to_send(side) == b""


def test_what_is_not_understood_passes_and_is_told_once(link: Link) -> None:
    odd: list[Expression] = [[b"future", 1], [b"future", 2], [b"answer", 1], [], 5]
    for expression in odd:
        link.says(MASTER, expression)
    told = [event.what for event in link.events() if isinstance(event, PassedOn)]
    assert told == ["message future", "message answer", "message ?"]


def test_a_profile_that_is_not_known_makes_the_rest_opaque() -> None:
    mender = Mender()
    mender.receive(MASTER, encode([b"pb", b"other"], vocabulary=False, limits=LIMITS))
    choice = encode(b"other", vocabulary=False, limits=LIMITS)
    mender.receive(SLAVE, choice + b"\xff\xfe")
    mender.receive(SLAVE, b"\xfd")
    mender.receive(MASTER, b"\xfc")
    assert mender.data_to_send(MASTER) == choice + b"\xff\xfe\xfd"
    assert mender.data_to_send(SLAVE).endswith(b"\xfc")
    assert isinstance(mender.next_event(), PassedOn)


def test_profile_none_has_no_vocabulary() -> None:
    mender = Mender()
    talk: list[tuple[Side, Expression]] = [(MASTER, [b"pb", b"none"]), (SLAVE, b"none"), (MASTER, [b"version", 6])]
    for side, expression in talk:
        spelled = encode(expression, vocabulary=False, limits=LIMITS)
        mender.receive(side, spelled)
        assert mender.data_to_send(side.other) == spelled


def test_garbage_ends_a_mender_after_what_came_before() -> None:
    link = Link()
    with pytest.raises(RemoteProtocolError):
        link.mender.receive(SLAVE, pb([b"decref", 1]) + b"\xff")
    assert link.mender.data_to_send(MASTER) == pb([b"decref", 1])


def test_an_end_that_takes_nothing_leaves_the_other_unread() -> None:
    link = Link()
    for _ in range(20):
        link.mender.receive(SLAVE, pb(call(1, 1, b"write", bytes(100_000))))
    assert link.mender.congested(SLAVE)
    assert not link.mender.congested(MASTER)
    assert len(link.mender.data_to_send(MASTER)) > 2_000_000
    assert not link.mender.congested(SLAVE)


# -- rows


def test_a_slave_before_0_9_attaches_to_a_master_of_python_3(link: Link) -> None:
    link.old_slave()
    assert link.events() == [Mended("failures", MASTER)]


def test_a_failure_says_what_it_derives_from_in_either_spelling(link: Link) -> None:
    state = d(
        type=b"exceptions.OSError",
        value=b"caf\xe9",
        traceback=b"tb",
        parents=[b"list", b"exceptions.OSError"],
        frames=[b"list"],
    )
    (heard,) = link.say(SLAVE, call(3, 7, b"complete", [FAILURE_TAG, state]))
    assert isinstance(heard, list)
    assert heard[5] == [
        b"tuple",
        [
            FAILURE_TAG,
            ud(
                type=b"exceptions.OSError",
                value=u("caf\N{REPLACEMENT CHARACTER}"),
                traceback=u("tb"),
                parents=[b"list", u("exceptions.OSError"), u("builtins.OSError")],
                frames=[b"list"],
            ),
        ],
    ]


def test_words_of_a_command_are_bytes_for_an_old_slave(link: Link) -> None:
    link.old_slave()
    said = ud(command=[b"list", u("echo"), u("café")], initial_stdin=u("in"), env=ud(PYTHONPATH=u("/a")), usePTY=b"x")
    want = d(command=[b"list", b"echo", "café".encode()], initial_stdin=b"in", env=d(PYTHONPATH=b"/a"), usePTY=b"x")
    link.becomes(MASTER, command(b"shell", said), command(b"shell", want))
    assert link.events()[1:] == [Mended("words for slaves", SLAVE)]


def test_directories_of_builders_are_bytes_for_an_old_slave_and_names_stay_as_they_are(link: Link) -> None:
    link.old_slave()
    link.becomes(
        MASTER,
        call(9, 1, b"setBuilderList", [b"list", [b"tuple", u("café"), u("dir")]]),
        call(9, 1, b"setBuilderList", [b"list", [b"tuple", u("café"), b"dir"]]),
    )
    link.says(SLAVE, [b"answer", 9, [b"dictionary", [u("café"), [b"remote", 4]]]])


def test_a_pair_of_bytes_is_no_text(link: Link) -> None:
    link.old_slave()
    link.says(MASTER, command(b"shell", d(unicode=b"x", command=[b"list", b"unicode", b"y"])))


def test_keepstamp_is_given_to_0_8_4_only() -> None:
    for version, more in ((b"2.13", {"keepstamp": [b"boolean", b"false"]}), (b"2.16", {})):
        link = Link()
        link.old_slave(version)
        link.becomes(
            MASTER,
            command(b"uploadFile", ud(slavesrc=u("f"))),
            command(b"uploadFile", d(slavesrc=b"f", **more)),
        )


@pytest.mark.parametrize(
    ("version", "system", "want"),
    [
        (b"3.1", b"posix", ud(command=[b"list", u("/bin/sh"), u("-c"), u("echo café")])),
        (b"3.1", b"nt", ud(command=u("echo café"))),
        (b"3.0", b"posix", d(command="echo café".encode())),
    ],
)
def test_a_line_that_is_not_ascii_for_a_worker_of_python_2(
    link: Link, version: bytes, system: bytes, want: Expression
) -> None:
    link.python2_worker(version, system)
    link.becomes(MASTER, command(b"shell", ud(command=u("echo café"))), command(b"shell", want))


def test_a_worker_at_an_old_master(link: Link) -> None:
    link.worker_at_old_master()
    names = call(3, 1, b"setBuilderList", [b"list", [b"tuple", b"b", b"dir"]])
    link.becomes(MASTER, names, call(3, 1, b"setBuilderList", [b"list", [b"tuple", u("b"), u("dir")]]))
    link.becomes(SLAVE, [b"answer", 3, ud(b=[b"remote", 2])], [b"answer", 3, d(b=[b"remote", 2])])
    link.becomes(
        MASTER, command(b"shell", d(usePTY=b"slave-config")), command(b"shell", d(usePTY=[b"boolean", b"false"]))
    )
    link.says(MASTER, command(b"shell", d(usePTY=[b"boolean", b"true"])))
    link.becomes(MASTER, command(b"uploadFile", d(slavesrc=b"f")), command(b"uploadFile", d(workersrc=b"f")))
    link.becomes(MASTER, command(b"downloadFile", d(slavedest=b"f")), command(b"downloadFile", d(workerdest=b"f")))
    link.says(MASTER, command(b"mkdir", d(slavesrc=b"f")))


def test_a_question_that_fails_in_either_words_is_answered_once() -> None:
    link = Link()
    link.says(MASTER, call(2, 1, b"getSlaveInfo"))
    no_such = [FAILURE_TAG, ud(type=NO_SUCH_METHOD, value=u("x"))]
    assert link.say(SLAVE, [b"error", 2, no_such]) == []
    (asked,) = expressions(link.mender.data_to_send(SLAVE))
    assert isinstance(asked, list)
    link.becomes(SLAVE, [b"error", asked[1], [FAILURE_TAG, ud(type=b"other")]], [b"error", 2, no_such])
    assert link.mender.data_to_send(SLAVE) == b""


def update(*data: Expression, luid: int = 7) -> Expression:
    """A call with an update."""
    return call(1, luid, b"update", [b"list", *[[b"list", one, 0] for one in data]])


def test_output_of_bytes_is_valid_text_for_a_master_that_reads_text(link: Link) -> None:
    link.old_slave()
    link.becomes(SLAVE, update(d(stdout=b"a\xff")), update(d(stdout="a\N{REPLACEMENT CHARACTER}".encode())))
    # A character in two pieces, with another stream between them.
    link.becomes(SLAVE, update(d(stdout=b"b\xe2\x82")), update(d(stdout=b"b")))
    link.becomes(SLAVE, update(d(stderr=b"\xc3")), update(d(stderr=b"")))
    link.becomes(SLAVE, update(d(log=[b"tuple", b"l", b"\xf0\x9f"])), update(d(log=[b"tuple", b"l", b""])))
    link.becomes(SLAVE, update(d(stdout=b"\xacc"), d(rc=0)), update(d(stdout="€c".encode()), d(rc=0)))
    # What was never completed is told before the end.
    end = call(2, 7, b"complete", [b"None"])
    mark = "\N{REPLACEMENT CHARACTER}".encode()
    heard = link.say(SLAVE, end)
    assert heard[1:] == [end]
    assert isinstance(heard[0], list)
    assert (heard[0][2:5]) == [7, b"update", 0]
    assert heard[0][5] == [
        b"tuple",
        [b"list", [b"list", d(stderr=mark), 0], [b"list", d(log=[b"tuple", b"l", mark]), 0]],
    ]
    link.says(SLAVE, end)


def test_output_for_an_old_master_stays_bytes() -> None:
    link = Link()
    link.says(MASTER, call(1, 1, b"print", b"attached"))
    link.says(MASTER, call(2, 1, b"getSlaveInfo"))
    link.says(SLAVE, [b"answer", 2, d(system=b"posix", host=b"\xff")])
    link.says(SLAVE, update(d(stdout=b"\xff\xe2")))
    assert link.events() == []


def test_information_is_utf8_for_a_master_that_reads_text() -> None:
    link = Link()
    link.says(MASTER, call(2, 1, b"getWorkerInfo"))
    said: Expression = [b"answer", 2, d(environ=d(A=b"\xff"), basedir=[b"unicode", b"\xed\xa0\x80"])]
    (heard,) = link.say(SLAVE, said)
    mark = "\N{REPLACEMENT CHARACTER}"
    assert heard == [b"answer", 2, d(environ=d(A=mark.encode()), basedir=u(mark * 3))]


def test_blocks_of_files_are_never_touched() -> None:
    link = Link()
    link.old_slave()
    link.says(SLAVE, call(5, 8, b"write", b"\xff\xe2"))


def test_a_mend_that_would_be_too_large_is_left_out() -> None:
    link = Link()
    link.says(MASTER, call(2, 1, b"getWorkerInfo"))
    link.says(SLAVE, update(d(stdout=b"\xff" * 400_000 + b"\xe2")))
    # The beginning of a character passed with it.
    link.says(SLAVE, update(d(stdout=b"more")))
    assert [type(event) for event in link.events()] == [PassedOn]


@pytest.mark.parametrize("around", [b"list", b"dictionary"])
def test_what_is_deep_passes(around: bytes) -> None:
    link = Link()
    link.says(MASTER, call(2, 1, b"getWorkerInfo"))
    value: Expression = b"\xff"
    for _ in range(320 if around == b"list" else 160):
        value = [around, value] if around == b"list" else [around, [b"k", value]]
    data = encode(call(1, 7, b"update", value), vocabulary=True, limits=MENDER_LIMITS)
    link.mender.receive(SLAVE, data)
    assert len(link.mender.data_to_send(MASTER)) >= len(data)


def test_calls_and_beginnings_of_characters_are_bounded() -> None:
    link = Link()
    link.says(MASTER, call(2, 1, b"getWorkerInfo"))
    for luid in range(3000):
        link.say(SLAVE, update(d(stdout=b"\xe2"), luid=luid))
        link.says(MASTER, call(luid + 10, 1, b"getVersion"))
    assert len(link.mender._known.tails) == 1000
    for luid in range(3000):
        link.says(SLAVE, [b"decref", luid])
    assert not link.mender._known.tails


# -- the table


def test_every_row_says_all_that_a_user_asks() -> None:
    for row in TABLE:
        assert all((row.name, row.who, row.why, row.done, row.seen, row.parts, row.sides)), row.name
    for beyond in BEYOND:
        assert all((beyond.what, beyond.who, beyond.why, beyond.seen))
    assert len({row.name for row in TABLE}) == len(TABLE) > len(MENDS)


def test_a_failure_that_would_be_too_large_is_cut() -> None:
    link = Link()
    heard = link.say(SLAVE, [b"error", 2, failure(type=NO_SUCH_METHOD, value=b"\xff" * 300_000)])
    (message,) = heard
    assert isinstance(message, list)
    assert message != [b"error", 2, failure(type=NO_SUCH_METHOD, value=b"\xff" * 300_000)]
    assert [event for event in link.events() if isinstance(event, PassedOn)] == []
