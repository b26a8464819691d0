"""The environment of a command: the slave's own, changed as the master asks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from slaveproto.commands.context import CommandContext
from slaveproto.errors import CommandError
from slaveproto.wire.values import Value

_VARIABLE = re.compile(r"\$\{([0-9a-zA-Z_]*)\}")


def merged_environ(changes: Value, context: CommandContext) -> dict[str, str]:
    """Return the slave's environment with `changes` applied.

    A value None removes a variable, a list is joined by the path separator, `${NAME}` is the slave's own variable
    (empty if unset). The slave's own PYTHONPATH is appended to a new one, even where it is empty. On Windows all names
    become capitals. Source: `runprocess.py` of buildslave 0.8.14.

    Raises:
        CommandError: the changes are no dictionary, or a value is of another type.
    """
    if changes is None:
        return dict(context.environ)
    if not isinstance(changes, dict):
        raise CommandError("builtins.TypeError", "env should be a dictionary")
    merged = dict(context.environ)
    for key, value in changes.items():
        name = context.variable(context.text("the name of an environment variable", key))
        if value is None:
            merged.pop(name, None)
            continue
        parts = value if isinstance(value, (list, tuple)) else [value]
        words = []
        for part in parts:
            if not isinstance(part, (str, bytes)):
                raise CommandError(
                    "builtins.RuntimeError", f"env: the value of {name!r} should be text or a list of texts"
                )
            words.append(context.text(f"the value of {name}", part))
        if name == "PYTHONPATH":
            words.append(context.environ.get("PYTHONPATH", ""))
        text = context.path_separator.join(words)
        merged[name] = _VARIABLE.sub(lambda match: _own(context, match), text)
    return merged


def shown_environ(changes: Value, context: CommandContext) -> dict[str, str]:
    """Return what `merged_environ` does, without what the master is not told.

    A variable that the master sets itself is shown, whatever its name. In its value `${NAME}` stays as it is if the
    slave's own variable of that name is not told.

    Raises:
        CommandError: as `merged_environ`.
    """
    told = {name: value for name, value in context.environ.items() if name not in context.unlisted}
    return merged_environ(changes, attrs.evolve(context, environ=told))


def _own(context: CommandContext, match: re.Match[str]) -> str:
    name = context.variable(match[1])
    return context.environ.get(name, match[0] if name in context.unlisted else "")


def raw_environ(environ: Mapping[str, str], context: CommandContext) -> dict[bytes, bytes]:
    """Return `environ` as a process gets it.

    Raises:
        CommandError: a name or value cannot be said in the encoding of processes.
    """
    return {
        context.raw("the name of an environment variable", name): context.raw(f"the value of {name}", value)
        for name, value in environ.items()
    }
