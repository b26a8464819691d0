"""Real masters of both generations, and what they stored of every builder on both slaves."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from slaveproto.testing.peers import BuildResult, Kind, MatchingSlave, OurSlave, RealBuilder, RealMaster
from tests.interop.available import require
from tests.interop.compare import BUILDERS, INTERRUPTED, NEW_BUILDERS, OLD_BUILDERS, OURS


@pytest.fixture(scope="session", params=["old", "new"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """A generation of peers, installed; where that is impossible only CI insists on it."""
    kind: Kind = request.param
    require(kind)
    return kind


@pytest.fixture
def master(kind: Kind, tmp_path: Path) -> Iterator[RealMaster]:
    """A running master with the builders of the scenarios and the slaves ``own`` and ``our``."""
    paired = [RealBuilder(f"{slave}-{name}", name, (slave,)) for name in INTERRUPTED for slave in ("own", "our")]
    builders = [RealBuilder(name, slaves=("our",)) for name in ("hello", "slow1", "interrupt")]
    slaves = {"own": "pw-own", "our": "pw-our"}
    with RealMaster(kind, tmp_path / "master", [*paired, *builders], slaves=slaves) as master:
        yield master


@pytest.fixture(scope="session")
def paired_builds(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, BuildResult]:
    """One build of every builder on the master's own slave and on ours with each runner, by its name."""
    root = tmp_path_factory.mktemp(f"{kind}-builds")
    names = BUILDERS + OLD_BUILDERS + NEW_BUILDERS
    slaves = {name: f"pw-{name}" for name in ("own", *OURS)}
    builders = [RealBuilder(f"{slave}-{name}", name, (slave,)) for name in names for slave in slaves]
    with ExitStack() as stack:
        master = stack.enter_context(RealMaster(kind, root / "master", builders, slaves=slaves))
        stack.enter_context(MatchingSlave(root / "own", master, "own"))
        for name, runner in OURS.items():
            stack.enter_context(OurSlave(root / name, master, name, runner=runner))
        for name in slaves:
            master.wait_attached(name)
        return master.build_all([b.name for b in builders], at_once=9, timeout=400)
