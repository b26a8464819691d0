"""The `shell` command.

Source: manual page, section "Building"; `commands/shell.py` of buildslave 0.8.4, 0.8.14 and buildbot-worker 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from slaveproto.commands.arguments import count, seconds
from slaveproto.commands.context import CommandContext
from slaveproto.commands.environ import merged_environ, shown_environ
from slaveproto.commands.process import ProcessSpec, Words, run_process
from slaveproto.effects import Script
from slaveproto.errors import CommandError
from slaveproto.wire.values import Value


def shell(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """Return the script of one run.

    Raises:
        CommandError: an argument is not of the type that it should be.
    """
    get = arguments.get
    command, hidden = _command(arguments["command"], context)
    stdin = get("initial_stdin")
    asked = get("usePTY")
    left_to_us = asked is None or asked in ("slave-config", b"slave-config")
    wants_pty = context.use_pty if left_to_us else bool(asked)
    # To be closed, standard input has to be a pipe.
    impossible = stdin is not None or not context.posix
    spec = ProcessSpec(
        command=command,
        shown=hidden,
        workdir=context.path(arguments["workdir"]),
        environ={},
        streams=frozenset(name for name in ("stdout", "stderr") if get(f"want_{name}", True)),
        stdin=None if stdin is None else context.raw("initial_stdin", stdin),
        use_pty=wants_pty and not impossible,
        pty_refused=wants_pty and impossible and not left_to_us,
        silence=seconds("timeout", get("timeout")),
        lifetime=seconds("maxTime", get("maxTime")),
        max_lines=count("max_lines", get("max_lines")),
        signal=_signal_name(get("interruptSignal"), context),
        patience=seconds("sigtermTime", get("sigtermTime")),
        kill_leftovers=context.kill_leftovers if get("kill_leftovers") is None else bool(get("kill_leftovers")),
        logfiles=get("logfiles"),
    )
    return _run(spec, get("env") or None, context, show=bool(get("logEnviron", True)))


def _run(spec: ProcessSpec, env: Value, context: CommandContext, *, show: bool) -> Script[None]:
    # From here on the command has been started as far as the master is concerned: what goes wrong ends it.
    environ = {**merged_environ(env, context), "PWD": spec.workdir}
    shown = environ
    if context.unlisted:
        shown = {**shown_environ(env, context), "PWD": spec.workdir}
    spec = attrs.evolve(spec, environ=environ, shown_environ=shown if show else None)
    yield from run_process(spec, context, send_rc=True)


def _command(value: Value, context: CommandContext) -> tuple[Words, Words]:
    """Return the command, and the same as it may be shown."""
    if isinstance(value, (bytes, str)):
        return value, value
    if not isinstance(value, (list, tuple)):
        raise CommandError("builtins.TypeError", f"command should be a list or text, not {type(value).__name__}")
    real: list[bytes | str] = []
    public: list[bytes | str] = []
    for word in value:
        match word:
            case (("obfuscated" | b"obfuscated"), (bytes() | str()) as secret, (bytes() | str()) as stand_in):
                real.append(secret)
                public.append(stand_in)
            case bytes() | str():
                real.append(word)
                public.append(word)
            case int() | float():
                real.append(str(word).encode())
                public.append(str(word).encode())
            case _:
                raise CommandError("builtins.TypeError", f"command should hold texts, not a {type(word).__name__}")
    return real, public


def _signal_name(value: Value, context: CommandContext) -> str:
    if value is None:
        return "KILL"
    name = context.text("interruptSignal", value).upper().removeprefix("SIG")
    if not name.isalnum():
        raise CommandError("builtins.ValueError", f"there is no signal {name!r}")
    return name


SCRIPTS: Final = {"shell": shell}
