"""Draw the recorded cut into docs/resume.md: `python docs/draw_cut.py`, or with --check to only compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pages import between, write_or_compare

from slaveproto.resume.frames import Ack, Beat, Challenge, Data, End, Frame, FrameReader, Hello, Refusal, Reset, Welcome
from slaveproto.resume.greeting import CHOICE, offer

HERE: Final = Path(__file__).parent
TARGET: Final = HERE / "resume.md"
MARKS: Final = ("<!-- drawn by docs/draw_cut.py -->", "<!-- end -->")
FIRST: Final = 12
"""Arrows of the first connection that are drawn before some are left out, and the arrows before the cut."""


def arrows(lines: Iterable[tuple[int, str, str]]) -> Iterator[tuple[int, str]]:
    """Yield the number of the connection and the arrow of each frame."""
    readers: dict[tuple[int, str], FrameReader] = {}
    for number, direction, text in lines:
        if direction == "cut":
            yield number, "Note over N,F: the link is cut. The build goes on."
            continue
        arrow = "N->>F: " if direction == "n2f" else "F->>N: "
        data = bytes.fromhex(text)
        if (number, direction) not in readers:
            reader = readers[number, direction] = FrameReader()
            greeting = CHOICE if direction == "n2f" else offer(plain=True)
            assert data.startswith(greeting)
            data = data[len(greeting) :]
            yield number, arrow + ("slaveproto-resume/1" if direction == "n2f" else "pb, none, slaveproto-resume/1")
        reader = readers[number, direction]
        reader.feed(data)
        while (frame := reader.next_frame()) is not None:
            reader.proven = reader.proven or isinstance(frame, Hello | Welcome)
            yield number, arrow + words(frame)


def words(frame: Frame) -> str:
    """Return a frame as people read it."""
    match frame:
        case Challenge(nonce):
            return f"CHALLENGE {nonce.hex()[:6]}…"
        case Hello(_, stream, carrier, position):
            which = f"stream {stream.hex()[:6]}…" if stream else "a new stream"
            return f"HELLO {which}, connection {carrier}, {position.arrived} is missing, proof"
        case Welcome(stream, token, position):
            return f"WELCOME {stream.hex()[:6]}…{', token' if token else ''}, {position.arrived} is missing, proof"
        case Refusal(reason, text):
            return f"REFUSED {reason.name}: {text}"
        case Data(offset, data):
            return f"DATA {offset} to {offset + len(data) - 1}"
        case Ack(arrived):
            return f"ACK {arrived}"
        case Beat():
            return "BEAT"
        case End(offset):
            return f"END at {offset}"
        case Reset(text):
            return f"RESET {text}"


def drawing() -> str:
    """Return the ladder."""
    lines = [json.loads(line) for line in (HERE / "recorded" / "cut.jsonl").read_text().splitlines()]
    found = list(arrows(lines))
    cut = next(n for n, (_, arrow) in enumerate(found) if arrow.startswith("Note"))
    shown = [arrow for _, arrow in found[:FIRST]]
    shown.append(f"Note over N,F: {cut - 4 - FIRST} frames: login, attaching, the beginning of the build")
    shown += [arrow for _, arrow in found[cut - 4 :]]
    head = ["```mermaid", "sequenceDiagram", "    participant N as relay beside the slave"]
    head.append("    participant F as relay beside the master")
    return "\n".join([*head, *(f"    {arrow}" for arrow in shown), "```"])


if __name__ == "__main__":
    sys.exit(write_or_compare(TARGET, between(TARGET.read_text(), MARKS, drawing()), "draw_cut.py", sys.argv[1:]))
