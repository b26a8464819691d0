"""Faces of the packages: they name everything that an embedding program needs, and nothing that is not there."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import typing
from pathlib import Path
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
    checked = 0
    for name in dir(facade):
        value = getattr(facade, name)
        if not name.startswith("_") and inspect.isclass(value):
            assert inspect.getdoc(value), f"{facade.__name__}.{name}"
            checked += 1
    assert checked


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


# -- the face of the whole, whose names are imported when they are used


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh Python and return which modules of the library it loaded."""
    code += "\nimport sys; print(*(name for name in sys.modules if name.partition('.')[0] in ('slaveproto', 'attr')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse(Path(slaveproto.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    homes = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(homes) == sorted(set(slaveproto.__all__) - {"__version__"})
    for name, home in homes.items():
        assert getattr(slaveproto, name) is getattr(sys.modules[str(home)], name)


@pytest.mark.parametrize(
    "session",
    [slaveproto.Connection, slaveproto.SlaveSession, slaveproto.MasterSession],
    ids=lambda kind: kind.__name__,
)
def test_what_a_constructor_takes_is_there(session: type) -> None:
    """The classes in the signature, and those that they in turn are made of; commands have a package of their own."""
    waiting: list[object] = [session]
    found = set()
    while waiting:
        kind = waiting.pop()
        waiting += typing.get_args(kind)
        if inspect.isclass(kind) and kind.__module__.startswith("slaveproto.") and kind not in found:
            if kind.__module__.startswith("slaveproto.commands"):
                continue
            found.add(kind)
            waiting += typing.get_type_hints(vars(kind).get("__init__")).values() if "__init__" in vars(kind) else ()
    assert {kind.__name__ for kind in found if not kind.__name__.startswith("_")} - set(slaveproto.__all__) == set()
    assert len(found) > 1


def test_importing_it_loads_nothing_else() -> None:
    assert loaded_by("import slaveproto") == {"slaveproto"}


def test_a_slave_does_not_load_the_masters_side() -> None:
    loaded = loaded_by("from slaveproto import SlaveSession, SlaveConfig, HostInfo, Limits, RemoteProtocolError")
    assert "slaveproto.slave.session" in loaded
    assert not {name for name in loaded if name.startswith(("slaveproto.master", "slaveproto.testing"))}


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'slaveproto' has no attribute 'Nonsense'"):
        getattr(slaveproto, "Nonsense")  # noqa: B009  mypy knows that it is not there
    assert set(slaveproto.__all__) <= set(dir(slaveproto))
