"""The calls of both generations of masters while the slave attaches, and their answers to the letter."""

from __future__ import annotations

import attrs
import pytest

from slaveproto import HostInfo
from slaveproto.effects import ReadDir
from slaveproto.errors import HostError
from slaveproto.slave.events import Attached, BuildersListed, MasterSaid, SlaveNotice
from slaveproto.slave.states import LinkState
from slaveproto.testing import CallRefused, SessionDriver
from slaveproto.wire import Remote, Value
from tests.slave.support import BUILDERS, CONFIG, GENERATIONS, INFO, attach, attached, build, configured, name, state_of

RICH = HostInfo({"PATH": "/bin", "ODD": "caf\udce9"}, "posix", 8, {"ID": "debian", "PRETTY_NAME": "Debian 12"}, "1.2.3")

OFFERED = (
    *("shell", "mkdir", "rmdir", "cpdir", "stat", "glob", "listdir", "rmfile", "uploadFile", "uploadDirectory"),
    *("downloadFile", "upload_file", "upload_directory", "download_file"),
    *("svn", "git", "cvs", "hg", "bzr", "darcs", "mtn", "repo", "p4", "p4sync", "bk"),
)


def driver_with_info() -> SessionDriver:
    driver = SessionDriver(configured(send_environment="all"), RICH)
    driver.host.write("/slave/info/admin", b"me <me@example.org>\n")
    driver.host.write("/slave/info/host", b"caf\xe9\n")
    driver.host.write("/slave/info/system", b"overwritten\n")
    driver.host.write("/slave/info/more/deep", b"no file of the directory itself\n")
    return driver


def test_answers_to_a_master_of_08() -> None:
    driver = driver_with_info()
    assert driver.start().attach_as_08(BUILDERS) == {
        "print": None,
        "getSlaveInfo": {
            b"admin": b"me <me@example.org>\n",
            b"host": b"caf\xe9\n",
            b"environ": {b"PATH": b"/bin", b"ODD": b"caf\xe9"},
            b"system": b"posix",
            b"basedir": b"/slave",
        },
        "getVersion": b"1.2.3",
        "getCommands": {name.encode(): b"2.16" for name in OFFERED},
    }
    assert list(driver.master.builders) == [b"linux", b"mac"]


def test_answers_to_a_master_of_4x() -> None:
    driver = driver_with_info()
    assert driver.start().attach_as_4x(BUILDERS) == {
        "print": None,
        "getWorkerInfo": {
            "admin": "me <me@example.org>\n",
            "host": "caf\ufffd\n",
            "environ": {"PATH": "/bin", "ODD": "caf\ufffd"},
            "system": "posix",
            "basedir": "/slave",
            "os_id": "debian",
            "os_pretty_name": "Debian 12",
            "numcpus": 8,
            "version": "1.2.3",
            "worker_commands": dict.fromkeys(OFFERED, "3.3"),
            "delete_leftover_dirs": False,
        },
    }
    assert list(driver.master.builders) == ["linux", "mac"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_announcements(generation: str) -> None:
    driver = SessionDriver(CONFIG, INFO)
    driver.host.directories |= {"/slave", "/slave/info", "/slave/linux-dir", "/slave/old", "/slave/old/er", "/else"}
    attach(driver.start(), generation)
    said = [MasterSaid("attached", n if generation == "0.8" else None) for n in ("linux", "mac")]
    assert driver.events[2:] == [
        MasterSaid("attached", None),
        BuildersListed(("linux", "mac"), (), ("old",)),
        *said,
        Attached(("linux", "mac")),
    ]
    assert {"/slave/linux-dir", "/slave/mac"} <= driver.host.directories


@pytest.mark.parametrize("generation", GENERATIONS)
def test_info_that_cannot_be_read_is_no_reason_to_stay_away(generation: str) -> None:
    driver = driver_with_info()
    driver.host.refuses = lambda effect: HostError(13, "no") if isinstance(effect, ReadDir) else None
    attach(driver.start(), generation)
    assert state_of(driver) is LinkState.ATTACHED


def test_call_of_a_newer_master_to_a_slave_that_is_old_is_known_by_its_kind() -> None:
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    for method in ("getNothing", "remote_print", "_print", "__init__", ""):
        with pytest.raises(CallRefused) as caught:
            master.call_bot(method)
        assert caught.value.failure.kind == "twisted.spread.flavors.NoSuchMethod"
        assert caught.value.failure.is_a("builtins.AttributeError")
    attach(master, "0.8")
    assert state_of(driver) is LinkState.ATTACHED


@pytest.mark.parametrize(
    ("method", "args", "kwargs"),
    [
        ("print", (), {}),
        ("print", ("a", "b"), {}),
        ("print", ("a",), {"message": "b"}),
        ("print", (), {"text": "a"}),
        ("getSlaveInfo", (1,), {}),
        ("getWorkerInfo", (), {"a": 1}),
        ("getVersion", (None,), {}),
        ("getCommands", ([],), {}),
        ("shutdown", (1,), {}),
        ("setBuilderList", (), {}),
        ("setBuilderList", ("linux",), {}),
        ("setBuilderList", (None,), {}),
        ("setBuilderList", ({"linux": "dir"},), {}),
        ("setBuilderList", (["linux"],), {}),
        ("setBuilderList", ([("linux",)],), {}),
        ("setBuilderList", ([("linux", "a", "b")],), {}),
        ("setBuilderList", ([("linux", None)],), {}),
        ("setBuilderList", ([(1, "a")],), {}),
    ],
)
def test_wrong_parameters_end_only_their_call(method: str, args: tuple[Value, ...], kwargs: dict[str, Value]) -> None:
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    with pytest.raises(CallRefused) as caught:
        master.call_bot(method, *args, **kwargs)
    assert caught.value.failure.kind == "builtins.TypeError"
    assert "\n" not in caught.value.failure.message
    attach(master, "4.x")
    build(driver, master, "linux")


@pytest.mark.parametrize("message", ["attached", b"attached"])
@pytest.mark.parametrize("by_name", [True, False])
def test_message_by_position_or_by_name(message: Value, by_name: bool) -> None:
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    assert (master.call_bot("print", message=message) if by_name else master.call_bot("print", message)) is None
    assert driver.events[-1] == MasterSaid("attached", None)


@pytest.mark.parametrize(
    ("message", "text"), [(b"caf\xe9", "caf\\xe9"), (None, "(NoneType)"), (3, "(int)"), (["a"], "(list)")]
)
def test_message_that_is_no_text(message: Value, text: str) -> None:
    driver = SessionDriver(CONFIG, INFO)
    assert driver.start().call_bot("print", message) is None
    assert driver.events[-1] == MasterSaid(text, None)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_builders_serve_before_the_login_is_answered(generation: str) -> None:
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    master.call_bot("print", message="attached")
    if generation == "4.x":
        master.call_bot("getWorkerInfo")
    master.set_builders([(name(generation, "linux"), name(generation, "dir"))])
    assert state_of(driver) is LinkState.LOGGING_IN
    build(driver, master, name(generation, "linux"))
    master.accept_login()
    build(driver, master, name(generation, "linux"))


def test_kind_of_master_is_learned_anew_with_each_connection() -> None:
    driver, master = attached("4.x")
    build(driver, master, "linux")
    driver.lose_connection()
    master = driver.reconnect()
    assert isinstance(master.call_bot("getVersion"), bytes)
    attach(master, "0.8")
    assert isinstance(build(driver, master, b"linux").text("stdout"), bytes)
    driver.lose_connection()
    attach(driver.reconnect(), "4.x")
    assert isinstance(build(driver, driver.master, "linux").text("stdout"), str)


def test_names_and_password_of_the_login_are_utf8() -> None:
    config = attrs.evolve(CONFIG, name="caf\xe9", password="\u20ac")
    driver = SessionDriver(config, INFO)
    master = driver.start()
    assert master.login_name == "caf\xe9"
    attach(master, "4.x")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_master_holds_no_more_of_us_and_we_no_more_of_it_than_needed(generation: str) -> None:
    driver, master = attached(generation)
    labels = sorted(local.label for local, count in master.connection.exported.items() for _ in range(count))
    expected = ["perspective"] + (["builder of the master"] * 2 if generation == "0.8" else [])
    assert labels == sorted(expected)
    assert driver.session.state is LinkState.ATTACHED
    assert isinstance(master.bot, Remote)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_info_file_that_is_too_large_does_not_keep_the_slave_out(generation: str) -> None:
    driver = driver_with_info()
    driver.host.write("/slave/info/huge", b"\xff" * 700_000)
    attach(driver.start(), generation)
    assert state_of(driver) is LinkState.ATTACHED
    assert SlaveNotice("info/huge is too large for the master, left out") in driver.events


def test_builders_of_the_connection_before_are_not_those_of_this_one() -> None:
    driver, _ = attached()
    driver.lose_connection()
    master = driver.reconnect()
    master.call_bot("print", message="attached")
    master.accept_login()
    assert driver.events[-1] == Attached(())


def test_directories_of_no_builder_are_told_of_once() -> None:
    driver = SessionDriver(CONFIG, INFO)
    driver.host.directories.add("/slave/old")
    attach(driver.start(), "4.x")
    for _ in range(3):
        driver.lose_connection()
        attach(driver.reconnect(), "4.x")
    assert [event.leftover for event in driver.events if isinstance(event, BuildersListed)] == [("old",)]


@pytest.mark.parametrize("wanted", [False, True])
def test_directories_of_no_builder_are_removed_if_that_is_wanted(wanted: bool) -> None:
    driver = SessionDriver(attrs.evolve(CONFIG, delete_leftover_dirs=wanted, numcpus=3), INFO)
    master = driver.start()
    attach(master, "4.x")
    driver.host.directories |= {"/slave/old", "/slave/a", "/slave/a/b", "/slave/info"}
    driver.host.write("/slave/old/file", b"")
    about = master.call_bot("getWorkerInfo")
    assert isinstance(about, dict)
    assert (about["delete_leftover_dirs"], about["numcpus"]) == (wanted, 3)
    master.set_builders([("linux", "a/b")])
    left = {"/slave/a", "/slave/a/b", "/slave/info"}
    assert left <= driver.host.directories
    assert ("/slave/old/file" in driver.host.paths) == (not wanted)
    assert (SlaveNotice("the directory old of no builder is removed") in driver.events) == wanted


def test_windows_does_not_heed_the_case_of_directories() -> None:
    driver = SessionDriver(attrs.evolve(CONFIG, basedir="C:\\slave"), attrs.evolve(INFO, system="nt"))
    # The host in memory is none of Windows: it puts a slash before each name.
    driver.host.directories |= {f"C:\\slave/{name}" for name in ("Linux-Dir", "MAC", "INFO", "old")}
    attach(driver.start(), "4.x")
    assert [event.leftover for event in driver.events if isinstance(event, BuildersListed)] == [("old",)]
