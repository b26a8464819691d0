"""The teller of notices: runs commands, posts to webhooks, sends mails, in threads, and tries again.

Rules.

* No build waits for a notice, and no notice for another one: `MOST_AT_ONCE` are under way at a time, and each has
  `TIMEOUT` seconds for an attempt.
* What cannot be told after all `PAUSES` is said in the log, and so is what is left out because too many wait.
* A secret is read when it is needed, and never shown.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from email.message import EmailMessage
from typing import Final

import trio

from slaveproto.ci.file.address import parse_address
from slaveproto.ci.file.notices import MailEntry, NoticeEntry
from slaveproto.ci.file.secrets import SecretUnreadable
from slaveproto.ci.notices import Notice, is_told
from transports.trio.nurseries import open_nursery

MOST_UNDER_WAY: Final = 1000
"""Notices that wait or are being told; more are left out."""

MOST_AT_ONCE: Final = 10
TIMEOUT: Final = 30.0
PAUSES: Final = (0.0, 5.0, 60.0)
"""Seconds before each attempt."""

MAIL_PORT: Final = 25
SIGNATURE: Final = "X-Slaveproto-Signature"


class NotTold(Exception):
    """A notice could not be told; the message has the reason."""


class Notifier:
    """Notices on their way.

    Args:
        say: takes lines for people.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._limiter = trio.CapacityLimiter(MOST_AT_ONCE)
        self._sender, self._receiver = trio.open_memory_channel[tuple[NoticeEntry, Notice]](MOST_UNDER_WAY)
        self._under_way = 0
        self._idle = trio.Event()
        self._idle.set()

    def tell(self, entries: Iterable[NoticeEntry], notice: Notice) -> None:
        """Tell those whom it concerns, some time."""
        for entry in entries:
            if is_told(entry.when, notice) and (not entry.builders or notice.builder in entry.builders):
                if self._under_way >= MOST_UNDER_WAY:
                    self._say(f"{entry.target} is not told of {notice.subject}: too many notices wait")
                    continue
                self._sender.send_nowait((entry, notice))
                self._under_way += 1
                self._idle = trio.Event() if self._idle.is_set() else self._idle

    async def run(self) -> None:
        """Tell what there is to tell, until it is cancelled."""
        async with open_nursery() as nursery:
            async for entry, notice in self._receiver:
                nursery.start_soon(self._tell, entry, notice)

    async def wait_idle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await self._idle.wait()

    async def _tell(self, entry: NoticeEntry, notice: Notice) -> None:
        why = ""
        try:
            for pause in PAUSES:
                await trio.sleep(pause)
                try:
                    await trio.to_thread.run_sync(perform, entry, notice, abandon_on_cancel=True, limiter=self._limiter)
                except NotTold as error:
                    why = str(error)
                else:
                    return
            self._say(f"{entry.target} could not be told of {notice.subject}: {why}")
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()


def perform(entry: NoticeEntry, notice: Notice) -> None:
    """Tell a notice once.

    Raises:
        NotTold: it was not taken.
    """
    if entry.mail is not None:
        _send_mail(entry.mail, notice)
    elif entry.command:
        _run(entry.command, notice)
    else:
        _post(entry, notice)


def _run(command: tuple[str, ...], notice: Notice) -> None:
    told = {f"SLAVEPROTO_{key.upper()}": str(getattr(notice, key)) for key in ("build", "builder", "slave", "result")}
    try:
        done = subprocess.run(
            command, input=notice.json(), env={**os.environ, **told}, timeout=TIMEOUT, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotTold(f"it did not end within {TIMEOUT:g} s") from None
    except OSError as error:
        raise NotTold(str(error.strerror)) from None
    if done.returncode:
        raise NotTold(f"exit code {done.returncode}")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Refuses to go elsewhere: what is signed is for one place."""

    def redirect_request(self, *_: object) -> None:
        return None


def _post(entry: NoticeEntry, notice: Notice) -> None:
    data = notice.json()
    request = urllib.request.Request(entry.url, data, {"Content-Type": "application/json", "User-Agent": "slaveproto"})
    if entry.secret is not None:
        try:
            key = entry.secret.read().encode()
        except SecretUnreadable as error:
            raise NotTold(str(error)) from None
        request.add_header(SIGNATURE, f"sha256={hmac.new(key, data, hashlib.sha256).hexdigest()}")
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=TIMEOUT):
            pass
    except urllib.error.HTTPError as error:
        with error:
            raise NotTold(f"HTTP status {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotTold(str(getattr(reason, "strerror", None) or reason or type(error).__name__)) from None


def _send_mail(mail: MailEntry, notice: Notice) -> None:
    import smtplib

    message = EmailMessage()
    message["Subject"] = notice.subject
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.to)
    lines = [f"{key}: {value}" for key, value in notice.body.items() if key not in ("event", "properties") and value]
    lines += [f"{name} = {value}" for name, value in sorted(notice.properties.items()) if value]
    message.set_content("\n".join(lines) + "\n")
    host, port = parse_address(mail.server, MAIL_PORT)
    try:
        with smtplib.SMTP(host, port, timeout=TIMEOUT) as server:
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise NotTold(getattr(error, "strerror", None) or str(error) or type(error).__name__) from None
