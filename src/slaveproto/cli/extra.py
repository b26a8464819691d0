"""What is not installed by default."""

from __future__ import annotations

from importlib.util import find_spec

from slaveproto.cli.errors import UsageError


def need_trio() -> None:
    """See to it that trio is there.

    Raises:
        UsageError: it is not.
    """
    if find_spec("trio") is None:
        raise UsageError("this needs trio, which is not installed: pip install 'slaveproto[trio]'")
