"""The program `slaveproto relay`: settings, mistakes, signals, lines, exit codes."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from slaveproto.ci.errors import UsageError
from slaveproto.ci.show.relay_report import NAMES, json_of_relay, words_of_relay
from slaveproto.cli import main
from slaveproto.cli.relay_settings import RELAY_SETTINGS, RelaySettings, load_relay, read_key
from slaveproto.relay.events import Draining, LinkBack, LinkLost, PairOpened, PairOver, RelayEvent, TurnedAway
from tests.relay.network import GREETING, PB
from tests.relay.programs import relay_program

PAGE = Path(__file__).parents[2] / "docs" / "relay.md"
KEY = "k" * 32


def test_the_file_and_the_options_are_one(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text('listen = "0.0.0.0:0"\nvia = "relay.example.org"\ntls = true\ntls_ca = "ca.pem"\npatience = 60\n')
    found = load_relay(str(path), {"patience": 5.0})
    assert found == RelaySettings(
        ("0.0.0.0", 0), via=("relay.example.org", 9989), tls=True, tls_ca=str(tmp_path / "ca.pem"), patience=5.0
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "relay.toml: needs listen, and one of to (beside a master) and via (beside slaves)"),
        ('listen = "a:1"', "relay.toml: needs listen, and one of to"),
        ('listen = "a:1"\nto = "b"\nvia = "c"', "relay.toml: needs listen, and one of to"),
        ('listen = "a:1"\nto = "b"\ncolour = 1', "relay.toml:3: unknown key 'colour'"),
        ('listen = "a:1"\nto = "b:x"', "relay.toml:2: to b:x: 'x' is no port number"),
        ('listen = "a:1"\nto = "b:0"', "relay.toml:2: to b:0: '0' is no port number"),
        ('listen = "a:1"\nto = "b"\ntls = true', "relay.toml: tls means nothing with to"),
        ('listen = "a:1"\nvia = "b"\nplain = false', "relay.toml: plain means nothing with via"),
        ('listen = "a:1"\nvia = "b"\ntls_ca = "x"', "relay.toml: tls_ca needs tls"),
        ('listen = "a:1"\nvia = "b"\ntls_cert = "x"', "relay.toml: tls_cert needs tls"),
        ('listen = "a:1"\nto = "b"\ntls_key = "x"', "relay.toml: tls_key needs tls_cert"),
        ('listen = "a:1"\nto = "b"\ntls_client_ca = "x"', "relay.toml: tls_client_ca needs tls_cert"),
        ('listen = "a:1"\nvia = "b"\ntls = true\ntls_pin = "x"', "relay.toml:4: tls_pin should be a SHA-256"),
        ('listen = "a:1"\nto = "b"\nkey = ""', "relay.toml:3: key is empty"),
        ('listen = "a:1"\nto = "b"\ndrain = -1', "relay.toml:3: drain should be"),
        ('listen = "a:1"\nto = "b"\npatience = 0', "relay.toml:3: patience should be"),
        ("listen = ", "relay.toml:1: "),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_relay(str(path), {})
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "b"], "needs listen"),
        (["none.toml"], "none.toml: no such file"),
        (["--listen", "x"], "needs listen"),
        (["--listen", "127.0.0.1:0", "--to", "b", "--key", "none"], "/none: No such file or directory"),
        (["--listen", "127.0.0.1:0", "--to", "b", "--tls-cert", "none"], "/none: No such file or directory"),
        (["--listen", "127.0.0.1:0", "--to", "b", "--drain", "soon"], "'soon' is no number"),
        (["--listen", "192.0.2.1:1", "--to", "b"], "cannot listen on 192.0.2.1:1: "),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["relay", *arguments]) == 2
    told = capfd.readouterr().err.replace(str(tmp_path), "")
    assert words in told
    assert told.count("\n") == 1


def test_a_key_that_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    assert read_key(str(path)) == KEY.encode()
    path.write_text(f"{KEY[:-1]}\n")
    with pytest.raises(UsageError, match="a key has at least 32 bytes, and this one 31"):
        read_key(str(path))


def test_rows_and_fields_of_a_relay_are_the_same() -> None:
    assert list(RELAY_SETTINGS) == list(attrs.fields_dict(RelaySettings))


def test_the_page_has_the_settings() -> None:
    expected = []
    for key, setting in RELAY_SETTINGS.items():
        default = attrs.fields_dict(RelaySettings)[key].default
        shown = "required" if default is attrs.NOTHING else setting.unset or f"`{setting.show(default)}`"
        argument = f" {setting.metavar}" if setting.metavar else ""
        values = (setting.kind.__doc__ or "").rstrip(".")
        values = values[0].lower() + values[1:]
        expected.append(f"| `{key}` | `{setting.options[0]}{argument}` | {shown} | {values} | {setting.meaning} |")
    assert [line for line in PAGE.read_text().splitlines() if line.startswith("| `") and "`--" in line] == expected


EVENTS: list[tuple[RelayEvent, str]] = [
    (PairOpened(1, "10.0.0.1:7", True), "10.0.0.1:7: joined by a stream that outlives its link"),
    (PairOpened(1, "10.0.0.1:7", False), "10.0.0.1:7: joined by a plain connection: if it breaks, builds do"),
    (
        LinkLost(1, "10.0.0.1:7", "no sign of life for 30 s", 2_500_000),
        "10.0.0.1:7: link lost (no sign of life for 30 s); builds go on, 2.5 MB wait",
    ),
    (LinkBack(1, "10.0.0.1:7", 240.0), "10.0.0.1:7: link back after 4 min"),
    (LinkBack(1, "10.0.0.1:7", 0.2), "10.0.0.1:7: link back after 0 s"),
    (PairOver(1, "10.0.0.1:7", ""), "10.0.0.1:7: ended"),
    (PairOver(1, "10.0.0.1:7", "the slave: Broken pipe"), "10.0.0.1:7: ended (the slave: Broken pipe)"),
    (TurnedAway("10.0.0.9:1", "no handshake"), "10.0.0.9:1: turned away (no handshake)"),
    (Draining("received SIGTERM", 0, 9.0), "received SIGTERM: no more slaves are let in; none is left"),
    (
        Draining("received SIGTERM", 2, 600.0),
        "received SIGTERM: no more slaves are let in; 2 are left, and have 10 min to end",
    ),
]


@pytest.mark.parametrize(("event", "words"), EVENTS)
def test_what_people_read(event: RelayEvent, words: str) -> None:
    assert words_of_relay(event) == words
    fields = json.loads(json_of_relay(event, 1.5))
    assert fields.pop("event") == NAMES[type(event)]
    assert fields.pop("time") == 1.5
    assert fields == {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}


# -- the program itself


@pytest.fixture
def master() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


def join(port: int, master: socket.socket) -> tuple[socket.socket, socket.socket]:
    slave = socket.create_connection(("127.0.0.1", port), 10)
    slave.sendall(PB)
    there, _ = master.accept()
    there.settimeout(10)
    there.sendall(GREETING)
    assert there.recv(len(PB)) == PB
    assert slave.recv(1000)
    return slave, there


@pytest.mark.programs
def test_sigterm_waits_for_those_that_are_there(master: socket.socket) -> None:
    with relay_program("--to", f"127.0.0.1:{master.getsockname()[1]}", "--json") as relay:
        slave, there = join(relay.port, master)
        relay.process.send_signal(signal.SIGTERM)
        assert relay.process.stdout is not None
        assert json.loads(relay.process.stdout.readline())["event"] == "opened"
        assert json.loads(relay.process.stdout.readline())["pairs"] == 1
        slave.sendall(b"goes on")
        assert there.recv(100) == b"goes on"
        there.close()
        assert slave.recv(1) == b""
        slave.close()
        code, out, _ = relay.end()
        assert (code, json.loads(out)["event"]) == (0, "ended")


@pytest.mark.programs
@pytest.mark.parametrize(
    ("arguments", "signals", "code"),
    [
        ([], [signal.SIGINT], 0),
        (["--drain", "0"], [signal.SIGTERM], 0),
        (["--drain", "0.1"], [signal.SIGTERM], 0),
        ([], [signal.SIGTERM, signal.SIGINT], 143),
    ],
)
def test_the_other_ends(master: socket.socket, arguments: list[str], signals: list[int], code: int) -> None:
    with relay_program("--to", f"127.0.0.1:{master.getsockname()[1]}", *arguments) as relay:
        slave, there = join(relay.port, master)
        if len(signals) > 1:
            relay.process.send_signal(signals.pop(0))
            assert relay.process.stderr is not None
            while "no more slaves are let in" not in relay.process.stderr.readline():
                pass
        found, _, told = relay.end(*signals)
        assert found == code
        assert "ended (received SIG" in told
        for sock in (slave, there):
            assert sock.recv(1) == b""
            sock.close()
