"""What the masters of recorded sessions started, as values and as steps."""

from __future__ import annotations

from typing import Any

from slaveproto.master import (
    AnyStep,
    CopyDirectory,
    DownloadFile,
    Glob,
    ListDirectory,
    LogFile,
    MakeDirectory,
    RemoveDirectory,
    RemoveFile,
    Secret,
    Shell,
    StatFile,
    UploadDirectory,
    UploadFile,
)
from slaveproto.wire.banana import Expression
from tests.wire.test_captures import conversation


def told(expression: Expression) -> Any:
    """What a recorded value says, all text as text, objects as a mark."""
    match expression:
        case bytes():
            return expression.decode("utf-8", "surrogateescape")
        case [b"None"]:
            return None
        case [b"unicode", bytes() as text]:
            return text.decode()
        case [b"boolean", bytes() as word]:
            return word == b"true"
        case [b"remote", _]:
            return "an object"
        case [b"list", *items]:
            return [told(item) for item in items]
        case [b"tuple", *items]:
            return tuple(told(item) for item in items)
        case [b"dictionary", *pairs]:
            return {told(pair[0]): told(pair[1]) for pair in pairs if isinstance(pair, list)}
        case _:
            return expression


def recorded_commands(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The commands that the master of a recorded session started, with their arguments."""
    out = []
    for way, message in conversation(name):
        if way == "m2s" and isinstance(message, list) and len(message) == 7 and message[3] == b"startCommand":
            arguments = message[5]
            assert isinstance(arguments, list)
            out.append((told(arguments[3]), told(arguments[4])))
    return out


def step_for(command: str, said: dict[str, Any]) -> AnyStep:
    """The step that a master has in mind who says this."""
    match command:
        case "shell":
            words = said["command"]
            return Shell(
                command=words if isinstance(words, str) else tuple(_word(word) for word in words),
                workdir=said["workdir"],
                env=said["env"] or {},
                timeout=said["timeout"],
                max_time=said["maxTime"],
                max_lines=said.get("max_lines"),
                logfiles={name: _log_file(file) for name, file in said["logfiles"].items()},
                use_pty=None if said["usePTY"] == "slave-config" else said["usePTY"],
                initial_stdin=None if said.get("initial_stdin") is None else said["initial_stdin"].encode(),
                want_stdout=bool(said["want_stdout"]),
                want_stderr=bool(said["want_stderr"]),
                log_environ=said["logEnviron"],
                interrupt_signal=said.get("interruptSignal", "KILL"),
                sigterm_time=said.get("sigtermTime"),
            )
        case "mkdir":
            return MakeDirectory(dir=said["dir"], workdir="")
        case "rmdir":
            dirs = said["dir"]
            return RemoveDirectory(dirs=(dirs,) if isinstance(dirs, str) else tuple(dirs), workdir="")
        case "cpdir":
            return CopyDirectory(
                source=said["fromdir"], dest=said["todir"], workdir="", timeout=said.get("timeout", 120)
            )
        case "stat":
            return StatFile(file=said["file"], workdir="")
        case "glob":
            return Glob(pattern=said["path"], workdir="")
        case "listdir":
            return ListDirectory(dir=said["dir"], workdir="")
        case "rmfile":
            return RemoveFile(path=said["path"], workdir="")
        case "uploadFile":
            return UploadFile(
                src=said.get("slavesrc") or said["workersrc"],
                dest="/d",
                workdir=said["workdir"],
                max_size=said["maxsize"],
                block_size=said["blocksize"],
                keep_stamp=said.get("keepstamp", False),
            )
        case "uploadDirectory":
            return UploadDirectory(
                src=said.get("slavesrc") or said["workersrc"],
                dest="/d",
                workdir=said["workdir"],
                max_size=said["maxsize"],
                block_size=said["blocksize"],
                compress=said["compress"] or "",
            )
        case _:
            assert command == "downloadFile"
            return DownloadFile(
                src="/s",
                dest=said.get("slavedest") or said["workerdest"],
                workdir=said["workdir"],
                max_size=said["maxsize"],
                block_size=said["blocksize"],
                mode=said["mode"],
            )


def _word(word: Any) -> str | Secret:
    return word if isinstance(word, str) else Secret(word[1], word[2])


def _log_file(file: Any) -> LogFile:
    return LogFile(file) if isinstance(file, str) else LogFile(file["filename"], file["follow"])
