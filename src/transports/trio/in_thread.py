"""Calls in threads, where a thread that cannot be started is an error of the host like any other."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_in_thread(
    function: Callable[[*Ts], T], *args: *Ts, limiter: trio.CapacityLimiter, abandon_on_cancel: bool = False
) -> T:
    """Call a function as `trio.to_thread.run_sync` does.

    Raises:
        OSError: there are too many threads or processes; the function was not called.
    """
    called = False

    def call() -> T:
        nonlocal called
        called = True
        return function(*args)

    try:
        return await trio.to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=abandon_on_cancel)
    except RuntimeError as error:
        if called:
            raise
        raise OSError(errno.EAGAIN, str(error)) from None
