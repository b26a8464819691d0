"""Steps of a build file: a table of the keys, and how each makes a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from slaveproto.ci.file import values
from slaveproto.ci.file.conditions import StepExtras, condition, free_property_name, pattern
from slaveproto.ci.file.git_step import GOT_REVISION, MODES, git_step
from slaveproto.ci.file.toml_document import At, Kind, of_type, read_table, unknown_key
from slaveproto.master import steps
from slaveproto.master.steps import AnyStep

MOST_OF_A_BLOCK: Final = 640 * 1024


@attrs.frozen
class Action:
    """A kind of step.

    Args:
        make: the step type, or a function with its arguments.
        value: the kind of its key's value; returns arguments for `make`, by name.
        beside: keys that may stand beside it, besides those of all steps.
        keys: keys of its own table; empty if its value is no table.
        sets: the property that becomes what it writes; None for none, or the one that the file names.
    """

    make: Callable[..., AnyStep]
    value: Kind
    beside: Mapping[str, Kind] = attrs.field(factory=dict)
    keys: Mapping[str, Kind] = attrs.field(factory=dict)
    sets: str | None = None


def read_step(at: At, value: object) -> tuple[AnyStep, StepExtras]:
    """Return the step that a table describes, and what the master is to do with it besides.

    Raises:
        UsageError: it describes none, or has a wrong key or value.
    """
    table = of_type(at, value, dict)
    named = [key for key in table if key in ACTIONS]
    if not named:
        for key in table:
            if key not in COMMON and not any(key in action.beside for action in ACTIONS.values()):
                raise unknown_key(at, key, (*ACTIONS, "use", *COMMON))
        raise at.wrong(f"does nothing; it should have one of {', '.join(ACTIONS)}, or use")
    if len(named) > 1:
        raise at.key(named[1]).wrong(f"cannot be in the same step as {named[0]}")
    name = named[0]
    action = ACTIONS[name]
    given = read_table(at, table, {name: action.value, **action.beside, **COMMON})
    if "set_property" in given and given.get("want_stdout") is False:
        raise at.key("set_property").wrong("needs what the command writes; want_stdout is false")
    # What fails the build ends it, also where that is not Buildbot's tradition.
    given.setdefault("halt_on_failure", given.get("flunk_on_failure", True))
    named_extras = {key: given.pop(key) for key in attrs.fields_dict(StepExtras) if key in given}
    extras = StepExtras(**{"set_property": action.sets, **named_extras})
    return action.make(**given.pop(name), **given), extras


def _alone(make: Callable[..., AnyStep], argument: str, kind: Kind, **beside: Kind) -> Action:
    return Action(make, lambda at, value: {argument: kind(at, value)}, beside)


def _table(
    make: Callable[..., AnyStep],
    required: Sequence[str],
    keys: Mapping[str, Kind],
    /,
    *,
    names: Mapping[str, str] | None = None,
    sets: str | None = None,
    **beside: Kind,
) -> Action:
    """Return an action whose key has a table; `names` maps a key to its argument, where the two differ."""
    called = names or {}

    def value(at: At, value: object) -> dict[str, Any]:
        return {called.get(key, key): meant for key, meant in read_table(at, value, keys, required).items()}

    return Action(make, value, beside, keys, sets)


def _compress(at: At, value: object) -> str:
    found = values.one_of(("gz", "bz2", "none"))(at, value)
    return "" if found == "none" else str(found)


_BLOCK_SIZE: Final = values.count_from(1, MOST_OF_A_BLOCK)
_SIZE: Final = values.count_from(0)

COMMON: Final[dict[str, Kind]] = {
    "name": values.text,
    "workdir": values.worded_text,
    "halt_on_failure": values.flag,
    "flunk_on_failure": values.flag,
    "warn_on_failure": values.flag,
    "flunk_on_warnings": values.flag,
    "warn_on_warnings": values.flag,
    "always_run": values.flag,
    "timeout": values.seconds_or_never,
    "max_time": values.seconds_or_never,
    "run_if": condition,
}
"""Keys that any step may have."""

ACTIONS: Final[dict[str, Action]] = {
    "shell": _alone(
        steps.Shell,
        "command",
        values.command,
        env=values.environment,
        max_lines=values.count_from(1),
        logfiles=values.log_files,
        use_pty=values.flag,
        initial_stdin=values.raw_text,
        want_stdout=values.flag,
        want_stderr=values.flag,
        log_environ=values.flag,
        interrupt_signal=values.one_of(values.SIGNALS),
        sigterm_time=values.positive_seconds,
        kill_leftovers=values.flag,
        success_rc=values.exit_codes,
        warnings_rc=values.exit_codes,
        set_property=free_property_name,
        warning_pattern=pattern,
    ),
    "mkdir": _alone(steps.MakeDirectory, "dir", values.worded_text),
    "rmdir": _alone(steps.RemoveDirectory, "dirs", values.worded_texts),
    "copy": _table(
        steps.CopyDirectory,
        ("from", "to"),
        {"from": values.worded_text, "to": values.worded_text},
        names={"from": "source", "to": "dest"},
    ),
    "rmfile": _alone(steps.RemoveFile, "path", values.worded_text),
    "stat": _alone(steps.StatFile, "file", values.worded_text),
    "glob": _alone(steps.Glob, "pattern", values.worded_text),
    "listdir": _alone(steps.ListDirectory, "dir", values.worded_text),
    "upload": _table(
        steps.UploadFile,
        ("src", "dest"),
        {
            "src": values.worded_text,
            "dest": values.worded_beside,
            "max_size": _SIZE,
            "block_size": _BLOCK_SIZE,
            "mode": values.mode,
            "keep_stamp": values.flag,
        },
    ),
    "upload_dir": _table(
        steps.UploadDirectory,
        ("src", "dest"),
        {
            "src": values.worded_text,
            "dest": values.worded_beside,
            "compress": _compress,
            "max_size": _SIZE,
            "block_size": _BLOCK_SIZE,
            "unpack_limit": _SIZE,
            "unpack_entries": _SIZE,
        },
    ),
    "download": _table(
        steps.DownloadFile,
        ("src", "dest"),
        {
            "src": values.worded_beside,
            "dest": values.worded_text,
            "max_size": _SIZE,
            "block_size": _BLOCK_SIZE,
            "mode": values.mode,
        },
    ),
    "download_string": _table(
        steps.DownloadString,
        ("text", "dest"),
        {"text": values.raw_text, "dest": values.worded_text, "block_size": _BLOCK_SIZE, "mode": values.mode},
        names={"text": "data"},
    ),
    "git": _table(
        git_step,
        ("url",),
        {
            "url": values.word,
            "branch": values.worded_any_text,
            "revision": values.worded_any_text,
            "mode": values.one_of(MODES),
            "submodules": values.flag,
            "retries": values.count_from(0, 100),
        },
        sets=GOT_REVISION,
        env=values.environment,
    ),
}
"""Actions by their key."""
