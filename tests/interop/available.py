"""What to do where a real peer cannot be had."""

import os

import pytest

from tests.peers import PeerUnavailable, SlaveKind, install


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
        if "CI" in os.environ:
            pytest.fail(error.reason)
        pytest.skip(error.reason)
