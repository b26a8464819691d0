"""The build file: values of its keys, and each mistake in one line with its place."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import time
from pathlib import Path

import attrs
import pytest

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import LOCAL, MASTER_KEYS, BuildFile, default_builddir, load
from slaveproto.ci.file.secrets import (
    FromEnvironment,
    FromFile,
    NamedSecret,
    SecretSource,
    filled_env,
    filled_step,
)
from slaveproto.ci.schedule import Triggers
from slaveproto.master.config import ChangeAccount, MasterConfig, SlaveAccount
from slaveproto.master.steps import (
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
    StatFile,
    UploadDirectory,
    UploadFile,
)

SLAVE = '[[slave]]\nname = "ex"\npassword = "pw"\n'
BUILDER = '[[builder]]\nname = "b"\n'
STEP = '[[builder.step]]\nmkdir = "x"\n'


def read(folder: Path, text: str) -> BuildFile:
    (folder / "build.toml").write_text(text)
    return load(str(folder / "build.toml"))


def refusal(folder: Path, text: str) -> str:
    """Return the reason for which a file is refused, without its path."""
    with pytest.raises(UsageError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{folder}/build.toml:")
    return message.removeprefix(f"{folder}/build.toml:")


def steps_of(folder: Path, text: str) -> tuple[AnyStep, ...]:
    return read(folder, f"{BUILDER}{text}").builders["b"].steps


# -- what it means


def test_the_least(tmp_path: Path) -> None:
    file = read(tmp_path, BUILDER + STEP)
    assert file.slaves == {}
    builder = file.builders["b"]
    assert (builder.slaves, builder.builddir, builder.triggers) == ((LOCAL,), "b", Triggers())
    assert builder.steps == (MakeDirectory(dir="x"),)
    assert file.master.listen is None
    assert file.master.state_dir == f"{tmp_path}/.slaveproto"


def test_the_master(tmp_path: Path) -> None:
    master = (
        '[master]\nlisten = "[::1]:0"\nstate_dir = "../state"\nkeepalive = 0\nsilence = "2m"\npatience = 0\n'
        'change_password = ""\n'
    )
    found = read(tmp_path, master + BUILDER + STEP).master
    assert found.listen == ("::1", 0)
    assert found.state_dir == str(tmp_path.parent / "state")
    assert (found.config.keepalive, found.config.silence, found.config.patience) == (0, 120, 0)
    assert found.change_password == ""


def test_who_may_log_in(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from file\nsecond line\n")
    text = (
        '[[slave]]\nname = "one"\npassword = "pw"\nmax_builds = 2\n[[slave]]\nname = "two"\npassword_file = "pw"\n'
        f'[[builder]]\nname = "a/b"\nslaves = ["one", "two"]\n{STEP}'
        f'[[builder]]\nname = "c"\nslaves = ["two"]\nbuilddir = "./dir"\n{STEP}[master]\nkeepalive = 5\n'
    )
    file = read(tmp_path, text)
    assert [slave.max_builds for slave in file.slaves.values()] == [2, None]
    accounts = {
        "one": SlaveAccount("one", "pw", {"a/b": "a_b"}),
        "two": SlaveAccount("two", "from file", {"a/b": "a_b", "c": "dir"}),
    }
    assert file.master_config("unused", changes=False) == MasterConfig(accounts, keepalive=5)
    changes = {"change": ChangeAccount("change", "changepw", confirm=True)}
    assert file.master_config("unused", changes=True).accounts == accounts | changes


def test_who_may_log_in_without_slaves(tmp_path: Path) -> None:
    file = read(tmp_path, f'[master]\nchange_password = ""\n{BUILDER}{STEP}')
    assert file.master_config("x", changes=True).accounts == {LOCAL: SlaveAccount(LOCAL, "x", {"b": "b"})}


def test_a_builder(tmp_path: Path) -> None:
    more = (
        'env = { A = "x", B = ["y", "z"], C = false }\n'
        '[builder.triggers]\nchange = { branch = "main", project = ["", "p"] }\n'
        'every = "1h30m"\ndaily = ["3:05", "23:59"]\n'
    )
    builder = read(tmp_path, BUILDER + more + STEP).builders["b"]
    assert builder.env == {"A": "x", "B": ("y", "z"), "C": None}
    changes = {"branch": ("main",), "project": ("", "p")}
    assert builder.triggers == Triggers(changes, 5400, (time(3, 5), time(23, 59)))


@pytest.mark.parametrize(("value", "meant"), [("true", {}), ("false", None), ("{}", {})])
def test_changes(tmp_path: Path, value: str, meant: object) -> None:
    assert read(tmp_path, f"{BUILDER}triggers = {{ change = {value} }}\n{STEP}").builders["b"].triggers.change == meant


def test_a_shell_step(tmp_path: Path) -> None:
    text = (
        '[[builder.step]]\nshell = ["make", ""]\nname = "n"\nworkdir = "w"\nhalt_on_failure = true\n'
        "flunk_on_failure = false\nwarn_on_failure = true\nflunk_on_warnings = true\n"
        'warn_on_warnings = false\nalways_run = true\nenv = { A = "1" }\ntimeout = 0\nmax_time = "1h"\n'
        'max_lines = 7\nuse_pty = false\ninitial_stdin = "é\\u0000"\nwant_stdout = false\n'
        'want_stderr = false\nlog_environ = false\ninterrupt_signal = "TERM"\nsigterm_time = 5\n'
        "success_rc = [0, -9]\n"
        'warnings_rc = 3\n[builder.step.logfiles]\n"a log" = "f"\nb = { filename = "g", follow = true }\n'
    )
    step = Shell(
        command=("make", ""), name="n", workdir="w", halt_on_failure=True, flunk_on_failure=False, warn_on_failure=True,
        flunk_on_warnings=True, warn_on_warnings=False, always_run=True, env={"A": "1"}, timeout=None, max_time=3600,
        max_lines=7, use_pty=False, initial_stdin="é\0".encode(), want_stdout=False, want_stderr=False,
        log_environ=False, interrupt_signal="TERM", sigterm_time=5, success_rc=(0, -9), warnings_rc=(3,),
        logfiles={"a log": LogFile("f"), "b": LogFile("g", follow=True)},
    )  # fmt: skip
    assert steps_of(tmp_path, text) == (step,)
    assert steps_of(tmp_path, '[[builder.step]]\nshell = "a | b"\n') == (Shell(command="a | b", halt_on_failure=True),)


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ('mkdir = "x"', MakeDirectory(dir="x")),
        ('rmdir = "x"', RemoveDirectory(dirs=("x",))),
        ('rmdir = ["x", "y"]\ntimeout = 5', RemoveDirectory(dirs=("x", "y"), timeout=5)),
        ('copy = { from = "a", to = "b" }\ntimeout = 0', CopyDirectory(source="a", dest="b", timeout=None)),
        ('rmfile = "x"', RemoveFile(path="x")),
        ('stat = "x"\nhalt_on_failure = false', StatFile(file="x", halt_on_failure=False)),
        ('glob = "*.c"', Glob(pattern="*.c")),
        ('listdir = "."', ListDirectory(dir=".")),
        ('upload = { src = "a", dest = "/b", max_size = 0, mode = 0o644, keep_stamp = true, block_size = 9 }',
         UploadFile(src="a", dest="/b", max_size=0, mode=0o644, keep_stamp=True, block_size=9)),
        ('upload_dir = { src = "a", dest = "/b/../c", compress = "none", unpack_limit = 1, unpack_entries = 2 }',
         UploadDirectory(src="a", dest="/c", compress="", unpack_limit=1, unpack_entries=2)),
        ('upload_dir = { src = "a", dest = "/b", compress = "bz2" }',
         UploadDirectory(src="a", dest="/b", compress="bz2")),
        ('download = { src = "/a", dest = "b", max_size = 3, mode = 0o600 }',
         DownloadFile(src="/a", dest="b", max_size=3, mode=0o600)),
        ('download_string = { text = "é", dest = "b" }', DownloadString(data="é".encode(), dest="b")),
    ],
)  # fmt: skip
def test_other_steps(tmp_path: Path, line: str, step: AnyStep) -> None:
    assert steps_of(tmp_path, f"[[builder.step]]\n{line}\n") == (step,)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('upload = { src = "a", dest = "x/b" }', "dest"),
        ('upload_dir = { src = "a", dest = "x/b" }', "dest"),
        ('download = { src = "x/b", dest = "a" }', "src"),
    ],
)
def test_paths_on_the_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, key: str) -> None:
    """Paths do not depend on the working directory."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "build.toml").write_text(f"{BUILDER}[[builder.step]]\n{line}\n")
    monkeypatch.chdir(tmp_path)
    [step] = load("sub/build.toml").builders["b"].steps
    assert getattr(step, key) == f"{tmp_path}/sub/x/b"


@pytest.mark.parametrize(
    ("name", "directory"), [("a b/c:d", "a_b_c_d"), ("info", "info_"), (".x", "x"), ("..", "_"), ("ä", "_")]
)
def test_default_builddir(name: str, directory: str) -> None:
    assert default_builddir(name) == directory


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    file = read(tmp_path, f'[master]\nchange_password = "hush"\n{SLAVE.replace("pw", "hush")}{BUILDER}'
                          f'slaves = ["ex"]\n{STEP}')  # fmt: skip
    assert "hush" not in repr(file)


# -- mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " the file has no [[builder]]"),
        ("x", "1: Expected '=' after a key in a key/value pair"),
        ("builders = 1", "1: unknown key 'builders'; there are master, secret, slave, steps, builder, notify"),
        ("\n[nonesuch.x]", "2: unknown key 'nonesuch'; there are master, secret, slave, steps, builder, notify"),
        ("master = 1", "1: [master] should be a table, not an integer"),
        ("[[master]]", "1: [master] should be a table, not an array"),
        ("[slave]", "1: slave should be [[slave]], not [slave]"),
        ('slave = "x"', "1: slave should be an array, not a string"),
        ('slave = ["x"]', "1: [[slave]] should be a table, not a string"),
        ("[builder]", "1: builder should be [[builder]], not [builder]"),
        # [master]
        ('[master]\n\nlisen = "x"', f"3: unknown key 'master.lisen'; there are {', '.join(MASTER_KEYS)}"),
        ("[master]\nlisten = 9989", "2: master.listen should be a string, not an integer"),
        ('[master]\nlisten = ""', "2: master.listen is empty"),
        ('[master]\nlisten = "a:b"', "2: master.listen should be HOST:PORT or [IPV6]:PORT, not 'a:b'"),
        ('[master]\nlisten = "a:65536"', "2: master.listen should be HOST:PORT or [IPV6]:PORT, not 'a:65536'"),
        ('[master]\nlisten = "::1:0"', "2: master.listen should be HOST:PORT or [IPV6]:PORT, not '::1:0'"),
        ('[master]\nlisten = ":0"', "2: master.listen should be HOST:PORT or [IPV6]:PORT, not ':0'"),
        ('[master]\ntls_cert = "x"', "2: master.tls_cert needs tls_key"),
        ('[master]\ntls_key = "x"', "2: master.tls_key needs tls_cert"),
        ('[master]\ntls_cert = "x"\ntls_key = "y"',
         "2: master.tls_cert and tls_key should be a certificate and its key, but: "
         "FOLDER/x and FOLDER/y: No such file or directory"),
        ('[master]\ntls_client_ca = "x"', "2: master.tls_client_ca needs tls_cert"),
        ('[master]\nstate_dir = "a\\u0000b"', "2: master.state_dir contains a null character"),
        ("[master]\nkeepalive = -1", "2: master.keepalive should be from 0 to 999999999 seconds, not -1"),
        ("[master]\nkeepalive = nan", "2: master.keepalive should be from 0 to 999999999 seconds, not nan"),
        ("[master]\nsilence = 0", "2: master.silence should be more than 0"),
        ("[master]\nsilence = true",
         '2: master.silence should be seconds, or a length of time such as "1h30m", not true or false'),
        ('[master]\nsilence = "1m30h"', '2: master.silence should be seconds, or a length of time such as "1h30m" '
         "(d, h, m, s), not '1m30h'"),
        # [[slave]]
        ("[[slave]]", "1: [[slave]] has no name"),
        ('\n[[slave]]\npassword = "x"', "2: [[slave]] has no name"),
        ('[[slave]]\nname = ""', "2: name is empty"),
        ('[[slave]]\nname = "x"', "1: [[slave]] should have password or password_file, and not both"),
        (f'{SLAVE}password_file = "build.toml"', "1: [[slave]] should have password or password_file, and not both"),
        ('[[slave]]\nname = "x"\npassword = ""', "3: password is empty"),
        ('[[slave]]\nname = "x"\npassword = 5', "3: password should be a string, not an integer"),
        ('[[slave]]\nname = "x"\npassword_file = "no"',
         "3: password_file should be a file that can be read: FOLDER/no: No such file or directory"),
        ('[[slave]]\nname = "x"\npassword_file = "."',
         "3: password_file should be a file that can be read: FOLDER: Is a directory"),
        ('[[slave]]\nname = "x"\npassword_file = "empty"',
         "3: password_file should be a file whose first line is the password, unlike FOLDER/empty"),
        ('[[slave]]\nname = "x"\npassword_file = "latin"',
         "3: password_file should be a file in UTF-8, unlike FOLDER/latin"),
        (f"{SLAVE}max_builds = 0", "4: max_builds should be from 1 to 9223372036854775807, not 0"),
        (f"{SLAVE}max_builds = 1.5", "4: max_builds should be an integer, not a float"),
        (f"{SLAVE}max_build = 1", "4: unknown key 'max_build'; there are name, password, password_file, max_builds, "
         "certificate"),
        (f'{SLAVE}certificate = "x"', "4: certificate needs tls_client_ca in [master]"),
        (SLAVE + SLAVE, "5: name 'ex' comes twice"),
        (SLAVE.replace("ex", "change"),
         "2: name is that of the user who reports changes; change_password = \"\" frees it"),
        # [[builder]]
        (SLAVE, " the file has no [[builder]]"),
        ("[[builder]]", "1: [[builder]] has no name"),
        (BUILDER, "1: [[builder]] has no [[builder.step]]"),
        (BUILDER + "step = []", "1: [[builder]] has no [[builder.step]]"),
        (f"{BUILDER}step = 5", "3: step should be an array, not an integer"),
        (f"{BUILDER}[builder.step]", "3: step should be [[builder.step]], not [builder.step]"),
        (f"{BUILDER}setps = 5",
         "3: unknown key 'setps'; there are name, slaves, builddir, env, triggers, matrix, step"),
        (SLAVE + BUILDER + STEP, "4: [[builder]] has no slaves"),
        (BUILDER + STEP + BUILDER + STEP, "6: name 'b' comes twice"),
        (f'{BUILDER}slaves = "ex"\n{STEP}', "3: slaves should be an array, not a string"),
        (f"{BUILDER}slaves = []\n{STEP}", "3: slaves is empty"),
        (f'{SLAVE}{BUILDER}slaves = ["ex",\n"why"]\n{STEP}', "7: unknown slave 'why'; there are ex"),
        (f'{BUILDER}slaves = ["why"]\n{STEP}',
         "3: unknown slave 'why'; there are local only, for the file has no [[slave]]"),
        (f'{SLAVE}{BUILDER}slaves = ["ex", "ex"]\n{STEP}', "6: slaves has 'ex' twice"),
        (f'{SLAVE}{BUILDER}slaves = ["ex", 5]\n{STEP}', "6: item 2 of slaves should be a string, not an integer"),
        (f'{BUILDER}builddir = "/x"\n{STEP}',
         "3: builddir should be a directory of its own in that of the slave, not '/x'"),
        (f'{BUILDER}builddir = "a/../.."\n{STEP}',
         "3: builddir should be a directory of its own in that of the slave, not 'a/../..'"),
        (f'{BUILDER}builddir = "./info"\n{STEP}',
         "3: builddir should be a directory of its own in that of the slave, not './info'"),
        (f'{BUILDER}{STEP}[[builder]]\nname = "c"\nbuilddir = "b"\n{STEP}',
         "5: [[builder]] has the same builddir 'b' as builder 'b', on the same slave"),
        (f"{BUILDER}env = 5\n{STEP}", "3: env should be a table, not an integer"),
        (f"{BUILDER}env = {{ A = 5 }}\n{STEP}",
         "3: env.A should be a string, an array of strings, or false to remove it, not an integer"),
        (f"{BUILDER}env = {{ A = true }}\n{STEP}",
         "3: env.A should be a string, an array of strings, or false to remove it, not true or false"),
        (f'{BUILDER}env = {{ "A=B" = "x" }}\n{STEP}', "3: 'A=B' is no name of a variable"),
        (f'{BUILDER}[builder.env]\nX = "x"\n"" = "x"\n{STEP}', "5: '' is no name of a variable"),
        (f'{BUILDER}env = {{ A = ["x", 1] }}\n{STEP}', "3: item 2 of env.A should be a string, not an integer"),
        (f'{BUILDER}triggers = "daily"\n{STEP}', "3: triggers should be a table, not a string"),
        (f"{BUILDER}triggers = {{ weekly = 1 }}\n{STEP}",
         "3: unknown key 'triggers.weekly'; there are change, every, daily"),
        (f"{BUILDER}triggers = {{ change = 1 }}\n{STEP}",
         "3: triggers.change should be true, or a table of what changes count"),
        (f'{BUILDER}[builder.triggers]\nchange = {{ who = "x" }}\n{STEP}',
         "4: unknown key 'triggers.change.who'; there are branch, project, repository, category, codebase"),
        (f"{BUILDER}triggers = {{ change = {{ branch = 1 }} }}\n{STEP}",
         "3: triggers.change.branch should be a string or an array, not an integer"),
        (f"{BUILDER}triggers = {{ every = 0 }}\n{STEP}", "3: triggers.every should be more than 0"),
        (f'{BUILDER}triggers = {{ daily = "24:00" }}\n{STEP}',
         "3: triggers.daily should be a time of the day such as \"03:00\", not '24:00'"),
        (f"{BUILDER}triggers = {{ daily = 03:00:00 }}\n{STEP}",
         "3: triggers.daily should be a string or an array, not time"),
        (f"{BUILDER}triggers = {{ daily = [] }}\n{STEP}", "3: triggers.daily is empty"),
        # [[builder.step]]
        (f"{BUILDER}{STEP}[[builder.step]]", "5: [[builder.step]] does nothing; it should have one of shell, mkdir, "
         "rmdir, copy, rmfile, stat, glob, listdir, upload, upload_dir, download, download_string, git, or use"),
        (f'{BUILDER}{STEP}[[builder.step]]\nname = "x"\ntimeout = 5',
         "5: [[builder.step]] does nothing; it should have "
         "one of shell, mkdir, rmdir, copy, rmfile, stat, glob, listdir, upload, upload_dir, download, "
         "download_string, git, or use"),
        (f'{BUILDER}[[builder.step]]\nshel = "x"',
         "4: unknown key 'shel'; there are shell, mkdir, rmdir, copy, rmfile, stat, glob, listdir, upload, "
         "upload_dir, download, download_string, git, use, name, workdir, halt_on_failure, "
         "flunk_on_failure, warn_on_failure, flunk_on_warnings, warn_on_warnings, always_run, timeout, max_time, "
         "run_if"),
        (f"{BUILDER}step = [1]", "3: [[builder.step]] should be a table, not an integer"),
        (f'{BUILDER}{STEP}stat = "y"', "5: stat cannot be in the same step as mkdir"),
        (f"{BUILDER}{STEP}use_pty = 5", "5: unknown key 'use_pty'; there are mkdir, name, workdir, halt_on_failure, "
         "flunk_on_failure, warn_on_failure, flunk_on_warnings, warn_on_warnings, always_run, timeout, max_time, "
         "run_if"),
        (f"{BUILDER}{STEP}always_run = 1", "5: always_run should be true or false, not an integer"),
        (f'{BUILDER}{STEP}name = ""', "5: name is empty"),
        (f"{BUILDER}[[builder.step]]\nmkdir = 5", "4: mkdir should be a string, not an integer"),
        (f"{BUILDER}[[builder.step]]\nrmdir = 5", "4: rmdir should be a string or an array, not an integer"),
        (f"{BUILDER}[[builder.step]]\nrmdir = []", "4: rmdir is empty"),
        (f'{BUILDER}[[builder.step]]\ncopy = "a"', "4: copy should be a table, not a string"),
        (f'{BUILDER}[[builder.step]]\ncopy = {{ from = "a" }}', "4: copy has no to"),
        (f'{BUILDER}[[builder.step]]\ncopy = {{ src = "a" }}', "4: unknown key 'copy.src'; there are from, to"),
        (f'{BUILDER}[[builder.step]]\nupload = {{ dest = "a" }}', "4: upload has no src"),
        (f'{BUILDER}[[builder.step]]\n[builder.step.upload]\nsrc = "a"\ndest = ""', "6: upload.dest is empty"),
        (f'{BUILDER}[[builder.step]]\nupload = {{ src = "a", dest = "b", max_size = -1 }}',
         "4: upload.max_size should be from 0 to 9223372036854775807, not -1"),
        (f'{BUILDER}[[builder.step]]\nupload = {{ src = "a", dest = "b", block_size = 0 }}',
         "4: upload.block_size should be from 1 to 655360, not 0"),
        (f'{BUILDER}[[builder.step]]\nupload = {{ src = "a", dest = "b", mode = 0o10000 }}',
         "4: upload.mode should be from 0o000 to 0o7777, not 0o10000"),
        (f'{BUILDER}[[builder.step]]\nupload = {{ src = "a", dest = "b", mode = -1 }}', "4: upload.mode is negative"),
        (f'{BUILDER}[[builder.step]]\nupload = {{ src = "a", dest = "b", mode = "0644" }}',
         "4: upload.mode should be an integer, not a string"),
        (f'{BUILDER}[[builder.step]]\nupload_dir = {{ src = "a", dest = "b", compress = "xz" }}',
         "4: upload_dir.compress should be one of gz, bz2, none, not 'xz'"),
        (f'{BUILDER}[[builder.step]]\ndownload = {{ src = "a", dest = "b", keep_stamp = true }}',
         "4: unknown key 'download.keep_stamp'; there are src, dest, max_size, block_size, mode"),
        (f'{BUILDER}[[builder.step]]\ndownload_string = {{ text = 5, dest = "b" }}',
         "4: download_string.text should be a string, not an integer"),
        # shell
        (f"{BUILDER}[[builder.step]]\nshell = true", "4: shell should be a string or an array, not true or false"),
        (f"{BUILDER}[[builder.step]]\nshell = []", "4: shell names no program"),
        (f'{BUILDER}[[builder.step]]\nshell = ["", "x"]', "4: shell names no program"),
        (f'{BUILDER}[[builder.step]]\nshell = [\n"x",\n5]', "6: item 2 of shell should be a string, not an integer"),
        (f'{BUILDER}[[builder.step]]\nshell = "a\\u0000b"', "4: shell contains a null character"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\ntimeout = -5',
         "5: timeout should be from 0 to 999999999 seconds, not -5"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nsigterm_time = 0', "5: sigterm_time should be more than 0"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nmax_lines = 0',
         "5: max_lines should be from 1 to 9223372036854775807, not 0"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nlogfiles = {{ stdio = "x" }}',
         "5: 'stdio' cannot be the name of a log file"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nlogfiles = {{ header = "x" }}',
         "5: 'header' cannot be the name of a log file"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\n[builder.step.logfiles]\na = 5',
         "6: logfiles.a should be a string or a table, not an integer"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\n[builder.step.logfiles]\na = {{ follow = true }}',
         "6: logfiles.a has no filename"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nlogfiles = {{ a = {{ file = "x" }} }}',
         "5: unknown key 'logfiles.a.file'; there are filename, follow"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nsuccess_rc = "0"',
         "5: success_rc should be an integer or an array, not a string"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nsuccess_rc = [0, 256]',
         "5: item 2 of success_rc should be from -255 to 255, not 256"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\ninitial_stdin = 5',
         "5: initial_stdin should be a string, not an integer"),
        # numbers that Python does not write out, or read
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nsuccess_rc = [0, 0x{"f" * 5000}]',
         "5: item 2 of success_rc should be from -255 to 255, not more"),
        (f'{BUILDER}[[builder.step]]\nshell = "x"\nmax_lines = {"9" * 4000}',
         "5: max_lines should be from 1 to 9223372036854775807, not more"),
        (f"[master]\nkeepalive = 0x{'f' * 5000}",
         "2: master.keepalive should be from 0 to 999999999 seconds, not more"),
        (f"[master]\nkeepalive = -{'9' * 4000}",
         "2: master.keepalive should be from 0 to 999999999 seconds, not less"),
        (f"{BUILDER}[[builder.step]]\nupload = {{ src = 'x', dest = 'y', mode = 0x{'f' * 5000} }}",
         "4: upload.mode should be from 0o000 to 0o7777, not more"),
        (f"[master]\nkeepalive = 1_0{'9' * 5000}", "2: a number of too many digits"),
        # what Python takes for the end of a line, and TOML does not
        ("# \u2028 \x85\nmaster =", "2: Invalid value"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "latin").write_bytes(b"\xe9\n")
    assert refusal(tmp_path, text) == message.replace("FOLDER", str(tmp_path))


def test_a_signal_that_is_none(tmp_path: Path) -> None:
    words = refusal(tmp_path, f'{BUILDER}[[builder.step]]\nshell = "x"\ninterrupt_signal = "SIGKILL"')
    assert words.startswith("5: interrupt_signal should be one of ")
    assert " KILL, " in words


@pytest.mark.parametrize("name", ["none.toml", ""])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"no such file|Is a directory"):
        load(str(tmp_path / name))


# -- TLS


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_tls(tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-days", "2"]
    subprocess.run([*command, "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True, capture_output=True)
    text = f'[master]\ntls_cert = "cert"\ntls_key = "key"\n{BUILDER}{STEP}'
    master = read(tmp_path, text).master
    assert isinstance(master.tls, ssl.SSLContext)
    assert master.tls_cert == str(tmp_path / "cert")
    (tmp_path / "cert").write_text("nonsense")
    assert refusal(tmp_path, text).startswith(
        "2: master.tls_cert and tls_key should be a certificate and its key, but: "
    )


def test_every_setting_of_a_step_can_be_said() -> None:
    """A new argument of a step gets a key."""
    from slaveproto.ci.file import steps as build_steps

    special = {"command", "dir", "dirs", "file", "pattern", "path", "source", "data"}
    for name, action in build_steps.ACTIONS.items():
        if not isinstance(action.make, type):
            # A step that others are made of.
            continue
        known = {"dest", *build_steps.COMMON, *action.beside, *action.keys, *special}
        missing = {field.name for field in attrs.fields(action.make)} - known
        assert missing == set(), name


SECRET = '[secret.key]\nfile = "key"\n[secret.token]\nenvironment = "TOKEN"\n[secret.pass]\ncommand = ["pass", "x"]\n'


def test_secrets(tmp_path: Path) -> None:
    """The file holds their names; the values are not there, and need not be."""
    key, token = NamedSecret.of("key"), NamedSecret.of("token")
    builder = read(
        tmp_path,
        f'{SECRET}{BUILDER}env = {{ A = {{ secret = "token" }} }}\n'
        '[[builder.step]]\nshell = ["echo", { secret = "key" }]\nenv = { B = { secret = "token" } }\n'
        'initial_stdin = { secret = "token" }\n'
        '[[builder.step]]\ndownload_string = { text = { secret = "key" }, dest = "k" }\n',
    ).builders["b"]
    assert builder.env == {"A": token}
    assert builder.steps == (
        Shell(command=("echo", key), env={"B": token}, initial_stdin=token, halt_on_failure=True),
        DownloadString(data=key, dest="k"),
    )
    assert builder.steps[0].title == "echo <key>"
    assert builder.secrets == (
        SecretSource("token", FromEnvironment("TOKEN")),
        SecretSource("key", FromFile(f"{tmp_path}/key")),
    )
    values = {"key": "the key", "token": "the token"}
    assert filled_env(builder.env, values) == {"A": Secret("the token", "<token>")}
    shell, download = (filled_step(step, values) for step in builder.steps)
    assert shell == Shell(
        command=("echo", Secret("the key", "<key>")),
        env={"B": Secret("the token", "<token>")},
        initial_stdin=Secret("the token", "<token>"),
        halt_on_failure=True,
    )
    assert download == DownloadString(data=Secret("the key", "<key>"), dest="k")
    assert "the key" not in repr(shell)


def test_passwords_that_are_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hush hush")
    (tmp_path / "key").write_text("quiet\n")
    text = (
        f'[master]\nchange_password = {{ secret = "key" }}\n{SECRET}'
        f'[[slave]]\nname = "ex"\npassword = {{ secret = "token" }}\n{BUILDER}slaves = ["ex"]\n{STEP}'
    )
    accounts = read(tmp_path, text).master_config("unused", changes=True).accounts
    assert accounts == {
        "ex": SlaveAccount("ex", "hush hush", {"b": "b"}),
        "change": ChangeAccount("change", "quiet", confirm=True),
    }
    monkeypatch.delenv("TOKEN")
    # Programs that need no password can still read the file.
    file = read(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        file.master_config("unused", changes=True)
    why = "the secret token is not there: no environment variable TOKEN"
    assert str(caught.value) == f"{tmp_path}/build.toml: {why}"


def test_files_that_only_the_master_should_read(tmp_path: Path) -> None:
    path = f"{tmp_path}/build.toml"
    (tmp_path / "pw").write_text("hush\n")
    (tmp_path / "key").write_text("quiet\n")
    slaves = SLAVE.replace('password = "pw"', 'password_file = "pw"')
    builder = f'{BUILDER}slaves = ["ex"]\n{STEP}'
    assert read(tmp_path, f"{BUILDER}{STEP}").private == ()
    assert read(tmp_path, f"{SLAVE}{builder}").private == (path,)
    assert read(tmp_path, f"[master]\nchange_password = 'x'\n{BUILDER}{STEP}").private == (path,)
    assert read(tmp_path, f"{slaves}{builder}").private == (f"{tmp_path}/pw",)
    assert read(tmp_path, f"{SECRET}{BUILDER}{STEP}").private == (f"{tmp_path}/key",)
    hidden = SLAVE.replace('"pw"', '{ secret = "key" }')
    assert read(tmp_path, f"{SECRET}{hidden}{builder}").private == (f"{tmp_path}/key",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[secret.x]", "1: secret.x should have one of file, environment, command"),
        ('[secret.x]\nfile = "a"\nenvironment = "B"', "1: secret.x should have one of file, environment, command"),
        ('[secret.x]\nvalue = "a"', "2: unknown key 'secret.x.value'; there are file, environment, command"),
        ('[secret.x]\ncommand = "pass"', "2: secret.x.command should be an array, not a string"),
        ("[secret]\nx = 1", "2: secret.x should be a table, not an integer"),
        ('[secret."\\n"]\nfile = "x"', "1: '\\n' cannot be the name of a secret"),
        (f'{BUILDER}env = {{ A = {{ secret = "x" }} }}',
         "3: env.A.secret 'x' is no secret of the file; there are none"),
        (f'{SECRET}{BUILDER}[[builder.step]]\nshell = ["a", {{ secret = "x" }}]',
         "10: shell.secret 'x' is no secret of the file; there are key, token, pass"),
        (f'{SECRET}{BUILDER}[[builder.step]]\nshell = [{{ secret = "key" }}]', "10: shell names no program"),
        (f'{SECRET}{BUILDER}[[builder.step]]\nmkdir = {{ secret = "key" }}',
         "10: mkdir should be a string, not a table"),
    ],
)  # fmt: skip
def test_mistakes_about_secrets(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message
