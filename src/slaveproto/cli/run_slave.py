"""The subcommand `slave`: runs a slave in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Final, Protocol, TypeAlias

import attrs

from slaveproto import __version__
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.privacy import exposed
from slaveproto.ci.show.console import STDERR, say
from slaveproto.ci.show.slave_report import text_of
from slaveproto.cli.settings import load, private_files
from slaveproto.inputs import Stop
from slaveproto.slave.events import AskShutdown, Input, SlaveEvent, Stopped
from slaveproto.slave.session import SlaveSession
from transports.host.describe import describe_host, jitter
from transports.threads.runner import Runner

GAVE_UP: Final = 3
UNREAD_LINES: Final = 1000
PATIENCE: Final = 1.0
STAMP_INTERVAL: Final = 10.0

if sys.platform == "win32":
    _STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
    _HANG_UP: Final[tuple[signal.Signals, ...]] = ()
else:
    _STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
    _HANG_UP: Final[tuple[signal.Signals, ...]] = (signal.SIGHUP,)


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Run the slave of BASEDIR until it is stopped, with a log on standard error. SIGINT, SIGTERM or "
        "SIGHUP stops it and kills what it runs; a second one does not wait for what dies slowly. Configured with "
        "allow_shutdown, SIGHUP or the file shutdown.stamp asks the master for a graceful shutdown instead."
    )
    parser.epilog = (
        "exit codes: 0 stopped by a signal or by the master, 2 called wrongly or a bad configuration, "
        f"{GAVE_UP} gave up after max_retries attempts"
    )
    parser.add_argument("basedir", metavar="BASEDIR", help="made by `slaveproto create-slave`")
    parser.add_argument(
        "--runner",
        choices=sorted(_RUNNERS),
        default="threads",
        help="what drives the slave: threads, or trio if that is installed [threads]",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the slave and return the documented exit code.

    Raises:
        UsageError: the directory is not a slave's, or its configuration is wrong.
    """
    if not options.basedir:
        raise UsageError("BASEDIR is empty")
    try:
        basedir = os.path.abspath(options.basedir)
    except OSError as error:
        raise UsageError(f"the working directory: {error.strerror}") from None
    drive = _RUNNERS[options.runner]()
    settings = load(basedir)
    if settings.allow_shutdown == "signal" and not _HANG_UP:
        raise UsageError(
            f'{basedir}: allow_shutdown = "signal" means SIGHUP, which this system does not have; "file" works'
        )
    if settings.umask is not None:
        os.umask(settings.umask)
    session = SlaveSession(settings, describe_host(f"slaveproto {__version__}"), jitter)
    log = _Log()
    for line in exposed(private_files(settings)):
        log.say(line)

    def obey(slave: _Slave) -> None:
        _obey_signals(slave, settings.allow_shutdown)
        if settings.allow_shutdown == "file":
            stamp = os.path.join(basedir, "shutdown.stamp")
            threading.Thread(target=_watch_stamp, args=(stamp, slave), name="stamp", daemon=True).start()

    try:
        drive(session, log.on_event, obey)
    finally:
        # A second signal may still come while Python shuts down, and would then decide the exit code.
        for number in (*_STOPPING, *_HANG_UP):
            signal.signal(number, signal.SIG_IGN)
        log.close()
    return GAVE_UP if log.gave_up else 0


class _Slave(Protocol):
    """Running slave, as signal handlers and other threads see it."""

    def post(self, item: Input) -> None:
        """Hand an input to the session."""

    def stop(self, why: str) -> None:
        """End the session."""


_Drive: TypeAlias = Callable[[SlaveSession, Callable[[SlaveEvent], None], Callable[[_Slave], None]], None]
"""Runner of a session; takes the session, a function for its announcements, and one for the running slave."""


def _threads() -> _Drive:
    def drive(session: SlaveSession, on_event: Callable[[SlaveEvent], None], obey: Callable[[_Slave], None]) -> None:
        runner = Runner(session, on_event)
        obey(runner)
        runner.run()

    return drive


def _trio() -> _Drive:
    from slaveproto.cli.requirements import need_posix, need_trio

    need_posix()
    need_trio()
    import trio

    from transports.trio import Slave, open_slave

    @attrs.frozen
    class FromOutside:
        slave: Slave
        token: trio.lowlevel.TrioToken

        def post(self, item: Input) -> None:
            # After the end there is no session to tell.
            with contextlib.suppress(trio.RunFinishedError):
                self.token.run_sync_soon(self.slave.post, item)

        def stop(self, why: str) -> None:
            self.post(Stop(why))

    async def run(
        session: SlaveSession, on_event: Callable[[SlaveEvent], None], obey: Callable[[_Slave], None]
    ) -> None:
        async with open_slave(session) as slave:
            obey(FromOutside(slave, trio.lowlevel.current_trio_token()))
            async for event in slave:
                on_event(event)

    return lambda session, on_event, obey: trio.run(run, session, on_event, obey)


_RUNNERS: Final[Mapping[str, Callable[[], _Drive]]] = {"threads": _threads, "trio": _trio}


def _obey_signals(slave: _Slave, allow_shutdown: str) -> None:
    def stop(number: int, _: object) -> None:
        slave.stop(f"received {signal.Signals(number).name}")

    for number in _STOPPING:
        signal.signal(number, stop)
    for number in _HANG_UP:
        if allow_shutdown == "signal":
            signal.signal(number, lambda *_: slave.post(AskShutdown()))
        elif signal.getsignal(number) is not signal.SIG_IGN:
            # Unless it was started under nohup.
            signal.signal(number, stop)
    if sys.platform != "win32":
        # A parent may have left it ignored, and then the kernel does not tell how a child ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class _Log:
    """Log on standard error; remembers how the session ended. A reader that is stuck costs lines, never the slave."""

    def __init__(self) -> None:
        self.gave_up = False
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        if self._lines.qsize() < UNREAD_LINES:
            self._lines.put(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def on_event(self, event: SlaveEvent) -> None:
        self.say(text_of(event))
        if isinstance(event, Stopped):
            self.gave_up = event.gave_up

    def close(self) -> None:
        """Wait until the last lines are written, or `PATIENCE` is over."""
        self._lines.put(None)
        self._thread.join(PATIENCE)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            say(STDERR, line)


def _watch_stamp(path: str, slave: _Slave) -> None:
    seen = _changed(path)
    while True:
        time.sleep(STAMP_INTERVAL)
        now = _changed(path)
        if now > seen:
            seen = now
            slave.post(AskShutdown())


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
