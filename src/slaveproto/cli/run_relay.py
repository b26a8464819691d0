"""The subcommand `relay`: joins slaves and a master, over streams that outlive their links."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from slaveproto.ci.errors import UsageError, cannot_listen
from slaveproto.ci.file.privacy import exposed
from slaveproto.ci.show.console import STDERR, STDOUT, one_line
from slaveproto.ci.show.relay_report import json_of_relay, words_of_relay
from slaveproto.cli.lines import Lines
from slaveproto.cli.relay_settings import RELAY_SETTINGS, RelaySettings, load_relay, read_key
from slaveproto.inputs import Stop
from slaveproto.relay.config import Place, RelayConfig
from slaveproto.relay.events import Drain, Draining, RelayEvent
from slaveproto.relay.session import RelaySession
from slaveproto.resume.policy import ResumePolicy
from transports.host.describe import jitter
from transports.host.route import Route
from transports.host.service_manager import ServiceManager
from transports.threads.relay import RelayRunner

if TYPE_CHECKING:
    import ssl

BACKLOG: Final = 1024

if sys.platform == "win32":
    _ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
else:
    _ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Join slaves and a master. Beside a master (--to) it takes streams of other relays and plain slaves, beside "
        "slaves (--via) it carries each over a stream to the other relay; a link between two relays may break, and "
        "builds go on. SIGTERM lets no more slaves in and ends with those that are there, or after --drain SECONDS. "
        "SIGINT or SIGHUP ends at once. A second signal waits for nothing."
    )
    parser.epilog = (
        "exit codes: 0 stopped by a signal, 2 called wrongly, a mistake in the file, or it cannot listen, 129, 130 or "
        "143 waited for nothing (128 and the first signal)"
    )
    parser.add_argument(
        "file", metavar="FILE.toml", nargs="?", help="settings: see docs/relay.md; options replace them"
    )
    for key, setting in RELAY_SETTINGS.items():
        common: dict[str, Any] = {"dest": key, "default": argparse.SUPPRESS, "help": setting.meaning}
        if setting.metavar is None:
            parser.add_argument(*setting.options, action="store_const", const=key != "plain", **common)
        else:
            parser.add_argument(*setting.options, type=setting.argument, metavar=setting.metavar, **common)
    parser.add_argument("--json", action="store_true", help="write events to standard output, one line of JSON each")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the relay and return the documented exit code.

    Raises:
        UsageError: the settings are wrong, or it cannot listen where it should.
    """
    given = {key: value for key, value in vars(options).items() if key in RELAY_SETTINGS}
    settings = load_relay(options.file, given)
    config = RelayConfig(
        Place.BESIDE_SLAVES if settings.via is not None else Place.BESIDE_MASTER,
        plain=settings.plain,
        mend=settings.mend,
        key=read_key(settings.key),
        certified=settings.tls_client_ca is not None,
        policy=ResumePolicy(silence=settings.silence, patience=settings.patience),
        connections=settings.connections,
        visitors=settings.visitors,
        visitors_per_address=settings.visitors_per_address,
    )
    server_context, route = _contexts(settings)
    manager = ServiceManager(os.environ)
    listener = _listen(*settings.listen)
    host, port = listener.getsockname()[:2]
    log = _RelayLog(manager, in_json=options.json)
    for line in exposed(file for file in (settings.key, settings.tls_key or settings.tls_cert) if file is not None):
        log.say(line)
    to = settings.via or settings.to
    assert to is not None
    session = RelaySession(config, os.urandom(32), jitter)
    runner = RelayRunner(
        session, [listener], to, log.on_event, log.say,
        server_context=server_context, route=route, heartbeat=manager.heartbeat,
    )  # fmt: skip
    signals = _RelaySignals(runner, settings.drain)
    log.ready(f"listening on {host}:{port}, leading {'via' if settings.via else 'to'} {to[0]}:{to[1]}")
    try:
        runner.run()
    finally:
        # A second signal may still come while Python shuts down, and would then decide the exit code.
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        log.close()
    return signals.exit_code


def _contexts(settings: RelaySettings) -> tuple[ssl.SSLContext | None, Route]:
    """Return what TLS needs, for those that come and for where the relay leads.

    Raises:
        UsageError: a file cannot be used.
    """
    if settings.tls_cert is None and not settings.tls:
        return None, Route()
    from transports.host.pins import parse_pin
    from transports.host.tls import client_context, server_context, trust_clients

    try:
        if settings.via is not None:
            pin = None if settings.tls_pin is None else parse_pin(settings.tls_pin)
            client = client_context(
                ca=settings.tls_ca, pin=pin, certificate=settings.tls_cert, key=settings.tls_key
            )  # fmt: skip
            return None, Route(client, settings.tls_name)
        assert settings.tls_cert is not None
        server = server_context(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            trust_clients(server, settings.tls_client_ca)
    except ValueError as error:
        raise UsageError(f"TLS: {error}") from None
    return server, Route()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(error, host, port) from None
    listener.setblocking(False)
    return listener


class _RelaySignals:
    """Signals. The first that ends the relay may wait, the second not.

    Args:
        runner: of the relay.
        drain: seconds that SIGTERM gives.
    """

    def __init__(self, runner: RelayRunner, drain: float) -> None:
        self._runner = runner
        self._drain = drain
        self._received: list[int] = []
        for number in _ENDING:
            # SIGHUP stays ignored under nohup.
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    @property
    def exit_code(self) -> int:
        """The exit code of a relay that did not wait; else 0."""
        return 128 + self._received[0] if len(self._received) > 1 else 0

    def _take(self, number: int, _: FrameType | None) -> None:
        self._received.append(number)
        why = f"received {signal.Signals(number).name}"
        if len(self._received) > 1:
            self._runner.hurry()
        if len(self._received) == 1 and number == signal.SIGTERM and self._drain:
            self._runner.post(Drain(why, self._drain))
        else:
            self._runner.post(Stop(why))


class _RelayLog:
    """Log of the relay, and what a service manager is told.

    Args:
        manager: the service manager.
        in_json: whether events are written to standard output, as JSON.
    """

    def __init__(self, manager: ServiceManager, *, in_json: bool) -> None:
        self._manager = manager
        self._json = Lines(STDOUT) if in_json else None
        self._lines = Lines(STDERR)

    def say(self, text: str) -> None:
        self._lines.say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def ready(self, text: str) -> None:
        self.say(text)
        self._manager.ready(one_line(text))

    def on_event(self, event: RelayEvent) -> None:
        if self._json is not None:
            self._json.say(json_of_relay(event, time.time()))
            return
        text = words_of_relay(event)
        self.say(text)
        if isinstance(event, Draining):
            self._manager.stopping(one_line(text), event.within)
        else:
            self._manager.say(one_line(text))

    def close(self) -> None:
        for lines in (self._lines, self._json):
            if lines is not None:
                lines.close()
