"""Masks: no secret is left in a text, however it is cut; and the pieces are what the whole would have become."""

from __future__ import annotations

import json
import shlex
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.ci.file.secrets import LARGEST
from slaveproto.ci.masking import MOST_VALUES, Masks, OutputMask, Vault
from slaveproto.master.output import Output

# Few letters, so that secrets are found, overlap, and begin one another.
letters = st.sampled_from("ab\n'\\")
values = st.text(letters, min_size=4, max_size=30).filter(lambda text: len(text.strip()) >= 4)
secrets = st.lists(values, min_size=1, max_size=4).map(lambda found: {f"s{n}": value for n, value in enumerate(found)})


def vault_of(**values: str) -> Vault:
    vault = Vault()
    vault.add(values)
    return vault


def fed(masks: Masks, pieces: list[bytes], *, stream: str = "stdout") -> bytes:
    vault = Vault()
    vault.masks = masks
    mask = OutputMask(vault)
    outputs = [output for piece in pieces for output in mask.feed(Output("stdio", stream, piece))]
    return b"".join(output.data for output in (*outputs, *mask.end()))


@given(secrets, st.data())
def test_any_pieces(found: dict[str, str], data: st.DataObject) -> None:
    masks = Masks(found.items())
    parts = st.one_of(st.sampled_from(sorted(found.values())), st.text(letters, max_size=8))
    text = "".join(data.draw(st.lists(parts, max_size=8))).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = masks.mask(text)
    assert fed(masks, pieces) == whole
    assert fed(masks, [bytes([byte]) for byte in text]) == whole
    for value in found.values():
        assert value.strip().encode() not in whole


def test_what_is_shown() -> None:
    masks = Masks([("key", "hunter2"), ("longer", "hunter2000")])
    assert (
        fed(masks, [b"a hunt", b"er2 b hunter2", b"000 c hunter", b"1 hunter2"])
        == b"a <key> b <longer> c hunter1 <key>"
    )


def test_nothing_is_held_back_that_is_no_beginning() -> None:
    mask = OutputMask(vault_of(key="hunter2"))
    assert [output.data for output in mask.feed(Output("stdio", "stdout", b"password: "))] == [b"password: "]
    assert [output.data for output in mask.feed(Output("stdio", "stdout", b"50 % hun"))] == [b"50 % "]
    assert [output.data for output in mask.feed(Output("stdio", "stdout", b"gry"))] == [b"hungry"]


def test_each_stream_by_itself() -> None:
    mask = OutputMask(vault_of(key="hunter2"))
    for place in (("stdio", "stdout"), ("stdio", "stderr"), ("stdio", "header"), ("extra", "log")):
        assert list(mask.feed(Output(*place, b"hunt"))) == []
    assert list(mask.feed(Output("stdio", "stderr", b"er2"))) == [Output("stdio", "stderr", b"<key>")]
    assert list(mask.end()) == [
        Output("stdio", "stdout", b"hunt"), Output("stdio", "header", b"hunt"), Output("extra", "log", b"hunt")
    ]  # fmt: skip


ODD = """p'q"r\\s &é/t"""


@pytest.mark.parametrize(
    "form",
    [
        ODD, shlex.quote(ODD), repr(ODD), ascii(ODD), repr(ODD.encode()), repr([ODD, ODD.encode()]), quote(ODD),
        json.dumps({"x": ODD}), json.dumps(ODD, ensure_ascii=False), f"ssh://me:{quote(ODD, safe='')}@home",
    ],
)  # fmt: skip
def test_the_ways_in_which_programs_quote(form: str) -> None:
    masked = vault_of(odd=ODD).mask_text(form)
    assert "<odd>" in masked
    assert not set("pqrt") & set(masked)


KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n    ", "|"])
def test_lines_of_a_key(end: str) -> None:
    """On a pseudo-terminal, indented, in a table."""
    masked = vault_of(key=KEY).mask_text(end.join(KEY.splitlines()))
    assert "MII" not in masked
    assert "AQE" not in masked


def test_a_hostile_text_takes_no_longer() -> None:
    masks = Masks([("key", "a" * (LARGEST - 1) + "b")])
    began = time.process_time()
    assert fed(masks, [b"a" * 4096] * 64) == b"a" * (4096 * 64)
    assert time.process_time() - began < 5


def test_every_value_that_was_read_is_masked_from_then_on() -> None:
    vault = Vault()
    mask = OutputMask(vault)
    assert [output.data for output in mask.feed(Output("stdio", "stdout", b"hunter2 "))] == [b"hunter2 "]
    vault.add({"key": "hunter2"})
    vault.add({"key": "hunter3", "other": "swordfish"})
    text = b"hunter2 hunter3 swordfish "
    assert [output.data for output in mask.feed(Output("stdio", "stdout", text))] == [b"<key> <key> <other> "]
    for number in range(MOST_VALUES - 1):
        vault.add({"key": f"value {number} of many", "other": "swordfish"})
    assert vault.mask_text("\ud800 swordfish \udc80") == "\ud800 <other> \udc80"
    # The oldest are forgotten; what is still in use is not among them.
    assert vault.mask_text("hunter2 hunter3 swordfish") == "hunter2 hunter3 <other>"
