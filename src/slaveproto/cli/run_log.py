"""Work of the subcommand `log`."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Final

import attrs

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import state_dir_of
from slaveproto.ci.show.console import STDOUT, say, write_all
from slaveproto.ci.show.terminal import LineSplitter, clean
from slaveproto.ci.store import FILE_NAME, StepRow, Store

PAUSE: Final = 0.3
"""Seconds between two looks at a log that is followed."""

BLOCK: Final = 256 * 1024


def run_log(options: argparse.Namespace) -> int:
    """Show the logs of a build and return 0.

    Raises:
        UsageError: there is no such build, step or log.
    """
    folder = state_dir_of(options.file)
    if not os.path.exists(os.path.join(folder, FILE_NAME)):
        raise UsageError(f"no master has run in {folder}")
    shown = _Shown(folder, options)
    while shown.look() and options.follow:
        time.sleep(PAUSE)
    if options.json:
        rows = [attrs.asdict(step) for step in shown.steps]
        write_all(STDOUT, json.dumps({"build": options.build, "steps": rows}).encode() + b"\n")
    return 0


class _Shown:
    """The part of a build's logs that was shown.

    Args:
        folder: of the state.
        options: of the command line.
    """

    def __init__(self, folder: str, options: argparse.Namespace) -> None:
        self.steps: list[StepRow] = []
        self._folder = folder
        self._options = options
        self._headed: set[int] = set()
        self._ended: set[int] = set()
        self._places: dict[str, int] = {}
        self._lines = LineSplitter()
        # What a build says may not change a terminal.
        self._plain = os.isatty(STDOUT)

    def look(self) -> bool:
        """Show what is new; return whether more may come."""
        store = Store(self._folder, read_only=True)
        try:
            running = store.is_running(self._options.build)
            self.steps = store.steps(self._options.build)
        finally:
            store.close()
        if running is None:
            raise UsageError(f"there is no build {self._options.build}")
        wanted = [step for step in self.steps if self._is_wanted(step)]
        if not wanted and not (running and self._options.follow):
            raise UsageError(f"build {self._options.build} has no step {self._options.step!r}")
        if not self._options.json:
            for step in wanted:
                self._show(step)
        return running

    def _is_wanted(self, step: StepRow) -> bool:
        return self._options.step in (None, step.name, str(step.number))

    def _show(self, step: StepRow) -> None:
        log, whole = self._options.log, self._options.step is None
        path = step.logs.get(log)
        if path is None and not whole and step.result is not None:
            has = ", ".join(step.logs) or "none"
            raise UsageError(f"step {step.number} of build {self._options.build} has no log {log!r}; there are: {has}")
        if whole and step.number not in self._headed:
            self._headed.add(step.number)
            say(STDOUT, f"== {step.number}. {step.name}")
        if path is not None:
            self._show_file(os.path.join(self._folder, path))
        if step.result is not None and step.number not in self._ended:
            self._ended.add(step.number)
            self._write_lines(self._lines.end())
            if whole:
                elapsed = "" if step.elapsed is None else f" in {step.elapsed:.1f} s"
                say(STDOUT, f"== {step.result}{elapsed}{f': {step.why}' if step.why else ''}")

    def _show_file(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                file.seek(self._places.get(path, 0))
                while data := file.read(BLOCK):
                    if self._plain:
                        self._write_lines(self._lines.feed(data))
                    else:
                        write_all(STDOUT, data)
                self._places[path] = file.tell()
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None

    def _write_lines(self, lines: list[bytes]) -> None:
        for line in lines:
            write_all(STDOUT, f"{clean(line, colours=True)}\n".encode())
