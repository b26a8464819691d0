"""Tests that no effect on files is forgotten: by the union, by a type checker, by those that perform them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

from slaveproto import effects
from slaveproto.effects import EffectOnFiles, FileEffect

SRC = Path(__file__).parents[1] / "src"
PERFORMERS = ("slaveproto/testing/memory_host.py", "transports/host/files.py")

FORGOTTEN = '''

@record
class Touch(EffectOnFiles[bool]):
    """An effect that nothing performs."""

    path: str


FileEffect: TypeAlias = (
    Touch
    |'''


def test_every_effect_on_files_is_a_member_of_the_union() -> None:
    classes = {
        value for value in vars(effects).values() if isinstance(value, type) and issubclass(value, EffectOnFiles)
    }
    assert classes - {EffectOnFiles} == set(get_args(FileEffect))


def test_type_checker_names_each_place_that_forgot_an_effect(tmp_path: Path) -> None:
    original = SRC / "slaveproto/effects.py"
    patched = tmp_path / "effects.py"
    patched.write_text(original.read_text().replace("\nFileEffect: TypeAlias = (", FORGOTTEN, 1))
    options = [f"--config-file={SRC.parent / 'pyproject.toml'}", "--follow-imports=silent", f"--cache-dir={tmp_path}"]
    places = [str(SRC / place) for place in PERFORMERS]
    # Not in this process: mypy raises its limit of recursion, and tests of deep values would overflow the stack.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--shadow-file", original, patched, *places],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    named = re.findall(r"(\S+\.py):\d+: error: .* incompatible type \"Touch\"", done.stdout)
    assert [name.rpartition("src/")[2] for name in named] == list(PERFORMERS), done.stdout
