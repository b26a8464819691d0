"""Our master with real workers on Python 2, and text that is not ASCII: what the dialect of each is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from slaveproto.testing.peers import OurBuild, OurBuilds, RealSlave, SlaveKind
from tests.interop.available import require

pytestmark = pytest.mark.peers

WORKERS: Final[tuple[SlaveKind, ...]] = ("worker-0.9.0", "worker-2.10.5")

STEPS: Final[Mapping[str, str]] = {
    "ascii": 'shell = "echo plain"',
    "header": 'shell = "echo plain"\nlog_environ = true',
    "words": 'shell = ["echo", "café"]',
    "line": 'shell = "echo café"',
    "environment": 'shell = "echo $V"\nenv = { V = "café" }',
    "output": "shell = \"printf 'caf\\\\303\\\\251\\\\n'\"",
}
"""One step a builder; a hang is cut after a few seconds."""

FILE: Final = """
[master]
listen = "127.0.0.1:9989"

[[slave]]
name = "ex"
password = "pw"
""" + "".join(
    f"""
[[builder]]
name = "{name}"
slaves = ["ex"]

[[builder.step]]
name = "s"
timeout = 20
{"" if name == "header" else "log_environ = false"}
{step}
"""
    for name, step in STEPS.items()
)


@pytest.fixture(scope="module", params=WORKERS)
def kind(request: pytest.FixtureRequest) -> SlaveKind:
    """Each worker in turn, installed."""
    kind: SlaveKind = request.param
    require(kind)
    return kind


@pytest.fixture(scope="module")
def builds(kind: SlaveKind, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, OurBuild]:
    """One build of every builder."""
    root = tmp_path_factory.mktemp(kind)
    with OurBuilds(root / "master", FILE) as master, RealSlave(root / "slave", master, "ex", kind=kind):
        _, builds = master.wait(100)
    return builds


@pytest.mark.parametrize("name", STEPS)
def test_text_that_is_not_ascii(kind: SlaveKind, builds: Mapping[str, OurBuild], name: str) -> None:
    (step,) = builds[name].steps
    if (kind, name) == ("worker-2.10.5", "environment"):
        # It encodes the environment as ASCII, whatever a master sends: its own masters meet the same.
        assert step.result == "failure"
        assert "UnicodeEncodeError" in step.logs["stdio"]
        return
    assert step.result == "success"
    assert step.logs["stdio"] == ("plain\n" if name in ("ascii", "header") else "café\n")
