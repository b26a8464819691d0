"""The master of a build file, and what people are told of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import trio

from slaveproto.ci.errors import cannot_listen
from slaveproto.ci.file.build_file import BuildFile
from slaveproto.ci.show.master_report import MasterReport
from slaveproto.master.config import MasterConfig
from slaveproto.master.events import MasterEvent, SlaveAttached, SlaveDetached
from transports.trio.master import Master, open_master


@contextlib.asynccontextmanager
async def listening(
    file: BuildFile,
    address: tuple[str, int],
    config: MasterConfig,
    tell: Callable[[str], None],
    on_event: Callable[[MasterEvent], None] | None = None,
) -> AsyncIterator[Master]:
    """Open the master of a file.

    Args:
        file: the file.
        address: host and port; port 0 is any that is free.
        config: what the master has to know.
        tell: is told what people should know.
        on_event: is told what happens.

    Raises:
        UsageError: it cannot listen where it should.
    """
    report = MasterReport()

    def hear(event: MasterEvent) -> None:
        # Whether the slave inside the program is there is our own affair.
        local = not file.slaves and isinstance(event, SlaveAttached | SlaveDetached)
        text = None if local else report.text_of(event, trio.current_time())
        if text is not None:
            tell(text)
        if on_event is not None:
            on_event(event)

    host, port = address
    async with contextlib.AsyncExitStack() as stack:
        try:
            opening = open_master(config, host=host, port=port, ssl_context=file.master.tls, on_event=hear)
            master = await stack.enter_async_context(opening)
        except (OSError, UnicodeError) as error:
            raise cannot_listen(error, host, port) from None
        yield master
