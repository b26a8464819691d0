"""The program `slaveproto relay`, as a process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator


class RelayProgram:
    """A relay that was started."""

    def __init__(self, *arguments: str) -> None:
        call = [sys.executable, "-m", "slaveproto", "relay", "--listen", "127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.first = self.process.stderr.readline()
        self.port = int(self.first.partition("listening on 127.0.0.1:")[2].partition(",")[0])

    def end(self, *signals: int) -> tuple[int, str, str]:
        for number in signals:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


@contextlib.contextmanager
def relay_program(*arguments: str) -> Iterator[RelayProgram]:
    started = RelayProgram(*arguments)
    with started.process:
        try:
            yield started
        finally:
            started.process.kill()
