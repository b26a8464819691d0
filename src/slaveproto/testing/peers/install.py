"""Installation of the real programs, once, into a cache folder."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

Kind = Literal["old", "new"]
"""Generations that have a master and a slave."""
SlaveKind = Literal["old", "mid", "new", "worker-0.9.0", "worker-2.10.5"]
"""Generations that have a slave."""

HERE = Path(__file__).parent

# 20.21.1 is the last virtualenv that makes Python 2.7 environments; it needs pkg_resources
VIRTUALENV = ("virtualenv==20.21.1", "setuptools<81")

# Sources of Twisted want it while they are built, and would look for the newest by themselves, which is not for 2.7.
BUILT_WITH: Mapping[str, Sequence[str]] = {"worker-0.9.0": ("incremental==21.3.0",)}

IMPORT_CHECK = {
    "old": (
        "import buildbot, buildslave, sqlalchemy, migrate, jinja2\n"
        "from buildbot.scripts import runner\n"
        "from buildslave.bot import BuildSlave\n"
        "assert (buildbot.version, buildslave.version) == ('0.8.4p1', '0.8.4')\n"
    ),
    "mid": ("import buildslave\nfrom buildslave.bot import BuildSlave\nassert buildslave.version == '0.8.14'\n"),
    "new": (
        "import buildbot, buildbot_worker\n"
        "from buildbot.scripts import runner\n"
        "from buildbot_worker.bot import Worker\n"
        "assert (buildbot.version, buildbot_worker.version) == ('4.3.0', '4.3.0')\n"
    ),
    "worker-0.9.0": "from buildbot_worker.bot import Worker",
    "worker-2.10.5": "from buildbot_worker.bot import Worker",
}


class PeerUnavailable(Exception):
    """The real programs of one generation cannot be installed or run here."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def cache_folder() -> Path:
    """Return the folder that holds the installed peers."""
    return Path(os.environ.get("SLAVEPROTO_PEERS") or Path.home() / ".cache" / "slaveproto" / "peers")


def python_of(kind: SlaveKind) -> Path:
    """Return the interpreter of an installed generation."""
    return cache_folder() / kind / "bin" / "python"


def is_installed(kind: SlaveKind) -> bool:
    """Return whether `install` has finished for this generation before."""
    return (cache_folder() / kind / "ok").exists()


def install(kind: SlaveKind) -> Path:
    """Install one generation unless that was done before; return its interpreter.

    Raises PeerUnavailable when it cannot be done.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{kind}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_installed(kind):
            target = cache / kind
            shutil.rmtree(target, ignore_errors=True)
            log = _InstallLog(cache / f"install-{kind}.log")
            if kind == "new":
                _install_new(target, log)
            else:
                _install_python2(kind, target, log)
            log.run(python_of(kind), "-W", "ignore", "-c", IMPORT_CHECK[kind])
            (target / "ok").touch()
    return python_of(kind)


class _InstallLog:
    """Runs the commands of one installation and keeps what they print."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("")

    def run(self, *argv: Path | str) -> None:
        """Run a command; PeerUnavailable carries the end of the log if it fails."""
        words = [str(word) for word in argv]
        with open(self.path, "a") as out:
            out.write(f"\n$ {' '.join(words)}\n")
            out.flush()
            status = subprocess.call(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=_install_environment()
            )
        if status:
            tail = self.path.read_text(errors="replace")[-3000:]
            raise PeerUnavailable(f"{words[0]} failed (exit {status}); {self.path} ends:\n{tail}")


def _install_environment() -> dict[str, str]:
    """Return the caller's environment, which may name a proxy, without variables that mislead an interpreter."""
    env = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONWARNINGS="ignore")
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYENV_VERSION"):
        env.pop(name, None)
    return env


def _install_new(target: Path, log: _InstallLog) -> None:
    log.run(sys.executable, "-m", "venv", target)
    pip = (target / "bin" / "python", "-m", "pip", "install", "-r", HERE / "new-requirements.txt")
    try:
        log.run(*pip, "-c", HERE / "new-constraints.txt")
    except PeerUnavailable:
        log.run(*pip)


def _install_python2(kind: SlaveKind, target: Path, log: _InstallLog) -> None:
    python2 = find_python2()
    if python2 is None:
        raise PeerUnavailable("no Python 2.7 with ssl and zlib: tried $SLAVEPROTO_PYTHON2, pyenv, PATH")
    try:
        log.run(python2, "-m", "virtualenv", target)
    except PeerUnavailable:
        shutil.rmtree(target, ignore_errors=True)
        boot = target.with_name(f"virtualenv-{kind}")
        shutil.rmtree(boot, ignore_errors=True)
        log.run(sys.executable, "-m", "venv", boot)
        log.run(boot / "bin" / "python", "-m", "pip", "install", *VIRTUALENV)
        log.run(boot / "bin" / "python", "-m", "virtualenv", "-p", python2, target)
    pip = (target / "bin" / "python", "-m", "pip", "install")
    if kind in BUILT_WITH:
        log.run(*pip, *BUILT_WITH[kind])
    log.run(*pip, "-r", HERE / f"{kind}-requirements.txt")


def find_python2() -> Path | None:
    """Return a Python 2.7 that pip can work with."""
    for candidate in _python2_candidates():
        check = "import ssl, zlib, sys; sys.exit(sys.version_info[:2] != (2, 7))"
        try:
            if not subprocess.call(
                [candidate, "-c", check],
                env=_install_environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ):
                return candidate
        except OSError:
            continue
    return None


def _python2_candidates() -> Iterator[Path]:
    if configured := os.environ.get("SLAVEPROTO_PYTHON2"):
        yield Path(configured)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in sorted(pyenv.glob("versions/2.7*"), reverse=True):
        yield version / "bin" / "python2.7"
    if found := shutil.which("python2.7"):
        yield Path(found)
