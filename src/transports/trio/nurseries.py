"""A nursery out of which an only exception comes as itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio


@contextlib.asynccontextmanager
async def open_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery. If one exception comes out of it, that comes as itself, not as a group of one.

    Of several exceptions the group comes out as it is. That tasks were cancelled meanwhile does not count.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        _, rest = group.split(trio.Cancelled)
        if rest is not None and len(rest.exceptions) == 1:
            alone = rest.exceptions[0]
            raise alone from alone.__cause__
        raise
