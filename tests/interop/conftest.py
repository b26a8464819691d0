"""Real masters of both generations, and what they stored of every builder on both slaves."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.interop.compare import BUILDERS, INTERRUPTED, OLD_BUILDERS
from tests.peers import Builder, BuildResult, Kind, Master, OurSlave, OwnSlave, PeerUnavailable, install


@pytest.fixture(scope="session", params=["old", "new"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """A generation of peers, installed; where that is impossible only CI insists on it."""
    kind: Kind = request.param
    try:
        install(kind)
    except PeerUnavailable as error:
        if "CI" in os.environ:
            pytest.fail(error.reason)
        pytest.skip(error.reason)
    return kind


@pytest.fixture
def master(kind: Kind, tmp_path: Path) -> Iterator[Master]:
    """A running master with the builders of the scenarios and the slaves ``own`` and ``our``."""
    paired = [Builder(f"{slave}-{name}", name, (slave,)) for name in INTERRUPTED for slave in ("own", "our")]
    builders = [Builder(name, slaves=("our",)) for name in ("hello", "slow1", "interrupt")]
    slaves = {"own": "pw-own", "our": "pw-our"}
    with Master(kind, tmp_path / "master", [*paired, *builders], slaves=slaves) as master:
        yield master


@pytest.fixture(scope="session")
def paired_builds(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, BuildResult]:
    """One build of every builder on the master's own slave and on ours, by its name."""
    root = tmp_path_factory.mktemp(f"{kind}-builds")
    names = BUILDERS + OLD_BUILDERS
    builders = [Builder(f"{slave}-{name}", name, (slave,)) for name in names for slave in ("own", "our")]
    with (
        Master(kind, root / "master", builders, slaves={"own": "pw-own", "our": "pw-our"}) as master,
        OwnSlave(root / "own", master, "own"),
        OurSlave(root / "our", master, "our"),
    ):
        master.wait_attached("own")
        master.wait_attached("our")
        return master.build_all([b.name for b in builders], at_once=6, timeout=240)
