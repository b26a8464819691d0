"""docs/build-file.md names every key that the parser knows, with its default, and no other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from slaveproto.ci import schedule
from slaveproto.ci.file import build_file, conditions, notices
from slaveproto.ci.file import steps as build_steps
from slaveproto.ci.file.git_step import git_step
from slaveproto.master import steps
from slaveproto.master.config import MasterConfig

PAGE = (Path(__file__).parents[2] / "docs" / "build-file.md").read_text()


def tables_under(heading: str) -> list[list[list[str]]]:
    """The tables between a heading and the next, as cells, without their first row."""
    section = re.split(r"^##+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[re.split(r" *\| *", row.strip(" |\n")) for row in block.splitlines()[2:]] for block in blocks]


def documented(heading: str, number: int = 0) -> dict[str, str]:
    """Keys and defaults."""
    return {cells[0].strip("`"): cells[1] for cells in tables_under(heading)[number]}


SHELL = build_steps.ACTIONS["shell"]
OWN_KEYS: dict[str, Any] = {key: kind for action in build_steps.ACTIONS.values() for key, kind in action.keys.items()}
SECTIONS: dict[str, tuple[Mapping[str, Any], *tuple[type, ...]]] = {
    "`[master]`": (build_file.MASTER_KEYS, build_file.MasterSettings, MasterConfig),
    "`[[slave]]`": (build_file.SLAVE_KEYS, build_file.SlaveEntry),
    "`[secret.NAME]`": (build_file.SECRET_KEYS,),
    "`[[notify]]`": (notices.NOTIFY_KEYS, notices.NoticeEntry),
    "`[[builder]]`": (build_file.BUILDER_KEYS, build_file.BuilderEntry),
    "`triggers`": (build_file.TRIGGER_KEYS, schedule.Triggers),
    "Every step": (build_steps.COMMON, steps.Step),
    "`shell`": (SHELL.beside, steps.Shell),
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_keys(heading: str) -> None:
    keys, *_ = SECTIONS[heading]
    assert list(documented(heading)) == list(keys)


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        return "{}"
    if isinstance(value, tuple):
        return str(value[0]) if len(value) == 1 else str(list(value))
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


@pytest.mark.parametrize("heading", SECTIONS)
def test_defaults(heading: str) -> None:
    """Code in the middle column is the default."""
    _, *kinds = SECTIONS[heading]
    fields: dict[str, Any] = {key: field for kind in kinds for key, field in attrs.fields_dict(kind).items()}
    checked = 0
    for key, default in documented(heading).items():
        if default.startswith("`") and key in fields and fields[key].default not in (None, attrs.NOTHING):
            assert default.split(",")[0].strip("`") == shown(fields[key].default), key
            checked += 1
    assert checked or heading in ("`[[slave]]`", "`[secret.NAME]`", "`triggers`")


def test_special_defaults() -> None:
    assert documented("`[master]`")["listen"] == '`"{}:{}"`'.format(*build_file.DEFAULT_LISTEN)
    assert documented("`[master]`")["state_dir"] == f'`"{build_file.STATE_DIR}"`'
    assert not attrs.fields(steps.Shell).halt_on_failure.default
    assert attrs.fields(schedule.Triggers).change.default is None


def test_conditions() -> None:
    assert list(documented("`run_if`")) == list(conditions.CONDITION_KEYS)
    [row] = [cells for cells in tables_under("`run_if`")[0] if cells[0] == "`result`"]
    assert set(re.findall(r'"([a-z]+)"', row[1])) == set(conditions.RESULTS)


def test_other_steps() -> None:
    rows = {cells[0].strip("`").split()[0]: cells for cells in tables_under("Other steps")[0]}
    assert {"shell", *rows} == set(build_steps.ACTIONS)
    for name, (_, own, beside, _) in rows.items():
        action = build_steps.ACTIONS[name]
        assert re.findall("`(.*?)`", own) == list(action.keys)
        assert re.findall("`(.*?)`", beside) == list(action.beside)


def test_keys_of_files() -> None:
    found = documented("Other steps", 1)
    of_files = set(OWN_KEYS) - {*build_steps.ACTIONS["git"].keys} | {"mode"}
    assert {"src", "dest", "text", "from", "to", *found} == of_files
    fields: Mapping[str, Any] = attrs.fields_dict(steps.UploadDirectory) | attrs.fields_dict(steps.UploadFile)
    for key in ("block_size", "keep_stamp", "unpack_limit", "unpack_entries"):
        assert found[key] == f"`{shown(fields[key].default)}`"
    assert f"{build_steps.MOST_OF_A_BLOCK} at most" in PAGE


def test_git() -> None:
    found = documented("`git`")
    assert list(found) == list(build_steps.ACTIONS["git"].keys)
    defaults = inspect.signature(git_step).parameters
    for key, default in found.items():
        assert key == "url" or default == f"`{shown(defaults[key].default)}`"


def test_triggers_of_changes() -> None:
    row = next(cells for cells in tables_under("`triggers`")[0] if cells[0] == "`change`")
    assert set(re.findall("`([a-z]+)`", row[2])) == {"true", *schedule.CHANGE_KEYS}


@pytest.mark.parametrize("number", range(len(re.findall("```toml", PAGE))))
def test_the_examples_are_right(number: int, tmp_path: Path) -> None:
    (tmp_path / "ex.password").write_text("secret\n")
    text = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[number]
    (tmp_path / "build.toml").write_text(text)
    assert build_file.load(str(tmp_path / "build.toml")).builders
