"""The page about differences and the tables that the tests hold us to name the same cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.wire import test_banana, test_connection, test_jelly, test_transcripts

PAGE: Final = Path(__file__).parents[2] / "docs" / "differences-wire.md"

# Held by a test of its own, not by a table.
SINGLE: Final = {"S:good_then_bad_same_chunk"}


def in_tables() -> set[str]:
    by_generator = [
        *test_jelly.DIFFERENCES,
        *test_connection.NEGOTIATION_DIFFERENCES,
        *test_connection.SERVER_DIFFERENCES,
        *test_connection.CLIENT_DIFFERENCES,
    ]
    transcripts = {
        *test_transcripts.CLIENT_UNLIKE,
        *test_transcripts.CLIENT_CANNOT,
        *test_transcripts.SERVER_UNLIKE,
        *test_transcripts.SERVER_CANNOT,
        *(name for name, _ in test_transcripts.SERVICE_UNLIKE),
        *(name for _, name in test_transcripts.ALSO_SENT),
    }
    return {
        *test_banana.DIFFERENCES,
        *test_jelly.PLACEHOLDERS,
        *(name for _, name in by_generator),
        *(f"T:{name}" for name in transcripts),
        *SINGLE,
    }


def test_the_page_names_each_case_once() -> None:
    named = re.findall(r"`([A-Z]+:\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(), re.MULTILINE)))
    assert len(named) == len(set(named))
    assert set(named) == in_tables()
