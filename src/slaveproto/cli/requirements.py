"""Checks for what a subcommand needs: trio, and a POSIX system."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from slaveproto.ci.errors import UsageError


def need_trio() -> None:
    """Check that trio is installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec("trio") is None:
        raise UsageError("this needs trio, which is not installed: pip install 'slaveproto[trio]'")


def need_posix() -> None:
    """Check that this is not Windows.

    Raises:
        UsageError: it is.
    """
    if sys.platform == "win32":
        raise UsageError("this needs a POSIX system; on Windows there are `create-slave` and `slave` with its threads")
