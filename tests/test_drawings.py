"""The drawings show the tables as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "script", ["draw_states.py", "draw_mends.py", "draw_ladder.py", "draw_cut.py", "plot_benchmarks.py"]
)
def test_the_drawings_are_fresh(script: str) -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "docs" / script, "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_every_table_is_drawn() -> None:
    """A table that is not drawn is not read."""
    found = [
        line.partition(":")[0]
        for path in (ROOT / "src").rglob("states.py")
        for line in path.read_text().splitlines()
        if ": Table[" in line
    ]
    drawn = (ROOT / "docs" / "draw_states.py").read_text()
    assert found
    assert [name for name in found if f"({name}," not in drawn and f"(master.{name}," not in drawn] == []
