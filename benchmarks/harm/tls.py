"""Promise 7: TLS met by plain, plain met by TLS, and certificates that nothing vouches for."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import trustme

from benchmarks.harm.rows import KINDS, Row, Side
from slaveproto.testing.peers import Attachable, OurMaster, OurSlave, RealMaster, RealSlave, SlaveProgram

LONGEST: Final = 40.0
"""Seconds that are waited for."""

FILE: Final = """
[master]
listen = "127.0.0.1:9989"
{tls}
[[slave]]
name = "bot"
password = "pw"
[[builder]]
name = "first"
slaves = ["bot"]
[[builder.step]]
shell = "true"
"""


def _authority(folder: Path) -> trustme.CA:
    authority = trustme.CA()
    folder.mkdir()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return authority


@contextlib.contextmanager
def _master(side: Side, folder: Path, authority: trustme.CA | None) -> Iterator[RealMaster | OurMaster]:
    """Run a master of a side, with TLS if there is an authority; 0.8.4 has none, and gets a master of ours then."""
    certificate = folder / "master.pem"
    if authority is not None:
        made = authority.issue_cert("localhost", "127.0.0.1")
        made.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    master: RealMaster | OurMaster
    if side is Side.OURS or (side is Side.OLD and authority is not None):
        tls = f'tls_cert = "{certificate}"\ntls_key = "{certificate}"' if authority is not None else ""
        master = OurMaster(folder / "master", FILE.format(tls=tls))
    else:
        shown = certificate if authority is not None else None
        master = RealMaster(KINDS[side], folder / "master", ["first"], slaves={"bot": "pw"}, certificate=shown)
    with master:
        yield master


def _slave(side: Side, folder: Path, master: Attachable, roots: Path | None) -> SlaveProgram:
    if side is Side.OURS:
        more = [] if roots is None else ["--tls-ca", str(roots / "ca.pem")]
        return OurSlave(folder / "bot", master, "bot", more=more)
    return RealSlave(folder / "bot", master, "bot", kind=KINDS[side], trust_roots=roots)


def _told(slave: SlaveProgram | RealMaster | OurMaster, words: Sequence[str], before: int = 0) -> str:
    """Wait until a log contains some of the words; returns after how many seconds, and the line."""
    began = time.monotonic()
    while time.monotonic() < began + LONGEST:
        for line in slave.log()[before:].splitlines():
            if any(word in line for word in words):
                shown = line.rpartition(": ")[2] if len(line) > 150 else line
                return f"{time.monotonic() - began:.1f} s: `{shown.strip()[:150]}`"
        time.sleep(0.02)
    return f"nothing in {LONGEST:g} s"


def _plain_slave(side: Side, folder: Path) -> str:
    authority = _authority(folder / "roots")
    with _master(side, folder, authority) as master, _slave(side, folder, master, None) as slave:
        return _told(slave, ("TLS", "SSL", "never spoke", "Lost connection"))


def _slave_with_tls(side: Side, folder: Path) -> str:
    _authority(folder / "roots")
    with _master(side, folder, None) as master, _slave(side, folder, master, folder / "roots") as slave:
        return _told(slave, ("not connected", "SSL", "Error", "failed"))


def _strange_authority(side: Side, folder: Path) -> str:
    _authority(folder / "roots")
    strange = _authority(folder / "strange")
    with _master(side, folder, strange) as master, _slave(side, folder, master, folder / "roots") as slave:
        return _told(slave, ("not connected", "SSL", "Error", "failed"))


def _hello_at_plain_master(side: Side, folder: Path) -> str:
    """Shake hands with a plain port: how long the master keeps that connection, and what it logs."""
    context = ssl.create_default_context()
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(ours, theirs, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    with _master(side, folder, None) as master, socket.create_connection((master.host, master.port)) as sock:
        before, began = len(master.log()), time.monotonic()
        sock.sendall(theirs.read())
        sock.settimeout(LONGEST)
        kept = f"kept for more than {LONGEST:g} s"
        with contextlib.suppress(TimeoutError):
            while sock.recv(1000):
                pass
            kept = f"closed after {time.monotonic() - began:.2f} s"
        return f"{kept}; {_told(master, ('speaks TLS', 'Type Byte'), before)}"


ROWS: Final = (
    Row(7, "a plain slave at a port with TLS: when its log says why", _plain_slave),
    Row(7, "a slave with TLS at a plain port: when its log says why", _slave_with_tls, (Side.OURS, Side.NEW)),
    Row(7, "a certificate of a strange authority: when the log says why", _strange_authority, (Side.OURS, Side.NEW)),
    Row(7, "a hello of TLS at a plain master: how long it is kept, and what is said", _hello_at_plain_master),
)  # fmt: skip
