"""What to do where a real peer cannot be had."""

import os
from typing import NoReturn

import pytest

from slaveproto.testing.peers import PeerUnavailable, SlaveKind, install
from slaveproto.testing.peers.repositories import missing


def is_available(kind: SlaveKind) -> bool:
    """Install a generation of peers; whether it is there now."""
    try:
        install(kind)
    except PeerUnavailable:
        return False
    return True


def require(kind: SlaveKind) -> None:
    """Install a generation of peers; where that is impossible the test is skipped, and only CI insists on it."""
    try:
        install(kind)
    except PeerUnavailable as error:
        give_up(error.reason)


def require_programs(*systems: str) -> None:
    """See that the programs of version control systems are there; else as `require`."""
    for system in systems:
        if (program := missing(system)) is not None:
            give_up(f"there is no {program}, which the tests of {system} need")


def give_up(reason: str) -> NoReturn:
    """Skip the test; in CI it fails."""
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)
