"""`slaveproto slave`: run a slave in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
import time
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, Final

from slaveproto import __version__
from slaveproto.cli.console import STDERR, say
from slaveproto.cli.errors import UsageError
from slaveproto.cli.report import text_of
from slaveproto.cli.settings import Settings, load
from slaveproto.slave.config import SlaveConfig
from slaveproto.slave.events import AskShutdown, SlaveEvent, Stopped
from slaveproto.slave.session import SlaveSession
from transports.host import describe_host, jitter
from transports.threads import Runner

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

GAVE_UP: Final = 3
UNREAD_LINES: Final = 1000
PATIENCE: Final = 1.0
STAMP_INTERVAL: Final = 10.0


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "slave",
        help="run a slave in the foreground",
        description="Run the slave of BASEDIR until it is stopped, with a log on standard error. SIGINT, SIGTERM or "
        "SIGHUP stops it and kills what it runs; a second one does not wait for what dies slowly. Configured with "
        "allow_shutdown, SIGHUP or the file shutdown.stamp asks the master for a graceful shutdown instead.",
        epilog="exit codes: 0 stopped by a signal or by the master, 2 called wrongly or a bad configuration, "
        f"{GAVE_UP} gave up after max_retries attempts",
    )
    parser.add_argument("basedir", metavar="BASEDIR", help="made by `slaveproto create-slave`")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the slave; returns the documented exit code.

    Raises:
        UsageError: the directory is not a slave's, or its configuration is wrong.
    """
    if not options.basedir:
        raise UsageError("BASEDIR is empty")
    try:
        basedir = os.path.abspath(options.basedir)
    except OSError as error:
        raise UsageError(f"the working directory: {error.strerror}") from None
    settings = load(basedir)
    if settings.umask is not None:
        os.umask(settings.umask)
    session = SlaveSession(_config(settings, basedir), describe_host(f"slaveproto {__version__}"), jitter)
    log = _Log()
    runner = Runner(session, log.on_event)
    _obey_signals(runner, settings.allow_shutdown)
    if settings.allow_shutdown == "file":
        stamp = os.path.join(basedir, "shutdown.stamp")
        threading.Thread(target=_watch_stamp, args=(stamp, runner), name="stamp", daemon=True).start()
    try:
        runner.run()
    finally:
        # A second signal may still come while Python shuts down, and would then decide the exit code.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        log.close()
    return GAVE_UP if log.gave_up else 0


def _obey_signals(runner: Runner, allow_shutdown: str) -> None:
    def stop(number: int, _: object) -> None:
        runner.stop(f"received {signal.Signals(number).name}")

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if allow_shutdown == "signal":
        signal.signal(signal.SIGHUP, lambda *_: runner.post(AskShutdown()))
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # Unless somebody said nohup.
        signal.signal(signal.SIGHUP, stop)
    # Whoever started us may have left it ignored, and then nobody learns how a process ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class _Log:
    """Prints what happens, and remembers how it ended. A reader that is stuck costs lines, never the slave."""

    def __init__(self) -> None:
        self.gave_up = False
        self._lines: Queue[str | None] = Queue(UNREAD_LINES)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def on_event(self, event: SlaveEvent) -> None:
        with contextlib.suppress(Full):
            self._lines.put_nowait(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text_of(event)}")
        if isinstance(event, Stopped):
            self.gave_up = event.gave_up

    def close(self) -> None:
        """Wait for the last lines, but not for ever."""
        with contextlib.suppress(Full):
            self._lines.put_nowait(None)
        self._thread.join(PATIENCE)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            say(STDERR, line)


def _config(settings: Settings, basedir: str) -> SlaveConfig:
    return SlaveConfig(
        host=settings.host,
        port=settings.port,
        name=settings.name,
        password=settings.password,
        basedir=basedir,
        keepalive=settings.keepalive,
        max_delay=settings.max_delay,
        max_retries=settings.max_retries,
        use_pty=settings.use_pty,
        encoding=settings.encoding,
    )


def _watch_stamp(path: str, runner: Runner) -> None:
    seen = _changed(path)
    while True:
        time.sleep(STAMP_INTERVAL)
        now = _changed(path)
        if now > seen:
            seen = now
            runner.post(AskShutdown())


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
