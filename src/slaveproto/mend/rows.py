"""Rows of mends: what one generation cannot bear of another, and what is done about it. docs/mend.md is made of them.

Rules. A row says when it is needed only by what is known of both ends, and changes nothing but what it names. Several
rows may change one message, in the order of the table. A change that makes a message too large is left out.

Source: docs/peers.md; `steps/`, `process/remotecommand.py`, `worker/protocols/pb.py` of Buildbot 4.3.0; `runprocess.py`
and `commands/transfer.py` of buildslave 0.8.4 and of buildbot-worker 0.9.0 to 4.3.0; rows were run with real
programs.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final, TypeAlias

from slaveproto.mend.events import Side
from slaveproto.mend.jellied import (
    TEXT,
    failure_state,
    has_byte_keys,
    in_bytes,
    in_text,
    in_utf8,
    is_sequence,
    item,
    safe_failure,
    said,
    with_items,
    with_names,
)
from slaveproto.mend.known import Known
from slaveproto.records import record
from slaveproto.wire.banana import Expression


class MessagePart(Enum):
    """A part of a message, which a row looks at: the arguments of a call, an answer, or a failure."""

    ARGUMENTS = auto()
    ANSWER = auto()
    FAILURE = auto()


Needed: TypeAlias = Callable[[Known, Side], bool]
"""Whether a row is needed by what is known, for what comes from a side."""

Change: TypeAlias = Callable[[Expression], Expression]
"""The part of a message that a row looks at, to what it makes of it."""


@record
class Mend:
    """One row.

    Args:
        name: of the row.
        who: the end that does not bear it, and of what.
        why: what would happen.
        done: what is done.
        seen: what a user sees.
        parts: the parts of a message that it looks at.
        methods: in calls of which methods, or in answers to them; of failures it looks at all.
        sides: what comes from which side.
        needed: whether it is needed.
        change: what it does.
    """

    name: str
    who: str
    why: str
    done: str
    seen: str
    parts: frozenset[MessagePart]
    methods: frozenset[bytes]
    sides: frozenset[Side]
    needed: Needed
    change: Change


@record
class Beyond:
    """A difference that cannot be mended.

    Args:
        what: it is.
        who: the end that does not bear it, and of what.
        why: it cannot be mended.
        seen: what a user sees.
    """

    what: str
    who: str
    why: str
    seen: str


_FROM_MASTER: Final = frozenset({Side.MASTER})
_FROM_SLAVE: Final = frozenset({Side.SLAVE})
_BOTH: Final = _FROM_MASTER | _FROM_SLAVE
_ARGUMENTS: Final = frozenset({MessagePart.ARGUMENTS})
_COMMAND: Final = frozenset({b"startCommand"})

# The place of a command's name and of its arguments among those of `startCommand`, behind the atom of the tuple.
_NAME: Final = 3
_DETAILS: Final = 4


def _of_command(*commands: bytes) -> Callable[[Callable[[Expression], Expression]], Change]:
    """Return a decorator: what changes the arguments of commands becomes what changes those of `startCommand`."""

    def wrap(change: Callable[[Expression], Expression]) -> Change:
        def of_call(arguments: Expression) -> Expression:
            if not isinstance(arguments, list) or len(arguments) <= _DETAILS or said(arguments[_NAME]) not in commands:
                return arguments
            return [*arguments[:_DETAILS], change(arguments[_DETAILS]), *arguments[_DETAILS + 1 :]]

        return of_call

    return wrap


def _words_in_bytes(arguments: Expression) -> Expression:
    return in_bytes(arguments)


def _directories_in_bytes(arguments: Expression) -> Expression:
    def plain_directory(builder: Expression) -> Expression:
        # The name stays: its answer is looked up by it.
        return [*builder[:2], in_bytes(builder[2])] if isinstance(builder, list) and len(builder) == 3 else builder

    if not isinstance(arguments, list) or len(arguments) != 2 or not isinstance(arguments[1], list):
        return arguments
    return [arguments[0], [plain_directory(builder) for builder in arguments[1]]]


@_of_command(b"uploadFile")
def _keepstamp_given(details: Expression) -> Expression:
    if item(details, b"keepstamp") is not None or not isinstance(details, list) or not details:
        return details
    key: Expression = b"keepstamp" if has_byte_keys(details) else [TEXT, b"keepstamp"]
    return [*details, [key, [b"boolean", b"false"]]]


@_of_command(b"shell")
def _line_as_words(details: Expression) -> Expression:
    def words(key: Expression, value: Expression) -> tuple[Expression, Expression]:
        line = said(value) if said(key) == b"command" else None
        if line is None or line.isascii():
            return key, value
        return key, [b"list", [TEXT, b"/bin/sh"], [TEXT, b"-c"], value]

    return with_items(details, words)


@_of_command(b"shell")
def _terminal_chosen(details: Expression) -> Expression:
    def choose(key: Expression, value: Expression) -> tuple[Expression, Expression]:
        if said(key) == b"usePTY" and said(value) == b"slave-config":
            return key, [b"boolean", b"false"]
        return key, value

    return with_items(details, choose)


@_of_command(b"uploadFile", b"uploadDirectory", b"downloadFile")
def _named_for_workers(details: Expression) -> Expression:
    return with_names(details, {b"slavesrc": b"workersrc", b"slavedest": b"workerdest"})


def _keys_in_bytes(value: Expression) -> Expression:
    return with_items(value, lambda key, found: (in_bytes(key), found))


def _safe_failures(value: Expression) -> Expression:
    # The failure that an `error` carries, or the one among the arguments of `complete`.
    if failure_state(value) is not None:
        return safe_failure(value)
    if isinstance(value, list) and is_sequence(value):
        return [value[0], *[safe_failure(part) for part in value[1:]]]
    return value


def _reads_text(known: Known, side: Side) -> bool:
    return known.asked_worker_info


MENDS: Final[tuple[Mend, ...]] = (
    Mend(
        "failures",
        "Twisted 24.7 and later, at either end, of a peer on Python 2",
        "It looks for the names of what a failure derives from as text, closes the connection when they are bytes, and"
        " never ends the call. A slave before 0.9 answers the first question of a 4.x master with a failure, and so"
        " never attaches.",
        "Failures have text for keys and words, and name what they derive from in the spelling of either Python.",
        "The slave attaches; a command that fails tells why.",
        frozenset({MessagePart.FAILURE, MessagePart.ARGUMENTS}),
        frozenset({b"complete"}),
        _BOTH,
        lambda known, side: known.python3.get(side.other) is not False,
        _safe_failures,
    ),
    Mend(
        "words for slaves",
        "buildslave until 0.8.14, and buildbot-worker 0.9.0 on Python 2, of a master on Python 3",
        "0.8.4 hangs when standard input is text, and takes a PYTHONPATH of text apart, letter by letter; none of them"
        " can start a program with a variable that is not ASCII; 0.9.0 loses a command with such words, and never ends"
        " it.",
        "All words of a command are byte strings, in UTF-8.",
        "Steps with standard input end, and words and variables may be any text.",
        _ARGUMENTS,
        _COMMAND,
        _FROM_MASTER,
        lambda known, side: known.asked_worker_info and known.reads_bytes,
        _words_in_bytes,
    ),
    Mend(
        "directories of builders",
        "buildslave until 0.8.14, and buildbot-worker 0.9.0 on Python 2, of a master on Python 3",
        "It puts the directory into the header of each command; with a directory of text, a command that is not ASCII"
        " never ends.",
        "Directories of builders are byte strings; names stay text, since the slave answers by them.",
        "Commands that are not ASCII end.",
        _ARGUMENTS,
        frozenset({b"setBuilderList"}),
        _FROM_MASTER,
        lambda known, side: known.asked_worker_info and known.reads_bytes,
        _directories_in_bytes,
    ),
    Mend(
        "keepstamp",
        "buildslave 0.8.4, of a master of 0.9 or later that fetches the contents of a file",
        "It insists on an argument that the master leaves out.",
        "`keepstamp` is given as false.",
        "Steps that read a file of the slave get it.",
        _ARGUMENTS,
        _COMMAND,
        _FROM_MASTER,
        lambda known, side: known.asked_worker_info and () < known.commands < (2, 14),
        _keepstamp_given,
    ),
    Mend(
        "line of words",
        "buildbot-worker 0.9.15 to 3.11.9 on Python 2, on POSIX, of any master",
        "It shows a command that is one text as ASCII; if it is not, the command fails.",
        "A line that is not ASCII is given as the words `/bin/sh`, `-c` and the line.",
        "The command runs; the header of its log shows the three words.",
        _ARGUMENTS,
        _COMMAND,
        _FROM_MASTER,
        lambda known, side: (
            known.python3.get(Side.SLAVE) is False and known.worker and not known.reads_bytes and known.posix
        ),
        _line_as_words,
    ),
    Mend(
        "terminal",
        "buildbot-worker, any, of a master before 0.9",
        "It insists on true or false where such a master leaves the choice of a terminal to the slave, so no shell"
        " command runs.",
        "`usePTY` is false where the slave should choose.",
        "Shell commands run, without a terminal.",
        _ARGUMENTS,
        _COMMAND,
        _FROM_MASTER,
        lambda known, side: known.old_master and known.worker,
        _terminal_chosen,
    ),
    Mend(
        "names of files",
        "buildbot-worker, any, of a master before 0.9",
        "Arguments of transfers have other names there, so each fails.",
        "`slavesrc` and `slavedest` become `workersrc` and `workerdest`.",
        "Uploads and downloads work.",
        _ARGUMENTS,
        _COMMAND,
        _FROM_MASTER,
        lambda known, side: known.old_master and known.worker,
        _named_for_workers,
    ),
    Mend(
        "names of builders",
        "buildbot-worker on Python 3, of a master on Python 2",
        "It compares the directories of its builders with what is there, text with bytes, and takes all for left over;"
        " if it was told to delete what is left over, it deletes them.",
        "Names and directories of builders are text.",
        "Nothing; without it, a line in the worker's log for each directory, or its loss.",
        _ARGUMENTS,
        frozenset({b"setBuilderList"}),
        _FROM_MASTER,
        lambda known, side: known.old_master and known.python3.get(Side.SLAVE) is True,
        in_text,
    ),
    Mend(
        "builders that answer",
        "Masters before 0.9, of a worker on Python 3",
        "They look up their builders by byte strings.",
        "The names of builders that a worker answers are byte strings again.",
        "Nothing.",
        frozenset({MessagePart.ANSWER}),
        frozenset({b"setBuilderList"}),
        _FROM_SLAVE,
        lambda known, side: known.old_master and known.python3.get(Side.SLAVE) is True,
        _keys_in_bytes,
    ),
    Mend(
        "information",
        "Masters of 0.9 and later, of a slave that says something that is not UTF-8",
        "One byte of its environment or of a file in `info` that is not UTF-8 makes the login fail.",
        "Replacement characters take the place of such bytes.",
        "The slave attaches; the page of the slave shows the replacement characters.",
        frozenset({MessagePart.ANSWER}),
        frozenset({b"getSlaveInfo", b"getWorkerInfo", b"getCommands", b"getVersion"}),
        _FROM_SLAVE,
        _reads_text,
        in_utf8,
    ),
)
"""Mends of messages, in the order in which they are made."""

OUTPUT: Final = Mend(
    "output",
    "Masters of 0.9 and later, of a slave that sends bytes",
    "Output that is not UTF-8, or a character that is cut in two by the end of a piece, ends the command with an"
    " exception.",
    "The two halves of a character are put together; what is no UTF-8 becomes replacement characters.",
    "The step goes on; its log shows the replacement characters.",
    _ARGUMENTS,
    frozenset({b"update"}),
    _FROM_SLAVE,
    _reads_text,
    lambda arguments: arguments,
)
"""The mend of output, which needs what came before: see `Known.readable_updates`."""

ASKED_AGAIN: Final = Mend(
    "questions",
    "buildbot-worker, any, of a master before 0.9",
    "It does not know `getSlaveInfo`, so the master knows neither its base directory nor its environment.",
    "`getWorkerInfo` is asked instead, and the answer given in bytes.",
    "The master shows who keeps the worker; properties from its environment and `workdir` are there.",
    frozenset({MessagePart.FAILURE}),
    frozenset({b"getSlaveInfo"}),
    _FROM_SLAVE,
    lambda known, side: known.old_master,
    in_bytes,
)
"""The mend that asks a question of its own: see `Mender`."""

TABLE: Final = (*MENDS, OUTPUT, ASKED_AGAIN)

BEYOND: Final[tuple[Beyond, ...]] = (
    Beyond(
        "variables that are not ASCII",
        "buildbot-worker 0.9.15 to 3.11.9 on Python 2, of any master",
        "It makes text of what it is sent, and cannot hand text that is not ASCII to a program.",
        "The step fails, with `UnicodeEncodeError` in its log. Without mending, 4.x waits for ever.",
    ),
    Beyond(
        "`glob`, `listdir`, `rmfile`, `rmdir` of a list",
        "buildslave and buildbot-worker before the release that brought them (docs/peers.md), of a later master",
        "The slave has no such command. The master knows that, and mostly does without.",
        "A step that needs one says that the worker is too old.",
    ),
    Beyond(
        "`max_lines`, `sigtermTime`, `interruptSignal`",
        "buildslave and buildbot-worker before the release that brought them",
        "The slave does not know them, and passes over them.",
        "The command is not limited so, and is killed with KILL.",
    ),
    Beyond(
        "log files that are not UTF-8",
        "buildbot-worker 1.8.2 on Python 2, of any master (2.10.5 and 3.11.9 bear them)",
        "It makes text of them before it sends them, and loses the command when it cannot.",
        "The step hangs until it is interrupted.",
    ),
    Beyond(
        "uploading a directory that is not there",
        "buildslave, any, and buildbot-worker until 3.8.0, of any master",
        "The slave fails where later ones tell why.",
        "The step ends with an exception instead of a failure.",
    ),
    Beyond(
        "source steps that run on the slave (`svn`, `git` and so on)",
        "buildbot-worker, any, of a master before 0.9",
        "Workers have no such commands.",
        "The step says that the slave is too old.",
    ),
    Beyond(
        "words of a command that are not UTF-8",
        "buildbot-worker from 0.9.15 on, of a master before 0.9",
        "The worker reads UTF-8 only, and other words would be another command.",
        "The step ends with an exception, `UnicodeDecodeError`.",
    ),
)
"""Differences that cannot be mended."""
