"""Signs of life of a program that runs under trio."""

from __future__ import annotations

import trio

from transports.host.service_manager import Heartbeat


async def keep_beating(heartbeat: Heartbeat) -> None:
    """Look at a heartbeat as often as it has to beat, for as long as trio's loop goes round."""
    while True:
        await trio.sleep(heartbeat.look(trio.current_time()))
