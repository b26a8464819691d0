"""Threads for what may take long, or for ever."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

IDLE = 1.0
"""Seconds that a thread waits for another job before it ends."""


def start_thread(name: str, body: Callable[[], None]) -> None:
    """Run a function in a thread of its own.

    Raises:
        OSError: there are too many threads or processes.
    """
    try:
        threading.Thread(target=body, name=name, daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None


class Workers:
    """Runs each job at once: in a thread that has nothing to do, or in a new one. Jobs raise nothing."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._counting = threading.Lock()
        # Threads that wait for a job, without those for which there is one in the queue.
        self._idle = 0

    def start(self, job: Callable[[], None]) -> None:
        """Run a job; returns at once.

        Raises:
            OSError: no thread can be started.
        """
        if self._reserve():
            self._jobs.put(job)
        else:
            start_thread("worker", partial(self._work, job))

    def close(self) -> None:
        """Let the threads that have nothing to do end."""
        while self._reserve():
            self._jobs.put(None)

    def _reserve(self) -> bool:
        with self._counting:
            if not self._idle:
                return False
            self._idle -= 1
            return True

    def _work(self, job: Callable[[], None] | None) -> None:
        while job is not None:
            job()
            with self._counting:
                self._idle += 1
            try:
                job = self._jobs.get(timeout=IDLE)
            except Empty:
                # One that is reserved already has to wait for its job.
                job = None if self._reserve() else self._jobs.get()
