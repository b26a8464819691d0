"""What a step means to slaves of each generation, and that it is what real masters tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import pytest

from slaveproto.errors import CommandError
from slaveproto.master import (
    AnyStep,
    CopyDirectory,
    DownloadFile,
    DownloadString,
    Glob,
    ListDirectory,
    LogFile,
    MakeDirectory,
    RemoveDirectory,
    RemoveFile,
    Secret,
    Shell,
    SlaveInfo,
    StatFile,
    UploadDirectory,
    UploadFile,
)
from slaveproto.master.dialect import SLAVE, WORKER
from slaveproto.master.steps import LARGEST_BLOCK
from slaveproto.master.translate import CommandRequest, Env, commands_for
from slaveproto.updates import Dialect
from slaveproto.wire.values import Value
from tests.master.recorded import recorded_commands, step_for
from tests.wire.support import captures

OLD_NAMES: Final = ("shell", "uploadFile", "uploadDirectory", "downloadFile", "mkdir", "rmdir", "cpdir", "stat")
MID_NAMES: Final = (*OLD_NAMES, "glob", "listdir")
NEW_NAMES: Final = (*MID_NAMES, "rmfile")


@attrs.frozen
class Slave:
    """A slave's commands, and how it reads text."""

    commands: Mapping[str, str]
    dialect: Dialect
    system: str = "posix"

    def orders(self, step: AnyStep, env: Env | None = None) -> tuple[CommandRequest, ...]:
        info = SlaveInfo("", "", "", "", self.system, "", 0, {}, self.commands, {})
        return commands_for(step, env or {}, info, SLAVE if self.dialect is Dialect.BYTES else WORKER)

    def only(self, step: AnyStep, env: Env | None = None) -> CommandRequest:
        (order,) = self.orders(step, env)
        return order

    def arguments(self, step: AnyStep, env: Env | None = None) -> Mapping[Value, Value]:
        return self.only(step, env).arguments


def commands(names: tuple[str, ...], version: str) -> dict[str, str]:
    return dict.fromkeys(names, version)


SLAVES: Final = {
    "nothing said": Slave({}, Dialect.BYTES),
    "1.9": Slave(commands(OLD_NAMES, "1.9"), Dialect.BYTES),
    "2.6": Slave(commands(OLD_NAMES, "2.6"), Dialect.BYTES),
    "2.13": Slave(commands(OLD_NAMES, "2.13"), Dialect.BYTES),
    "2.14": Slave(commands(OLD_NAMES, "2.14"), Dialect.BYTES),
    "2.15": Slave(commands(OLD_NAMES, "2.15"), Dialect.BYTES),
    "2.16": Slave(commands(MID_NAMES, "2.16"), Dialect.BYTES),
    "3.0": Slave(commands(MID_NAMES, "3.0"), Dialect.TEXT),
    "3.3": Slave(commands(NEW_NAMES, "3.3"), Dialect.TEXT),
}
BYTES: Final = [name for name, slave in SLAVES.items() if slave.dialect is Dialect.BYTES]
TEXT: Final = [name for name, slave in SLAVES.items() if slave.dialect is Dialect.TEXT]


def raw(value: Any) -> Any:
    """The same with bytes for text, as a slave of 0.8 gets it."""
    match value:
        case str():
            return value.encode()
        case dict():
            return {raw(key): raw(item) for key, item in value.items()}
        case list():
            return [raw(item) for item in value]
        case tuple():
            return tuple(raw(item) for item in value)
        case _:
            return value


SHELL: Final[dict[str, Any]] = {
    "command": ["make", "a b"],
    "workdir": "build",
    "env": None,
    "want_stdout": 1,
    "want_stderr": 1,
    "timeout": 1200,
    "maxTime": None,
    "logEnviron": True,
    "logfiles": {},
}
SINCE_2_15: Final[dict[str, Any]] = {"interruptSignal": "KILL"}
SINCE_2_16: Final[dict[str, Any]] = {**SINCE_2_15, "sigtermTime": None}
RAW: Final[dict[str, Any]] = {"raw_output": True}
"""Read by our own slave; others know nothing of it."""

PLAIN_SHELL: Final[dict[str, dict[str, Any]]] = {
    "nothing said": {"usePTY": "slave-config", "dir": "build"},
    "1.9": {"usePTY": "slave-config"},
    "2.6": {"usePTY": "slave-config"},
    "2.13": {"usePTY": "slave-config"},
    "2.14": {"usePTY": "slave-config"},
    "2.15": {"usePTY": "slave-config", **SINCE_2_15},
    "2.16": {"usePTY": "slave-config", **SINCE_2_16},
    "3.0": {"usePTY": False, **SINCE_2_16, **RAW},
    "3.3": {"usePTY": False, **SINCE_2_16, **RAW, "max_lines": None},
}


def same(one: object, other: object) -> bool:
    """Equal, and of the same kinds all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("name", SLAVES)
def test_a_plain_shell_command(name: str) -> None:
    expected: dict[str, Any] = {**SHELL, **PLAIN_SHELL[name]}
    order = SLAVES[name].only(Shell(command=("make", "a b")))
    assert (order.command, order.object_key, order.notes) == ("shell", None, ())
    assert same(order.arguments, raw(expected) if name in BYTES else expected)


FULL: Final = Shell(
    command=("run", Secret("pass", "***")),
    workdir="w/x",
    env={"A": "1", "P": ("/a", "/b"), "GONE": None},
    timeout=None,
    max_time=2.5,
    max_lines=7,
    logfiles={"l": LogFile("l.txt"), "f": LogFile("f.txt", follow=True)},
    use_pty=True,
    initial_stdin=b"in\n",
    want_stdout=False,
    want_stderr=False,
    log_environ=False,
    interrupt_signal="INT",
    sigterm_time=5.0,
    kill_leftovers=True,
)
FOLLOWED: Final[dict[str, Any]] = {"l": "l.txt", "f": {"filename": "f.txt", "follow": True}}
FULL_COMMON: Final[dict[str, Any]] = {
    "workdir": "w/x",
    "env": {"A": "1", "B": "builder", "P": "/a:/b", "GONE": None},
    "want_stdout": 0,
    "want_stderr": 0,
    "timeout": None,
    "maxTime": 2.5,
    "logEnviron": False,
    "initial_stdin": "in\n",
}
SHOWN: Final[dict[str, Any]] = {"command": ["run", "pass"]}
HIDDEN: Final[dict[str, Any]] = {"command": ["run", ("obfuscated", "pass", "***")]}
ASKED: Final[dict[str, Any]] = {"interruptSignal": "INT", "sigtermTime": 5.0}
KILLING: Final[dict[str, Any]] = {"kill_leftovers": True}
"""Likewise."""
FULL_SHELL: Final[dict[str, tuple[dict[str, Any], int]]] = {
    # With the number of notes: of what the slave cannot do.
    "nothing said": ({**SHOWN, "usePTY": "slave-config", "logfiles": {}, "dir": "w/x"}, 6),
    "1.9": ({**SHOWN, "usePTY": "slave-config", "logfiles": {}}, 6),
    "2.6": ({**SHOWN, "usePTY": "slave-config", "logfiles": FOLLOWED}, 5),
    "2.13": ({**SHOWN, "usePTY": True, "logfiles": FOLLOWED}, 4),
    "2.14": ({**SHOWN, "usePTY": True, "logfiles": FOLLOWED}, 4),
    "2.15": ({**SHOWN, "usePTY": True, "logfiles": FOLLOWED, "interruptSignal": "INT"}, 3),
    "2.16": ({**HIDDEN, "usePTY": True, "logfiles": FOLLOWED, **ASKED}, 2),
    "3.0": ({**HIDDEN, "usePTY": True, "logfiles": FOLLOWED, **ASKED, **RAW, **KILLING}, 1),
    "3.3": ({**HIDDEN, "usePTY": True, "logfiles": FOLLOWED, **ASKED, **RAW, **KILLING, "max_lines": 7}, 0),
}


@pytest.mark.parametrize("name", SLAVES)
def test_a_shell_command_with_everything(name: str) -> None:
    own, notes = FULL_SHELL[name]
    expected = {**FULL_COMMON, **own}
    order = SLAVES[name].only(FULL, {"A": "of the builder", "B": "builder"})
    assert same(order.arguments, raw(expected) if name in BYTES else expected)
    assert len(order.notes) == notes


TRANSFER: Final[dict[str, Any]] = {"workdir": "build", "maxsize": 9, "blocksize": 5}
STEPS: Final[dict[str, tuple[AnyStep, str, dict[str, Any]]]] = {
    "mkdir": (MakeDirectory(dir="a/b"), "mkdir", {"dir": "build/a/b"}),
    "rmdir": (RemoveDirectory(dirs=("a",), timeout=3), "rmdir", {"dir": "build/a", "timeout": 3}),
    "cpdir": (
        CopyDirectory(source="a", dest="/b", workdir="w"),
        "cpdir",
        {"fromdir": "w/a", "todir": "/b", "timeout": 120},
    ),
    "stat": (StatFile(file="../x"), "stat", {"file": "x"}),
    "upload": (
        UploadFile(src="~/s", dest="/d", max_size=9, block_size=5),
        "uploadFile",
        {"?src": "~/s", "keepstamp": False, **TRANSFER},
    ),
    "upload with its times": (
        UploadFile(src="s", dest="/d", max_size=9, block_size=5, keep_stamp=True),
        "uploadFile",
        {"?src": "s", "keepstamp": True, **TRANSFER},
    ),
    "upload of a directory": (
        UploadDirectory(src="s", dest="/d", max_size=9, block_size=5, compress="bz2"),
        "uploadDirectory",
        {"?src": "s", "compress": "bz2", **TRANSFER},
    ),
    "upload of a directory as it is": (
        UploadDirectory(src="s", dest="/d", max_size=9, block_size=5),
        "uploadDirectory",
        {"?src": "s", "compress": None, **TRANSFER},
    ),
    "download": (
        DownloadFile(src="/m", dest="d", max_size=9, block_size=5, mode=0o600),
        "downloadFile",
        {"?dest": "d", "mode": 0o600, **TRANSFER},
    ),
    "download of a text": (
        DownloadString(data=b"\xff", dest="d", block_size=5),
        "downloadFile",
        {"?dest": "d", "mode": None, **TRANSFER, "maxsize": None},
    ),
}


@pytest.mark.parametrize("name", SLAVES)
@pytest.mark.parametrize("step", STEPS)
def test_steps_that_every_slave_knows(step: str, name: str) -> None:
    what, command, expected = STEPS[step]
    whose = "slave" if name in BYTES else "worker"
    arguments = {key.replace("?", whose): value for key, value in expected.items()}
    order = SLAVES[name].only(what)
    assert (order.command, order.notes) == (command, ())
    assert same(order.arguments, raw(arguments) if name in BYTES else arguments)
    objects = {"uploadFile": "writer", "uploadDirectory": "writer", "downloadFile": "reader"}
    assert order.object_key == objects.get(command)


@pytest.mark.parametrize("name", SLAVES)
def test_several_directories_are_removed_at_once_where_that_is_known(name: str) -> None:
    orders = SLAVES[name].orders(RemoveDirectory(dirs=("a", "b"), timeout=None))
    dirs = [order.arguments[b"dir" if name in BYTES else "dir"] for order in orders]
    if name in ("nothing said", "1.9", "2.6", "2.13"):
        assert dirs == [b"build/a", b"build/b"]
    else:
        assert dirs == [raw(["build/a", "build/b"]) if name in BYTES else ["build/a", "build/b"]]
    assert {order.command for order in orders} == {"rmdir"}
    assert SLAVES[name].orders(RemoveDirectory(dirs=())) == ()


@pytest.mark.parametrize(
    ("step", "command", "arguments"),
    [
        (Glob(pattern="*.c"), "glob", {"path": "build/*.c"}),
        (ListDirectory(dir="d"), "listdir", {"dir": "build/d"}),
    ],
    ids=["glob", "listdir"],
)
@pytest.mark.parametrize("name", SLAVES)
def test_commands_that_old_slaves_lack(name: str, step: AnyStep, command: str, arguments: dict[str, Any]) -> None:
    if command in SLAVES[name].commands or not SLAVES[name].commands:
        order = SLAVES[name].only(step)
        assert order.command == command
        assert same(order.arguments, raw(arguments) if name in BYTES else arguments)
    else:
        with pytest.raises(CommandError, match=f"no command '{command}'"):
            SLAVES[name].orders(step)


def test_a_file_is_removed_like_a_directory_by_slaves_that_know_no_better() -> None:
    step = RemoveFile(path="f")
    assert SLAVES["2.13"].only(step) == CommandRequest("rmdir", {b"dir": b"build/f"}, None, ())
    assert SLAVES["3.0"].only(step) == CommandRequest("rmdir", {"dir": "build/f"}, None, ())
    assert SLAVES["3.3"].only(step) == CommandRequest("rmfile", {"path": "build/f"}, None, ())


@pytest.mark.parametrize("name", SLAVES)
@pytest.mark.parametrize(
    "step",
    [
        *(step for step, _, _ in STEPS.values()),
        Shell(command="x"),
        RemoveDirectory(dirs=("a", "b")),
        RemoveFile(path="f"),
    ],
    ids=lambda step: step.title,
)
def test_a_slave_without_the_command(step: AnyStep, name: str) -> None:
    poor = Slave({"other": "3.3"}, SLAVES[name].dialect)
    with pytest.raises(CommandError, match="the slave has no command"):
        poor.orders(step)


@pytest.mark.parametrize("version", ["", "x", "3", "3.x", "2.16.1"])
def test_versions_of_any_form(version: str) -> None:
    slave = Slave({"shell": version}, Dialect.TEXT)
    arguments = slave.arguments(Shell(command="x"))
    assert arguments["usePTY"] == "slave-config"
    assert ("sigtermTime" in arguments) == (version in ("3", "3.x", "2.16.1"))


# -- text and bytes


@pytest.mark.parametrize("name", TEXT)
def test_what_is_no_text_cannot_be_said_to_a_slave_that_reads_text(name: str) -> None:
    slave = SLAVES[name]
    assert slave.arguments(Shell(command="x", initial_stdin="ü".encode()))["initial_stdin"] == "ü"
    for step in (
        Shell(command="x", initial_stdin=b"\xff"),
        Shell(command="x\udcff"),
        Shell(command=("x", "\udcff")),
        Shell(command=("x", Secret("\udcff"))),
        Shell(command="x", env={"A\udcff": "1"}),
        Shell(command="x", env={"A": ("\udcff",)}),
        Shell(command="x", logfiles={"l": LogFile("\udcff", follow=True)}),
        RemoveDirectory(dirs=("a", "\udcff")),
        UploadFile(src="\udcff", dest="/d"),
    ):
        with pytest.raises(CommandError, match="UTF-8"):
            slave.orders(step)


@pytest.mark.parametrize("name", BYTES)
def test_a_slave_that_reads_bytes_gets_them_as_they_were(name: str) -> None:
    slave = SLAVES[name]
    assert slave.arguments(Shell(command="x", initial_stdin=b"\xff"))[b"initial_stdin"] == b"\xff"
    assert slave.arguments(Shell(command=("x", "\udcff", "ü")))[b"command"] == [b"x", b"\xff", "ü".encode()]
    assert slave.arguments(StatFile(file="\udcff"))[b"file"] == b"build/\xff"
    # Half of a character is no text in anybody's words.
    with pytest.raises(CommandError, match="command cannot be said"):
        slave.orders(Shell(command=("x", "\ud800")))


@pytest.mark.parametrize("dialect", Dialect)
def test_paths_of_windows(dialect: Dialect) -> None:
    slave = Slave({}, dialect, "nt")

    def path(step: AnyStep, key: str) -> Value:
        value = slave.arguments(step)[key.encode() if dialect is Dialect.BYTES else key]
        return value.decode() if isinstance(value, bytes) else value

    assert path(MakeDirectory(dir="a/b", workdir="w"), "dir") == "w\\a\\b"
    assert path(MakeDirectory(dir="C:\\x\\..\\y"), "dir") == "C:\\y"
    assert path(MakeDirectory(dir="C:/x"), "dir") == "C:\\x"
    assert path(UploadFile(src="a/b", dest="/d"), "slavesrc") == "a/b"
    arguments = slave.arguments(Shell(command="x", env={"PATH": ("C:\\a", "C:\\b")}))
    assert list(arguments.values())[2] in ({b"PATH": b"C:\\a;C:\\b"}, {"PATH": "C:\\a;C:\\b"})


def test_the_environment_of_builder_and_step() -> None:
    slave = SLAVES["3.3"]
    builder: Env = {"A": "builder", "B": "builder", "C": None}
    assert slave.arguments(Shell(command="x", env={"A": None, "C": "step"}), builder)["env"] == {
        "A": None,
        "B": "builder",
        "C": "step",
    }
    assert slave.arguments(Shell(command="x"), {"A": ("1", "2")})["env"] == {"A": "1:2"}


@pytest.mark.parametrize("place", ["builder", "step"])
def test_a_secret_variable_is_sent_and_the_environment_is_not_shown(place: str) -> None:
    variable: Env = {"A": Secret("hush")}
    step = Shell(command="x", env=variable if place == "step" else {}, initial_stdin=Secret("é"))
    order = SLAVES["3.3"].only(step, variable if place == "builder" else {})
    assert (order.arguments["env"], order.arguments["logEnviron"]) == ({"A": "hush"}, False)
    assert order.arguments["initial_stdin"] == "é"
    assert order.notes == ("the environment is not shown, for it holds a secret",)
    unseen = SLAVES["3.3"].only(Shell(command="x", env=variable, log_environ=False))
    assert unseen.notes == ()


@pytest.mark.parametrize(("asked", "given"), [(-1, 1), (0, 1), (7, 7), (2**30, LARGEST_BLOCK)])
def test_blocks_that_every_peer_carries(asked: int, given: int) -> None:
    for step in (
        UploadFile(src="s", dest="/d", block_size=asked),
        UploadDirectory(src="s", dest="/d", block_size=asked),
        DownloadFile(src="/s", dest="d", block_size=asked),
        DownloadString(data=b"", dest="d", block_size=asked),
    ):
        assert SLAVES["3.3"].arguments(step)["blocksize"] == given


@pytest.mark.parametrize(
    ("step", "title"),
    [
        (Shell(command="make  all tests"), "make all"),
        (Shell(command=("login", Secret("word"))), "login XXXX"),
        (Shell(command=()), "shell"),
        (Shell(command="x", name="named"), "named"),
        (RemoveDirectory(dirs=("a", "b")), "rmdir a b"),
        (CopyDirectory(source="a", dest="b"), "copy a"),
        (Glob(pattern="*"), "glob *"),
        (DownloadString(data=b"", dest="d"), "download d"),
        (DownloadFile(src="/s", dest="d"), "download d"),
        (UploadFile(src="s", dest="/d"), "upload s"),
        (UploadDirectory(src="s", dest="/d"), "upload_dir s"),
        (MakeDirectory(dir="d"), "mkdir d"),
        (ListDirectory(dir="d"), "listdir d"),
        (StatFile(file="f"), "stat f"),
        (RemoveFile(path="f"), "rmfile f"),
    ],
)
def test_what_steps_are_called(step: AnyStep, title: str) -> None:
    assert step.title == title


def test_a_secret_is_not_shown() -> None:
    assert "word" not in repr(Shell(command=("login", Secret("word"))))


# -- what real masters said

GENERATION: Final = {"old": "2.13", "mid": "2.16", "new": "3.3", "new24": "3.3"}


def meaning(command: str, arguments: Mapping[Any, Any]) -> dict[str, Any]:
    """Arguments without what says nothing: None, and what no slave of either kind reads."""
    known = {key: value for key, value in arguments.items() if value not in (None, {}, "an object")}
    if command == "rmdir":
        # Real masters leave it to the slave, whose default is ours.
        known.pop("timeout", None)
    if command == "stat":
        known.pop("workdir", None)
    if known.get("keepstamp") is False:
        # 4.3 leaves it out when it only wants to read a file.
        del known["keepstamp"]
    if command == "shell" and known.get("interruptSignal") == "KILL":
        # Every slave's default.
        del known["interruptSignal"]
    if command == "shell":
        known.pop("raw_output", None)
    return known


def decoded(value: Any) -> Any:
    match value:
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case dict():
            return {decoded(key): decoded(item) for key, item in value.items()}
        case list():
            return [decoded(item) for item in value]
        case tuple():
            return tuple(decoded(item) for item in value)
        case _:
            return value


def comparable(name: str, command: str, said: dict[str, Any]) -> bool:
    """Whether a step of ours says the same. Some recordings are of masters that say what a slave cannot take."""
    master, slave = name.split("__")[0].split("-")
    version = SLAVES[GENERATION[slave]]
    if command not in version.commands or not said or (command == "shell" and not said.keys() >= SHELL.keys()):
        return False
    if name.endswith(("__oversize", "old-old__obfuscated")):
        # With blocks that no peer carries, and words that such a slave does not understand.
        return False
    if master == "old" and slave == "new" and (command == "shell" or "slavedest" in said or "slavesrc" in said):
        # A master of 0.8.4 knows no better, and the worker refuses.
        return False
    if slave == "old" and isinstance(said.get("dir"), list):
        # Recorded to see it fail.
        return False
    return not any(word not in KNOWN[command] for word in said)


KNOWN: Final[dict[str, frozenset[str]]] = {
    "shell": frozenset({*SHELL, "usePTY", "initial_stdin", "max_lines", "interruptSignal", "sigtermTime"}),
    "mkdir": frozenset({"dir"}),
    "rmdir": frozenset({"dir", "timeout"}),
    "cpdir": frozenset({"fromdir", "todir", "timeout"}),
    "stat": frozenset({"file", "workdir"}),
    "glob": frozenset({"path"}),
    "listdir": frozenset({"dir"}),
    "rmfile": frozenset({"path"}),
    "uploadFile": frozenset({"workdir", "writer", "maxsize", "blocksize", "keepstamp", "slavesrc", "workersrc"}),
    "uploadDirectory": frozenset({"workdir", "writer", "maxsize", "blocksize", "compress", "slavesrc", "workersrc"}),
    "downloadFile": frozenset({"workdir", "reader", "maxsize", "blocksize", "mode", "slavedest", "workerdest"}),
}


def test_real_masters_say_the_same() -> None:
    compared: dict[str, set[str]] = {}
    for name in captures():
        slave = SLAVES[GENERATION[name.split("__")[0].split("-")[1]]] if "sendchange" not in name else None
        for command, said in recorded_commands(name):
            if slave is None or not comparable(name, command, said):
                continue
            order = slave.only(step_for(command, said))
            assert order.command == command
            assert meaning(command, decoded(order.arguments)) == meaning(command, said), name
            compared.setdefault(command, set()).add(name.split("__")[0])
    assert compared.keys() == KNOWN.keys()
    assert compared["shell"] >= {"old-old", "new-new", "new24-old", "new24-mid", "old-mid"}
