"""Unmodified masters and slaves with a pair of relays between them, whose link is cut again and again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from slaveproto.testing.peers import BuildResult, Kind, RealBuilder, RealMaster, RealSlave
from tests.interop.available import require
from tests.relay.cutter import Cutter
from tests.relay.programs import relay_program

pytestmark = pytest.mark.peers

BUILDS = ("output", "upload", "download")


@attrs.frozen
class Entrance:
    """The relay beside slaves, as a place to log in at."""

    host: str
    port: int
    slaves: Mapping[str, str]


def outcome(build: BuildResult) -> list[tuple[str, str | None, object]]:
    """What a build gave, but for what tells of the slave's directory and of time."""
    return [(step.name, step.result, step.logs.get("stdio", {}).get("stdout")) for step in build.steps]


@pytest.mark.parametrize("kind", ["old", "new"])
def test_cuts_change_no_build(kind: Kind, tmp_path: Path) -> None:
    require(kind)
    builders = [RealBuilder(f"{name}-{slave}", name, (slave,)) for name in BUILDS for slave in ("direct", "relayed")]
    slaves = {"direct": "pw", "relayed": "pw"}
    over = threading.Event()

    def cut_often() -> None:
        while not over.wait(0.3):
            cutter.cut()

    with (
        RealMaster(kind, tmp_path / "master", builders, slaves=slaves) as master,
        relay_program("--to", f"127.0.0.1:{master.port}") as far,
        Cutter(far.port) as cutter,
        relay_program("--via", f"127.0.0.1:{cutter.port}") as near,
        RealSlave(tmp_path / "direct", master, "direct", kind=kind),
        RealSlave(tmp_path / "relayed", Entrance("127.0.0.1", near.port, slaves), "relayed", kind=kind),
    ):
        for slave in slaves:
            master.wait_attached(slave)
        cuts = threading.Thread(target=cut_often)
        cuts.start()
        try:
            found = master.build_all([builder.name for builder in builders], 2, 90)
        finally:
            over.set()
            cuts.join()
        for name in BUILDS:
            assert found[f"{name}-relayed"].result == found[f"{name}-direct"].result
            assert outcome(found[f"{name}-relayed"]) == outcome(found[f"{name}-direct"])
        assert cutter.cuts > 10
