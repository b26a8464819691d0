"""Real peers of two generations with a mender between them: each pair fails without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Final

import pytest

from slaveproto.mend import Mended, Side
from slaveproto.testing.peers import BuildResult, Kind, RealBuilder, RealMaster, RealSlave, SlaveKind
from slaveproto.testing.peers.mending import MendingLink
from tests.interop.available import require

pytestmark = pytest.mark.peers

BUILDERS: Final[Mapping[tuple[Kind, SlaveKind], tuple[str, ...]]] = {
    ("new", "old"): ("stdin", "torn", "unicode", "upload", "warnings"),
    ("old", "new"): ("hello", "upload", "download", "props"),
}
"""Pairs of master and slave, and what they build: what at least one mend is for."""

ROWS: Final[Mapping[tuple[Kind, SlaveKind], set[Mended]]] = {
    ("new", "old"): {
        Mended("failures", Side.MASTER),
        Mended("keepstamp", Side.SLAVE),
        Mended("directories of builders", Side.SLAVE),
        Mended("words for slaves", Side.SLAVE),
        Mended("information", Side.MASTER),
        Mended("output", Side.MASTER),
    },
    ("old", "new"): {
        Mended("questions", Side.MASTER),
        Mended("names of builders", Side.SLAVE),
        Mended("builders that answer", Side.MASTER),
        Mended("terminal", Side.SLAVE),
        Mended("names of files", Side.SLAVE),
    },
}

NOT_SUCCESS: Final[Mapping[str, Mapping[str, str]]] = {
    "upload": dict.fromkeys(("upload_5", "upload_6", "upload_7", "upload_8"), "failure"),
    "download": dict.fromkeys(("download_5", "download_6", "download_8"), "failure"),
    "warnings": {"generic": "warnings"},
}
"""Steps that are no success in any generation: files that are cut or not there, for instance."""

Pair = tuple[tuple[Kind, SlaveKind], Mapping[str, BuildResult], list[object]]


@pytest.fixture(scope="module", params=list(BUILDERS), ids="-".join)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The builds of one pair, and what its mender told."""
    kinds: tuple[Kind, SlaveKind] = request.param
    for kind in kinds:
        require(kind)
    names = BUILDERS[kinds]
    root = tmp_path_factory.mktemp("mending")
    with ExitStack() as stack:
        builders = [RealBuilder(name, name, ("bot",)) for name in names]
        master = stack.enter_context(RealMaster(kinds[0], root / "master", builders, slaves={"bot": "pw"}))
        link = stack.enter_context(MendingLink(master))
        slave = RealSlave(root / "slave", link, "bot", kind=kinds[1])
        if kinds[1] == "old":
            # What a worker cannot read in its locale it does not tell.
            (slave.directory / "info" / "host").write_bytes(b"caf\xe9\n")
        stack.enter_context(slave)
        master.wait_attached("bot")
        yield kinds, master.build_all(names, at_once=1, timeout=100), list(link.events)


def test_every_builder_gives_what_it_gives_in_one_generation(pair: Pair) -> None:
    _, builds, _ = pair
    for name, build in builds.items():
        found = {step.name: step.result for step in build.steps if step.result != "success"}
        assert found == NOT_SUCCESS.get(name, {}), name


def test_output_that_ends_within_a_character_is_told_to_its_end(pair: Pair) -> None:
    (kinds, builds, _) = pair
    if kinds == ("new", "old"):
        (_, step) = builds["torn"].steps
        assert step.logs["stdio"]["stdout"].strip() == "whole é torn \N{REPLACEMENT CHARACTER}"
        assert step.logs["torn"]["stdout"].strip() == "log \N{REPLACEMENT CHARACTER}"


def test_only_what_the_pair_needs_is_mended(pair: Pair) -> None:
    kinds, _, told = pair
    assert set(told) == ROWS[kinds]
