"""Tests that the module of a command is imported when the command is first started."""

from __future__ import annotations

import sys

import pytest

from slaveproto import commands
from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.errors import CommandError
from tests.commands.support import TEXT


def test_command_that_cannot_be_loaded_fails_and_may_be_there_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "slaveproto.commands.fs", None)
        with pytest.raises(CommandError, match=r"^mkdir cannot be loaded: ") as caught:
            make_script("mkdir", {"dir": "a"}, TEXT, COMMANDS)
        assert caught.value.kind == "builtins.ImportError"
    make_script("mkdir", {"dir": "a"}, TEXT, COMMANDS)


def test_package_has_what_commands_of_others_are_made_of() -> None:
    from slaveproto.commands.process import run_process

    assert commands.run_process is run_process
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        commands.nothing  # type: ignore[attr-defined]  # noqa: B018
