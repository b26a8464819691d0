"""Builds of unmodified peers outlive the links between their relays. `python -m tests.cuts` does it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuts.campaign import trial
from tests.cuts.pairs import PAIRS
from tests.cuts.wire import Absence
from tests.interop.available import require

pytestmark = pytest.mark.peers

CUTS = 10

IMPATIENT = ("--silence=1.5", "--patience=3")
"""Options of a relay: seconds until a link is lost, and for which the other relay is waited for."""


def test_cuts_are_not_seen_in_builds_and_a_long_absence_ends_both_sides(tmp_path: Path) -> None:
    require("old")
    with trial(PAIRS["old"], tmp_path, IMPATIENT) as running:
        storm = running.storm(seed=2, cuts=CUTS)
        assert (storm.lost, storm.different, running.chain.slave.attachments) == (0, [], 1)
        assert storm.cuts >= CUTS
        for relay in running.chain.relays:
            log = relay.log()
            assert log.count("link lost") == log.count("link back") > CUTS / 2
            assert "Traceback" not in log
        row = running.outage(6, Absence.SILENT)
        # It is built again, for both ends have come back by themselves.
        assert (row.lost, row.different, running.chain.slave.attachments) == (1, [], 2)
        assert all("did not come back within 3 s" in relay.log() for relay in running.chain.relays)
