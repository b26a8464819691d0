"""Every builder gives on our slave what it gives on the master's own one."""

from collections.abc import Mapping
from typing import get_args

import pytest

from tests.interop.compare import BUILDERS, DIFFERENCES, INTERRUPTED, OLD_BUILDERS, mismatches
from tests.peers import BuildResult, Kind

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("builder", BUILDERS)
def test_same_build(kind: Kind, builder: str, paired_builds: Mapping[str, BuildResult]) -> None:
    assert_same(kind, builder, paired_builds)


@pytest.mark.parametrize("kind", ["old"], indirect=True)
@pytest.mark.parametrize("builder", OLD_BUILDERS)
def test_same_build_with_the_old_master(kind: Kind, builder: str,
                                        paired_builds: Mapping[str, BuildResult]) -> None:
    assert_same(kind, builder, paired_builds)


def assert_same(kind: Kind, builder: str, paired_builds: Mapping[str, BuildResult]) -> None:
    own, ours = paired_builds[f"own-{builder}"], paired_builds[f"our-{builder}"]
    assert (own.slave, ours.slave) == ("own", "our")
    assert not (text := mismatches(kind, builder, own, ours)), text


def test_two_builds_run_at_once(paired_builds: Mapping[str, BuildResult]) -> None:
    first, second = paired_builds["our-slow1"], paired_builds["our-slow2"]
    assert max(first.started, second.started) < min(first.finished, second.finished)


def test_every_difference_is_compared() -> None:
    compared = {(kind, name) for kind in get_args(Kind) for name in BUILDERS + INTERRUPTED}
    compared |= {("old", name) for name in OLD_BUILDERS}
    assert compared >= {(row.kind, row.builder) for row in DIFFERENCES}
