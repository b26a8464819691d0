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
from typing import Any, Final, Protocol, TypeAlias

import attrs

from slaveproto import __version__
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.privacy import exposed
from slaveproto.ci.show.console import STDERR, one_line
from slaveproto.ci.show.slave_report import json_line, text_of
from slaveproto.cli.home import VARIABLES, Home, occupied, passing_home, settings_of
from slaveproto.cli.lines import Lines
from slaveproto.cli.settings import FILE_NAME, SETTINGS, Settings, private_files
from slaveproto.inputs import Stop
from slaveproto.slave.events import (
    AskShutdown,
    Attached,
    AttachRefused,
    Connecting,
    Detached,
    Input,
    Leaving,
    SlaveEvent,
    Stopped,
)
from slaveproto.slave.session import LAST_MOMENTS, SlaveSession
from transports.host.describe import describe_host, jitter
from transports.host.route import Route
from transports.host.service_manager import Heartbeat, ServiceManager
from transports.threads.runner import Runner

GAVE_UP: Final = 3
STAMP_INTERVAL: Final = 10.0
OVERRIDES: Final = ("drain", "max_builds", "idle_exit")
"""Settings of the file that options of `slave` replace."""

if sys.platform == "win32":
    _STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
    _HANG_UP: Final[tuple[signal.Signals, ...]] = ()
else:
    _STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
    _HANG_UP: Final[tuple[signal.Signals, ...]] = (signal.SIGHUP,)


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Run the slave of BASEDIR until it is stopped, with a log on standard error. SIGTERM lets it leave: it takes "
        "no new build, asks the master to let it go, and ends with what it runs, or after --drain SECONDS. SIGINT or "
        "SIGHUP stops it and kills what it runs. A second signal waits for nothing. Configured with allow_shutdown, "
        "SIGHUP or the file shutdown.stamp lets it leave without a limit."
    )
    parser.epilog = (
        "exit codes: 0 has left, or was stopped by a signal or by the master, 2 called wrongly or a bad configuration, "
        f"{GAVE_UP} gave up after max_retries attempts, 129, 130 or 143 waited for nothing (128 and the first signal)"
    )
    parser.add_argument(
        "basedir", metavar="BASEDIR", nargs="?",
        help="made by `slaveproto create-slave`, or by a Buildbot's create-slave or create-worker, whose buildbot.tac "
        "is then read, and not run; with --once, MASTERHOST[:PORT]",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME", nargs="?", help="with --once: of the slave")
    parser.add_argument("password", metavar="PASSWORD", nargs="?", help="with --once: a lone - reads or asks for it")
    parser.add_argument(
        "--once",
        action="store_true",
        help="without a base directory: one is made for this run, and removed in the end. What is not given is taken "
        f"from the variables {', '.join(VARIABLES)}",
    )
    parser.add_argument(
        "--runner",
        choices=sorted(_RUNNERS),
        default="threads",
        help="what drives the slave: threads, or trio if that is installed [threads]",
    )
    parser.add_argument(
        "--log-json", action="store_true",
        help="write each line of the log as JSON, with its time in seconds since 1970, the event and the text",
    )  # fmt: skip
    for key in OVERRIDES:
        setting = SETTINGS[key]
        parser.add_argument(
            *setting.options, dest=key, type=setting.argument, default=argparse.SUPPRESS, metavar=setting.metavar,
            help=f"{setting.meaning} [as the file says]",
        )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the slave and return the documented exit code.

    Raises:
        UsageError: the directory is not a slave's, or its configuration is wrong.
    """
    drive = _RUNNERS[options.runner]()
    if options.once:
        with passing_home(options.basedir, options.name, options.password) as home:
            return _run(options, home, drive)
    if options.name is not None:
        raise UsageError(f"{options.name!r} is one argument too many without --once; see `slaveproto slave --help`")
    if options.basedir is None:
        raise UsageError("BASEDIR is missing; see `slaveproto slave --help`")
    if not options.basedir:
        raise UsageError("BASEDIR is empty")
    try:
        basedir = os.path.abspath(options.basedir)
    except OSError as error:
        raise UsageError(f"the working directory: {error.strerror}") from None
    home = settings_of(basedir)
    with occupied(basedir):
        return _run(options, home, drive)


def _run(options: argparse.Namespace, home: Home, drive: _Drive) -> int:
    overrides: dict[str, Any] = {key: value for key, value in vars(options).items() if key in OVERRIDES}
    settings = attrs.evolve(home.settings, **overrides)
    basedir = settings.basedir
    if settings.allow_shutdown == "signal" and not _HANG_UP:
        raise UsageError(
            f'{basedir}: allow_shutdown = "signal" means SIGHUP, which this system does not have; "file" works'
        )
    route = _route(basedir, settings)
    if settings.umask is not None:
        os.umask(settings.umask)
    manager = ServiceManager(os.environ)
    session = SlaveSession(
        settings, describe_host(f"slaveproto {__version__}"), jitter,
        resume=os.urandom(32) if settings.resume else None,
    )  # fmt: skip
    log = _Log(manager, in_json=options.log_json)
    for line in (*home.remarks, *exposed(private_files(settings))):
        log.say(line)
    signals = _Signals(settings)

    def obey(slave: _Slave) -> None:
        signals.obey(slave)
        if settings.allow_shutdown == "file":
            stamp = os.path.join(basedir, "shutdown.stamp")
            threading.Thread(target=_watch_stamp, args=(stamp, slave), name="stamp", daemon=True).start()

    try:
        drive(session, route, log.on_event, obey, manager.heartbeat)
    finally:
        # A second signal may still come while Python shuts down, and would then decide the exit code.
        for number in (*_STOPPING, *_HANG_UP):
            signal.signal(number, signal.SIG_IGN)
        log.close()
    return signals.exit_code or (GAVE_UP if log.gave_up else 0)


class _Slave(Protocol):
    """Running slave, as signal handlers and other threads see it."""

    def post(self, item: Input) -> None:
        """Hand an input to the session."""

    def stop(self, why: str) -> None:
        """End the session."""


_OnEvent: TypeAlias = Callable[[SlaveEvent], None]
_Obey: TypeAlias = Callable[[_Slave], None]
_Drive: TypeAlias = Callable[[SlaveSession, Route, _OnEvent, _Obey, "Heartbeat | None"], None]
"""Runner of a session; takes the session, its route, a function for its announcements, one for the running slave, and
what the loop has to look at."""


def _route(basedir: str, settings: Settings) -> Route:
    """Return the route that the settings describe.

    Raises:
        UsageError: a file for TLS cannot be used.
    """
    proxy = context = None
    if settings.proxy is not None:
        from transports.host.proxy import parse_proxy

        proxy = parse_proxy(settings.proxy)
    if settings.tls:
        from transports.host.pins import parse_pin
        from transports.host.tls import client_context

        pin = None if settings.tls_pin is None else parse_pin(settings.tls_pin)
        try:
            context = client_context(
                ca=settings.tls_ca, pin=pin, certificate=settings.tls_cert, key=settings.tls_key
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(f"{os.path.join(basedir, FILE_NAME)}: TLS: {error}") from None
    return Route(context, settings.tls_name, proxy)


def _threads() -> _Drive:
    def drive(
        session: SlaveSession, route: Route, on_event: _OnEvent, obey: _Obey, heartbeat: Heartbeat | None
    ) -> None:
        runner = Runner(
            session,
            on_event,
            heartbeat,
            ssl_context=route.ssl_context,
            server_hostname=route.server_hostname,
            proxy=route.proxy,
        )
        obey(runner)
        runner.run()

    return drive


def _trio() -> _Drive:
    from slaveproto.cli.requirements import need_posix, need_trio

    need_posix()
    need_trio()
    import trio

    from transports.trio import Slave, open_slave
    from transports.trio.heartbeats import keep_beating
    from transports.trio.nurseries import open_nursery

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
        session: SlaveSession, route: Route, on_event: _OnEvent, obey: _Obey, heartbeat: Heartbeat | None
    ) -> None:
        async with (
            open_nursery() as nursery,
            open_slave(
                session, ssl_context=route.ssl_context, server_hostname=route.server_hostname, proxy=route.proxy
            ) as slave,
        ):
            if heartbeat is not None:
                nursery.start_soon(keep_beating, heartbeat)
            obey(FromOutside(slave, trio.lowlevel.current_trio_token()))
            async for event in slave:
                on_event(event)
            nursery.cancel_scope.cancel()

    return lambda *arguments: trio.run(run, *arguments)


_RUNNERS: Final[Mapping[str, Callable[[], _Drive]]] = {"threads": _threads, "trio": _trio}


class _Signals:
    """Signals from the time when the configuration is read. The first that ends the slave may wait, the second not.

    Args:
        settings: of the slave.
    """

    def __init__(self, settings: Settings) -> None:
        self._drain = settings.drain
        self._slave: _Slave | None = None
        # Those that came before there was a slave.
        self._early: list[int] = []
        self._received: list[int] = []
        for number in _STOPPING:
            signal.signal(number, self._take)
        for number in _HANG_UP:
            if settings.allow_shutdown == "signal":
                signal.signal(number, self._ask)
            elif signal.getsignal(number) is not signal.SIG_IGN:
                # Unless it was started under nohup.
                signal.signal(number, self._take)
        if sys.platform != "win32":
            # A parent may have left it ignored, and then the kernel does not tell how a child ended.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    @property
    def exit_code(self) -> int:
        """The exit code of a slave that did not wait; else 0."""
        return 128 + self._received[0] if len(self._received) > 1 else 0

    def obey(self, slave: _Slave) -> None:
        """Pass signals on to a slave."""
        self._slave = slave
        while self._early:
            self._take(self._early.pop(0))

    def _ask(self, number: int, _: object) -> None:
        # Before there is a slave, there is no build to wait for: it is a stop.
        if self._slave is None:
            self._early.append(number)
        else:
            self._slave.post(AskShutdown(f"received {signal.Signals(number).name}"))

    def _take(self, number: int, _: object = None) -> None:
        if self._slave is None:
            self._early.append(number)
            return
        self._received.append(number)
        why = f"received {signal.Signals(number).name}"
        if len(self._received) > 1:
            self._slave.stop(why)
            self._slave.stop("at once")
        elif number == signal.SIGTERM and self._drain:
            self._slave.post(AskShutdown(why, self._drain))
        else:
            self._slave.stop(why)


class _Log:
    """Log on standard error, and what a service manager is told; remembers how the session ended."""

    def __init__(self, manager: ServiceManager, *, in_json: bool) -> None:
        self.gave_up = False
        self._in_json = in_json
        self._manager = manager
        self._lines = Lines(STDERR)

    def say(self, text: str, event: SlaveEvent | None = None) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self._lines.say(json_line(event, text, time.time()) if self._in_json else f"{stamp} {text}")

    def on_event(self, event: SlaveEvent) -> None:
        text = text_of(event)
        self.say(text, event)
        match event:
            case Attached():
                self._manager.ready(one_line(text))
            case Leaving(_, within):
                self._manager.stopping(one_line(text), None if within is None else within + 2 * LAST_MOMENTS)
            case Stopped():
                self.gave_up = event.gave_up
                self._manager.stopping(one_line(text))
            case Connecting() | Detached() | AttachRefused():
                self._manager.say(one_line(text))
            case _:
                pass

    def close(self) -> None:
        """Wait a moment until the last lines are written."""
        self._lines.close()


def _watch_stamp(path: str, slave: _Slave) -> None:
    seen = _changed(path)
    while True:
        time.sleep(STAMP_INTERVAL)
        now = _changed(path)
        if now > seen:
            seen = now
            slave.post(AskShutdown("shutdown.stamp was touched"))


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
