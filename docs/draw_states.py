"""Draw every transition table into docs/states.md: `python docs/draw_states.py`, or with --check to only compare."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Any

from pages import write_or_compare

from slaveproto.machine import Table
from slaveproto.master import states as master
from slaveproto.relay.states import PAIR, WRITING
from slaveproto.resume.states import ARRIVING, CLIENT_CARRIER, LEAVING, SERVER_CARRIER, STREAM
from slaveproto.slave.states import COMMAND, INTAKE, LINK, SLAVE_BUILDER
from slaveproto.wire.states import LOGIN, NEGOTIATION_CLIENT, SERVER_LOGIN

TARGET = Path(__file__).parent / "states.md"

# Each with who the "peer" of its `theirs` events is, and the module that holds the rows.
TABLES: tuple[tuple[Table[Any, Any], str, str], ...] = (
    (NEGOTIATION_CLIENT, "the server (drawn for a client; a server blames CHOOSE instead of OFFER)", "wire/states.py"),
    (LOGIN, "the server", "wire/states.py"),
    (SERVER_LOGIN, "the client", "wire/states.py"),
    (STREAM, "the other end", "resume/states.py"),
    (ARRIVING, "the other end", "resume/states.py"),
    (LEAVING, "no one: all events are ours", "resume/states.py"),
    (CLIENT_CARRIER, "the server", "resume/states.py"),
    (SERVER_CARRIER, "the client", "resume/states.py"),
    (LINK, "the master", "slave/states.py"),
    (INTAKE, "the master", "slave/states.py"),
    (SLAVE_BUILDER, "the master", "slave/states.py"),
    (COMMAND, "the master", "slave/states.py"),
    (master.PEER, "the peer", "master/states.py"),
    (master.LINE, "the peer", "master/states.py"),
    (master.SEAT, "the slave that has the name", "master/states.py"),
    (master.ATTACH, "the slave", "master/states.py"),
    (master.LISTING, "the slave", "master/states.py"),
    (master.REMOTE_BUILDER, "the slave", "master/states.py"),
    (master.STEP, "no one: all events are ours", "master/states.py"),
    (master.REMOTE_COMMAND, "the slave", "master/states.py"),
    (master.DEPARTURE, "the slave", "master/states.py"),
    (master.TRANSFER, "the slave", "master/states.py"),
    (PAIR, "the master", "relay/states.py"),
    (WRITING, "no one: all events are ours", "relay/states.py"),
)

INTRODUCTION = """\
# States

Written by `docs/draw_states.py` from the tables themselves; a test fails when the two differ.

A thick event name belongs to us, *(peer)* marks an event that the other side causes. A dotted row is *tolerated*: the
protocol does not mean it, real peers need it. What is not drawn is not possible: our own attempt raises
`LocalProtocolError` and changes nothing, the peer's is `RemoteProtocolError`.
"""


def mermaid(table: Table[Any, Any]) -> str:
    """Return the drawing of one table."""
    lines = ["```mermaid", "flowchart LR"]
    for state, row in table.moves.items():
        shape = f"(({state.name}))" if state is table.start else f"[[{state.name}]]" if not row else f"({state.name})"
        lines.append(f"    {state.name}{shape}")
    for rows, arrow in ((table.moves, "-->"), (table.tolerated, "-.->")):
        for state, row in rows.items():
            for target in dict.fromkeys(row.values()):
                names = [label(table, event) for event, where in row.items() if where is target]
                lines.append(f'    {state.name} {arrow}|"{"<br>".join(names)}"| {target.name}')
    return "\n".join([*lines, "```"])


def label(table: Table[Any, Any], event: Enum) -> str:
    """Return the name of an event, marked if it is the peer's."""
    return f"{event.name} (peer)" if event in table.theirs else f"<b>{event.name}</b>"


def matrix(table: Table[Any, Any]) -> str:
    """Return the same rows as a table, for those who would rather look up than look."""
    events = list(dict.fromkeys(e for rows in (table.moves, table.tolerated) for row in rows.values() for e in row))
    lines = [
        "| in | " + " | ".join(event.name for event in events) + " |",
        "|---" * (len(events) + 1) + "|",
    ]
    for state, row in table.moves.items():
        cells = []
        for event in events:
            tolerated = table.tolerated.get(state, {}).get(event)
            target = row.get(event)
            cells.append(target.name if target else f"*{tolerated.name}*" if tolerated else "")
        lines.append(f"| **{state.name}** | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def document() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for table, peer, place in TABLES:
        title = table.name[0].upper() + table.name[1:]
        parts.append(f"## {title}\n\nThe peer is {peer}. Rows: `src/slaveproto/{place}`.\n\n{mermaid(table)}\n")
        parts.append(f"{matrix(table)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(write_or_compare(TARGET, document(), "draw_states.py", sys.argv[1:]))
