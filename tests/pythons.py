"""Pythons of this machine beside the one that runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

VERSIONS = ("3.11", "3.12", "3.13")


@cache
def find_python(version: str) -> str | None:
    """Return a Python of that version that has what a slave needs, from the path or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for place in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))):
        if place is not None:
            done = subprocess.run([place, "-c", "import ssl, zlib"], capture_output=True, check=False)
            if done.returncode == 0:
                return str(place)
    return None


def bare_python(version: str) -> list[str]:
    """Return the command line of a Python that sees nothing of what is installed; skip the test if there is none."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version}")
    return [python, "-I", "-S"]
