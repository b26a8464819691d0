"""Work of the subcommands `trigger` and `builds`."""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import attrs

from slaveproto.ci import control
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import load, state_dir_of
from slaveproto.ci.properties import in_words
from slaveproto.ci.show.console import STDERR, STDOUT, say, write_all
from slaveproto.ci.store import FILE_NAME, BuildRow, Store
from slaveproto.cli.asking import asked_in


def run_trigger(options: argparse.Namespace) -> int:
    """Ask for a build and return the documented exit code.

    Raises:
        UsageError: no master runs, or it does not know the builder.
    """
    file = load(options.file)
    question = {"trigger": options.builder, "wait": options.wait, "properties": asked_in(options)}
    question["file"] = os.path.realpath(options.file)
    line = json.dumps(question).encode() + b"\n"
    if len(line) > control.LONGEST_LINE:
        raise UsageError(f"builder and properties have more than {control.LONGEST_LINE} bytes together")
    with control.connect(file.master.state_dir) as client:
        answers = _answers(client, line)
        taken = next(answers, None)
        if taken is not None and "waiting" in taken:
            say(STDERR, f"slaveproto: the master waits until it can store the request: {taken['waiting']}")
            taken = next(answers, None)
        if taken is None:
            say(STDERR, "slaveproto: the master ended before it answered")
            return 1
        if "error" in taken:
            raise UsageError(f"{file.path}: {taken['error']}")
        if "note" in taken:
            say(STDERR, f"slaveproto: {taken['note']}")
        if not options.wait:
            say(STDOUT, f"request {taken['request']} for {options.builder} is taken")
            return 0
        end = next(answers, None)
    if end is None:
        say(STDERR, "slaveproto: the master ended before the build; it will be built when a master runs again")
        return 1
    say(STDOUT, f"build {end['build']} of {options.builder} on slave {end['slave']}: {end['result']}")
    return 0 if end["result"] in ("success", "warnings") else 1


def _answers(client: socket.socket, question: bytes) -> Iterator[dict[str, Any]]:
    try:
        with client.makefile("rwb") as stream:
            stream.write(question)
            stream.flush()
            for line in stream:
                yield json.loads(line)
    except ConnectionError:
        return


def run_builds(options: argparse.Namespace) -> int:
    """List builds and return 0.

    Raises:
        UsageError: the master has no state, or it cannot be read.
    """
    folder = state_dir_of(options.file)
    if not os.path.exists(os.path.join(folder, FILE_NAME)):
        raise UsageError(f"no master has run in {folder}")
    store = Store(folder, read_only=True)
    try:
        found = store.builds(options.count)
    finally:
        store.close()
    if options.json:
        rows = [attrs.asdict(build) for build in found]
        write_all(STDOUT, json.dumps({"builds": rows}).encode() + b"\n")
    else:
        for build in found:
            say(STDOUT, _line_of(build))
    return 0


def _line_of(build: BuildRow) -> str:
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(build.started))
    elapsed = "" if build.elapsed is None else f" {build.elapsed:.1f} s"
    words = f"{build.builder} on {build.slave}: {build.result or 'running'}{elapsed}"
    asked = in_words(build.properties)
    why = f": {build.why}" if build.why else ""
    return f"{build.id:5} {begun} {words} ({build.reason or 'no reason is known'}){f' {asked}' if asked else ''}{why}"
