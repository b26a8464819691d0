"""The façades name everything that an embedding program needs, and nothing that is not there."""

from __future__ import annotations

import inspect
import typing
from types import ModuleType

import pytest

import slaveproto
import slaveproto.commands
import slaveproto.master
import slaveproto.slave
import slaveproto.wire
from slaveproto.master import events as master_events
from slaveproto.slave import events
from slaveproto.wire import events as wire_events

FACADES = (slaveproto, slaveproto.commands, slaveproto.slave, slaveproto.master, slaveproto.wire)


@pytest.mark.parametrize("facade", FACADES, ids=lambda module: module.__name__)
def test_public_names_have_docstrings(facade: ModuleType) -> None:
    for name, value in vars(facade).items():
        if not name.startswith("_") and inspect.isclass(value):
            assert inspect.getdoc(value), f"{facade.__name__}.{name}"


def test_every_input_and_announcement_is_exported() -> None:
    ours = {kind for union in (events.Input, events.SlaveEvent) for kind in typing.get_args(union)}
    missing = {kind.__name__ for kind in ours if kind.__module__ == events.__name__} - set(vars(slaveproto.slave))
    assert missing == set()


def test_every_input_and_announcement_of_a_master_is_exported() -> None:
    kinds = {
        kind for union in (master_events.MasterInput, master_events.MasterEvent) for kind in typing.get_args(union)
    }
    assert len(kinds) > 20
    assert {kind.__name__ for kind in kinds} - set(vars(slaveproto.master)) == set()


def test_every_wire_event_is_exported() -> None:
    missing = {kind.__name__ for kind in typing.get_args(wire_events.Event)} - set(vars(slaveproto.wire))
    assert missing == set()
