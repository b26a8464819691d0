"""Lists of CONTRIBUTING.md: the places that they name are there, and one that was forgotten is noticed.

What mypy notices needs no test. Settings of a slave are compared in cli/test_settings.py, keys of the build file in
ci/test_build_file_page.py, names of the packages in test_exports.py.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import typing
from pathlib import Path
from types import ModuleType

import attrs
import pytest

import slaveproto.commands
import slaveproto.master
from slaveproto.ci.file.build_file import MASTER_KEYS, MasterSettings
from slaveproto.ci.file.steps import ACTIONS
from slaveproto.commands.registry import COMMANDS
from slaveproto.master import events as master_events
from slaveproto.master.config import MasterConfig
from slaveproto.master.steps import AnyStep
from slaveproto.slave import events as slave_events
from slaveproto.wire import events as wire_events

ROOT = Path(__file__).parent.parent
PLACE = re.compile(r"[\w./-]*\w\.(?:py|md|txt)\b|\w+(?:/\w+)*/(?=`)")
BASES = ("", "src", "src/slaveproto")


def test_the_places_are_there() -> None:
    places = set(PLACE.findall((ROOT / "CONTRIBUTING.md").read_text()))
    assert {"commands/", "slave/config.py", "docs/slave-file.md", "transports/host/files.py"} <= places
    # The files of a room, which are named as such.
    for place in places - {"states.py", "events.py"}:
        assert any((ROOT / base / place).exists() for base in BASES), place


def test_a_command_has_its_row() -> None:
    written = set()
    for info in pkgutil.walk_packages(slaveproto.commands.__path__, "slaveproto.commands."):
        written |= {*getattr(importlib.import_module(info.name), "SCRIPTS", ())}
    other_spellings = {"upload_file", "upload_directory", "download_file"}
    assert written == set(COMMANDS) - other_spellings


def test_a_step_has_its_key_and_its_name() -> None:
    steps = set(typing.get_args(AnyStep))
    assert {action.make for action in ACTIONS.values() if inspect.isclass(action.make)} == steps
    assert {step.__name__ for step in steps} <= set(vars(slaveproto.master))


def test_a_setting_of_the_master_has_its_key() -> None:
    """The accounts come from the other sections; the rest is of no use in a file."""
    config, settings = set(attrs.fields_dict(MasterConfig)), set(attrs.fields_dict(MasterSettings))
    unset = {"accounts", "ask", "visitors", "visitors_per_address"}
    assert config - set(MASTER_KEYS) == unset
    assert (config | settings) - unset - {"config", "tls"} == set(MASTER_KEYS) - {"tls_key"}


@pytest.mark.parametrize(
    ("module", "unions", "parts"),
    [
        (slave_events, (slave_events.Input, slave_events.SlaveEvent), set()),
        (master_events, (master_events.MasterInput, master_events.MasterEvent), {"Outcome", "SlaveInfo"}),
        (wire_events, (wire_events.Event,), {"RefusalReason"}),
    ],
    ids=["slave", "master", "wire"],
)
def test_an_event_is_in_its_union(module: ModuleType, unions: tuple[object, ...], parts: set[str]) -> None:
    members = {kind.__name__ for union in unions for kind in typing.get_args(union)}
    ours = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert ours - members == parts
