"""Every builder gives on our slave what it gives on the master's own one."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from slaveproto.testing.peers import BuildResult, Kind
from tests.interop.compare import (
    BUILDERS,
    DIFFERENCES,
    INTERRUPTED,
    NEW_BUILDERS,
    OLD_BUILDERS,
    OURS,
    SOURCE_BUILDERS,
    mismatches,
)

pytestmark = pytest.mark.peers


@pytest.fixture(params=list(OURS), ids=list(OURS.values()))
def our(request: pytest.FixtureRequest) -> str:
    """The name of one of our slaves."""
    name: str = request.param
    return name


@pytest.mark.parametrize("builder", BUILDERS)
def test_same_build(kind: Kind, builder: str, our: str, paired_builds: Mapping[str, BuildResult]) -> None:
    assert_same(kind, builder, our, paired_builds)


@pytest.mark.parametrize("kind", ["old"], indirect=True)
@pytest.mark.parametrize("builder", OLD_BUILDERS)
def test_same_build_with_the_old_master(
    kind: Kind, builder: str, our: str, paired_builds: Mapping[str, BuildResult]
) -> None:
    assert_same(kind, builder, our, paired_builds)


@pytest.mark.parametrize("kind", ["new"], indirect=True)
@pytest.mark.parametrize("builder", NEW_BUILDERS)
def test_same_build_with_the_new_master(
    kind: Kind, builder: str, our: str, paired_builds: Mapping[str, BuildResult]
) -> None:
    assert_same(kind, builder, our, paired_builds)


@pytest.mark.parametrize("kind", ["new"], indirect=True)
def test_bytes_become_valid_text_for_the_new_master(
    kind: Kind, our: str, paired_builds: Mapping[str, BuildResult]
) -> None:
    """What is no UTF-8 is replaced, character by character, and the build goes on."""
    build = paired_builds[f"{our}-binary"]
    assert build.result == "success"
    logs = {f"{step.name}/{log}": streams for step in build.steps for log, streams in step.logs.items()}
    assert logs["shell/stdio"]["stdout"] == "l1 " + "\N{REPLACEMENT CHARACTER}" * 3 + "\n"
    assert logs["shell_1/stdio"]["stdout"].count("\N{REPLACEMENT CHARACTER}") == 128
    assert logs["shell_2/stdio"]["stderr"] == "err \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\n"
    assert logs["shell_3/bin"]["stdout"] == "log \N{REPLACEMENT CHARACTER}\n"


def assert_same(kind: Kind, builder: str, our: str, paired_builds: Mapping[str, BuildResult]) -> None:
    own, ours = paired_builds[f"own-{builder}"], paired_builds[f"{our}-{builder}"]
    assert (own.slave, ours.slave) == ("own", our)
    assert not (text := mismatches(kind, builder, own, ours)), text


def test_two_builds_run_at_once(our: str, paired_builds: Mapping[str, BuildResult]) -> None:
    first, second = paired_builds[f"{our}-slow1"], paired_builds[f"{our}-slow2"]
    assert max(first.started, second.started) < min(first.finished, second.finished)


def test_every_difference_is_compared() -> None:
    compared = {(kind, name) for kind in get_args(Kind) for name in BUILDERS + INTERRUPTED}
    compared |= {("old", name) for name in OLD_BUILDERS + SOURCE_BUILDERS} | {("new", name) for name in NEW_BUILDERS}
    assert compared >= {(row.kind, row.builder) for row in DIFFERENCES}


def test_every_difference_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "differences-slave.md").read_text()
    assert [row.reason for row in DIFFERENCES if row.reason not in page] == []
