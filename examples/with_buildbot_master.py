"""Run one build of a real Buildbot 4.3.0 master on a slaveproto slave, and print its log.

    python examples/with_buildbot_master.py

Needs nothing but an installed slaveproto: the master is installed by itself, once, into a cache
folder ($SLAVEPROTO_PEERS, or ~/.cache/slaveproto/peers).  Everything stays on 127.0.0.1 and in
a temporary folder that is removed at the end.
"""

import sys
import tempfile
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from slaveproto.testing.peers import BuildResult, OurSlave, PeerUnavailable, RealBuilder, RealMaster, install
from slaveproto.testing.peers.install import cache_folder, is_installed


def main() -> int:
    """Exit 0 only if the build succeeded."""
    try:
        if not is_installed("new"):
            progress(f"installing buildbot 4.3.0 into {cache_folder()} (once, about a minute)")
            install("new")
        with tempfile.TemporaryDirectory(prefix="first-build-") as folder:
            build = first_build(Path(folder))
    except (PeerUnavailable, RuntimeError, TimeoutError) as error:
        progress(str(error))
        return 1
    show(build)
    return 0 if build.result == "success" else 1


def first_build(folder: Path) -> BuildResult:
    """Start a master and a slave, build once, stop both."""
    progress("starting a master")
    with RealMaster(
        "new", folder / "master", [RealBuilder("first-build", "first")], slaves={"our": "secret"}
    ) as master:
        progress(f"it listens on 127.0.0.1:{master.port}; starting the slave")
        with OurSlave(folder / "slave", master, "our") as slave:
            try:
                master.wait_attached("our")
                progress("the slave is attached; building")
                return master.build("first-build")
            except TimeoutError as error:
                raise TimeoutError(f"{error}\nthe slave's log ends:\n{slave.log()[-2000:]}") from None


def show(build: BuildResult) -> None:
    """Print a build the way a person reads it: per step the command, its output, how it ended."""
    print(f"{build.builder} #{build.number} on slave {build.slave}: {build.result}")
    for step in build.steps:
        print(f"\n  {step.name}: {step.result}")
        for log in step.logs.values():
            command, *about = log.get("header", "").splitlines() or [""]
            print(f"    $ {command}")
            print(textwrap.indent(log.get("stdout", "") + log.get("stderr", ""), "    "), end="")
            print(*(f"    ({line})" for line in about if line.startswith("program finished")), sep="\n")


def progress(line: str) -> None:
    """Say on stderr what goes on."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
