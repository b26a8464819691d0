"""File effects under trio: performed in threads of their own, so that one that hangs holds up no other."""

from __future__ import annotations

import threading

from slaveproto.effects import FileEffect
from slaveproto.inputs import Completed, Rejected
from transports.host import files
from transports.host.reports import rejected
from transports.trio.in_thread import run_in_thread
from transports.trio.processes import THREADS


async def perform_in_thread(request: int, effect: FileEffect, cancelled: threading.Event) -> Completed | Rejected:
    """Perform an effect and return the report of it. If this is cancelled, the thread may go on alone.

    Args:
        request: the number of the request.
        effect: what to do.
        cancelled: makes one that takes long end soon.
    """
    try:
        result = await run_in_thread(files.perform, effect, cancelled, abandon_on_cancel=True, limiter=THREADS)
    except (OSError, ValueError) as error:
        return rejected(request, error)
    return Completed(request, result)
