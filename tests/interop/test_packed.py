"""Builds of the packed slave for a real master, on Pythons that have nothing installed, beside the installed slave."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from slaveproto.cli import main
from slaveproto.testing.peers import BuildResult, OurSlave, RealBuilder, RealMaster
from tests.interop.available import require
from tests.pythons import VERSIONS, bare_python, find_python

pytestmark = pytest.mark.peers

BUILDERS = ("hello", "dirupload")
"""Builders of the catalogue: commands, and transfers of trees, of which one has to fail."""

Results = Mapping[str, list[tuple[str, str | None]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Results]:
    """Steps and their results by slave and builder: of the installed slave, and of the packed one on each Python."""
    require("new")
    folder = tmp_path_factory.mktemp("packed")
    sources, bytecode = str(folder / "slave.pyz"), str(folder / "fast.pyz")
    assert main(["pack", sources]) == 0
    assert main(["pack", bytecode, "--bytecode"]) == 0
    programs = {
        "installed": [sys.executable, "-m", "slaveproto"],
        **{name_of(version): [*bare_python(version), sources] for version in VERSIONS if find_python(version)},
        "bytecode": [sys.executable, "-I", "-S", bytecode],
    }
    slaves = {name: f"pw-{name}" for name in programs}
    builders = [RealBuilder(f"{slave}-{name}", name, (slave,)) for name in BUILDERS for slave in slaves]
    with ExitStack() as stack:
        master = stack.enter_context(RealMaster("new", folder / "master", builders, slaves=slaves))
        for name, program in programs.items():
            stack.enter_context(OurSlave(folder / name, master, name, program=program))
        for name in slaves:
            master.wait_attached(name)
        found = master.build_all([builder.name for builder in builders], 4, 240)
    return {slave: {name: steps_of(found[f"{slave}-{name}"]) for name in BUILDERS} for slave in slaves}


def name_of(version: str) -> str:
    return f"python{version.replace('.', '')}"


def steps_of(build: BuildResult) -> list[tuple[str, str | None]]:
    return [(step.name, step.result) for step in build.steps]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_packed_slave_builds_as_the_installed_one(results: Mapping[str, Results], version: str) -> None:
    bare_python(version)
    assert results[name_of(version)] == results["installed"]
    assert {result for _, result in results[name_of(version)]["hello"]} == {"success"}


def test_the_packed_slave_builds_from_bytecode(results: Mapping[str, Results]) -> None:
    assert results["bytecode"] == results["installed"]
