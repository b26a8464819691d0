"""What is not there everywhere: packages that are not installed by default, and POSIX."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from slaveproto.ci.errors import UsageError


def need_trio() -> None:
    """See to it that trio is there.

    Raises:
        UsageError: it is not.
    """
    if find_spec("trio") is None:
        raise UsageError("this needs trio, which is not installed: pip install 'slaveproto[trio]'")


def need_posix() -> None:
    """See to it that this is no Windows.

    Raises:
        UsageError: it is.
    """
    if sys.platform == "win32":
        raise UsageError("this needs a POSIX system; on Windows there are `create-slave` and `slave` with its threads")
