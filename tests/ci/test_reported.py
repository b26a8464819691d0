"""Small builds that other build systems get wrong, from public reports, and two whole factories of real projects."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slaveproto.cli.settings import Settings, dump
from tests.ci.test_build import CALL, build, builder, write
from tests.ci.test_master import master

pytestmark = pytest.mark.programs


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def slave(folder: Path, port: int, *words: str, host: str = "127.0.0.1", umask: int | None = None) -> Iterator[None]:
    """Run the slave `s` with the words before its command's."""
    folder.mkdir()
    settings = Settings(host, port, "s", "pw", str(folder), max_delay=0.1, umask=umask)
    (folder / "slaveproto.toml").write_text(dump(settings))
    with folder.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words, str(folder)], stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        return int(free.getsockname()[1])


def head(listen: str) -> str:
    return f'[master]\nlisten = "{listen}"\n[[slave]]\nname = "s"\npassword = "pw"\n'


# -- names with several addresses

THREE_ADDRESSES = """
import socket, sys
real = socket.getaddrinfo
def fake(host, port, family=0, *more, **named):
    if host not in ("three.example", b"three.example"):
        return real(host, port, family, *more, **named)
    found = [(socket.AF_INET, ("127.0.0.9", port)), (socket.AF_INET6, ("::1", port, 0, 0)),
             (socket.AF_INET, ("127.0.0.1", port))]
    return [(kind, socket.SOCK_STREAM, 6, "", place) for kind, place in found if not family or kind == family]
socket.getaddrinfo = fake
from slaveproto.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(("host", "runner"), [("127.0.0.1", "threads"), ("::1", "trio")])
def test_of_several_addresses_the_one_that_answers_is_used(host: str, runner: str, tmp_path: Path) -> None:
    port = free_port(host)
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = write(tmp_path, head(listen) + builder("b", 'shell = "echo hi"', head='slaves = ["s"]'))
    program = ("-c", THREE_ADDRESSES, "slave", "--runner", runner)
    with slave(tmp_path / "bot", port, *program, host="three.example"):
        done = build(path)
    assert done.returncode == 0, done.stdout + done.stderr


# -- modes


@pytest.mark.parametrize(("mask", "file", "directory"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_what_is_uploaded_is_as_readable_as_the_masters_umask_says(
    mask: int, file: int, directory: int, tmp_path: Path
) -> None:
    """And not 0600, as a temporary file, nor as readable as it is on the slave."""
    path = write(tmp_path, builder(
        "b",
        'shell = "echo x > a; chmod 600 a; mkdir -p d/e; echo y > d/e/f"',
        'upload = { src = "a", dest = "out/a" }',
        'upload_dir = { src = "d", dest = "out/d" }',
    ))  # fmt: skip
    done = subprocess.run([*CALL, str(path)], capture_output=True, timeout=30, check=False, umask=mask)
    assert done.returncode == 0, done.stdout
    out = tmp_path / "out"
    assert {mode_of(out / name) for name in ("a", "d/e/f")} == {file}
    assert {mode_of(out / name) for name in ("", "d", "d/e")} == {directory}


def test_the_umask_of_a_slave_is_that_of_all_that_it_makes(tmp_path: Path) -> None:
    port = free_port()
    steps = ('shell = "mkdir a; echo x > a/b"', 'download_string = { text = "x", dest = "a/c" }', 'mkdir = "a/d"')
    path = write(tmp_path, head(f"127.0.0.1:{port}") + builder("b", *steps, head='slaves = ["s"]'))
    with slave(tmp_path / "bot", port, "-m", "slaveproto", "slave", umask=0o027):
        assert build(path).returncode == 0
    made = tmp_path / "bot" / "b" / "build" / "a"
    assert [mode_of(made / name) for name in "bcd"] == [0o640, 0o640, 0o750]


# -- bytes


def test_logs_are_the_bytes_that_were_written(tmp_path: Path) -> None:
    """No UTF-8, a character in two pieces, control characters, a name with a slash."""
    script = (
        r"printf 'ok \xff\xfe \x00 \x1b[31m\n' > l; sleep 0.3; printf 'tail \xe2\x98' >> l; sleep 0.3; "
        r"printf '\x83\r10%%\r\nend' >> l; printf 'out \xff\r'"
    )
    steps = f"[[builder]]\nname = \"b\"\n[[builder.step]]\nshell = [\"bash\", \"-c\", '''{script}''']\n"
    with master(tmp_path, f'{steps}logfiles = {{ "sub/../l" = "l" }}\n') as program:
        assert program.trigger("b", "--wait").returncode == 0
        logs = tmp_path / ".slaveproto" / "logs" / "1"
        (found,) = (path for path in logs.iterdir() if "stdio" not in path.name and "header" not in path.name)
        assert found.read_bytes() == (tmp_path / ".slaveproto" / "slave" / "b" / "build" / "l").read_bytes()
        assert (logs / "1-stdio.log").read_bytes() == b"out \xff\r"


# -- factories

CONFIGURE = '#!/bin/sh\n[ "$2" = \'$(PWD)/target\' ] || { echo "prefix came as $2"; exit 1; }\n'
MAKEFILE = """
all:
\tmkdir -p target/bin; echo built > target/bin/python
pythoninfo:
\t@exit 1
buildbottest:
\t@echo "opts $(TESTOPTS) limit $(TESTTIMEOUT)"; echo "<testsuite/>" > results.xml
distclean:
\t@rm -f results.xml
"""
FETCH = (
    'if [ -d .git ]; then git fetch -q --no-tags "$1" "+$2"; else git init -q; git fetch -q --no-tags "$1" "+$2"; fi; '
    "git reset -q --hard FETCH_HEAD; git clean -qfdx"
)


def test_the_factory_of_a_language(tmp_path: Path) -> None:
    """It configures, makes, tests with limits, brings results up and cleans; what fails on the side is a warning."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "configure").write_text(CONFIGURE)
    (source / "configure").chmod(0o755)
    (source / "Makefile").write_text(MAKEFILE)
    who = ("-c", "user.email=a@example.org", "-c", "user.name=a")
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "one")):
        subprocess.run(["git", *words], cwd=source, check=True)
    warns = "flunk_on_failure = false\nwarn_on_failure = true"
    path = write(tmp_path, builder(
        "x86-64 Debian 3.x",
        f"shell = [\"sh\", \"-ec\", '''{FETCH}''', \"sh\", \"{source}\", \"main\"]\nhalt_on_failure = true",
        'shell = ["./configure", "--prefix", "$(PWD)/target"]\nhalt_on_failure = true',
        'shell = ["make", "-j2", "all"]\nhalt_on_failure = true',
        f'name = "info"\nshell = ["make", "pythoninfo"]\n{warns}',
        'name = "test"\nshell = ["make", "buildbottest", "TESTOPTS=-j2 ${MORE_OPTS}", "TESTTIMEOUT=900"]\n'
        'timeout = "20m"\nmax_time = "3h"\nsigterm_time = 30\nuse_pty = false',
        f'upload = {{ src = "results.xml", dest = "up/build.xml", mode = 0o644 }}\nalways_run = true\n{warns}',
        'shell = ["chmod", "-R", "a-w", "target/"]',
        'name = "uninstall"\nshell = "chmod -R u+w target/ && rm -rf target/"\nalways_run = true\nuse_pty = false',
        f'shell = ["make", "distclean"]\nalways_run = true\n{warns}',
        head='env = { TERM = "dumb", MORE_OPTS = "-v" }',
    ))  # fmt: skip
    done = build(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "info: failure" in done.stdout
    assert "warnings, " in done.stdout
    assert "opts -j2 -v limit 900" in done.stdout
    assert mode_of(tmp_path / "up" / "build.xml") == 0o644
    assert not (tmp_path / ".slaveproto" / "slave" / "x86-64_Debian_3.x" / "build" / "target").exists()


def test_the_factory_of_a_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files go down, up and down again with their modes; its builder has an environment, its secret is not shown."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CXX", "c++")
    (tmp_path / "expire.sh").write_text('#!/bin/sh\necho "expire $1 in $(basename "$PWD")"\n')
    (tmp_path / "key").write_text("secret-key\n")
    text = '#!/bin/sh\\nexec ${CCACHE} ${CCC} \\"$@\\"\\n'
    path = write(tmp_path, builder(
        "ath79/generic",
        'download = { src = "expire.sh", dest = "../expire.sh", mode = 0o755 }',
        'shell = ["./expire.sh", "14"]\nworkdir = "."\nhalt_on_failure = true\ntimeout = 2400',
        f'download_string = {{ text = "{text}", dest = "../cc.sh", mode = 0o755 }}',
        'rmdir = ["bin", "tmp"]\ntimeout = "10m"',
        'download = { src = "key", dest = "key", mode = 0o600 }',
        'shell = "mkdir -p $HOME/dl && rm -rf ./dl && ln -sf $HOME/dl ./dl && echo down > dl/x"\nlog_environ = false',
        'shell = "mkdir -p bin/t; echo sum > bin/t/sums; echo \\"CC=$CC CXX=${CXX-unset} CCACHE=<$CCACHE>\\""',
        'shell = "find bin -type f -name sums -print0 | xargs -0 tar -czf sign.tar.gz"',
        'upload = { src = "sign.tar.gz", dest = "signing/generic.tar.gz" }',
        'download = { src = "signing/generic.tar.gz", dest = "back.tar.gz" }',
        'shell = ["cp", "-a", "bin/.", "../up"]\nenv = { RSYNC_PASSWORD = "s3cr3t" }\nlog_environ = false',
        'shell = ["false"]\nflunk_on_failure = false',
        'shell = ["df", "-h", "."]\nenv = { LC_ALL = "C" }\nalways_run = true',
        head='builddir = "ath79_generic"\n'
        'env = { CCC = "gcc", CCACHE = "", CC = "${HOME}/cc.sh", CXX = false }',
    ))  # fmt: skip
    done = build(path)
    assert done.returncode == 0, done.stdout + done.stderr
    there = tmp_path / ".slaveproto" / "slave" / "ath79_generic"
    assert "expire 14 in ath79_generic" in done.stdout
    assert (there / "cc.sh").read_text() == '#!/bin/sh\nexec ${CCACHE} ${CCC} "$@"\n'
    assert os.access(there / "cc.sh", os.X_OK)
    assert mode_of(there / "build" / "key") == 0o600
    assert f"CC={home}/cc.sh CXX=unset CCACHE=<>" in done.stdout
    assert (home / "dl" / "x").read_text() == "down\n"
    assert (there / "build" / "back.tar.gz").read_bytes() == (tmp_path / "signing" / "generic.tar.gz").read_bytes()
    assert (there / "up" / "t" / "sums").exists()
    assert "s3cr3t" not in done.stdout
