"""Patience with a shortage, for tasks that accept connections."""

from __future__ import annotations

import logging
from typing import Final

import trio

from transports.host.shortage import RESPITE, Shortage, is_shortage

_LOGGER: Final = logging.getLogger(__name__)


async def endure(shortage: Shortage, error: OSError) -> bool:
    """Return whether an error of `accept` is a shortage; then tell of it and wait a little."""
    if not is_shortage(error):
        return False
    words = shortage.words(error, trio.current_time())
    if words is not None:
        _LOGGER.error("%s", words)
    await trio.sleep(RESPITE)
    return True
