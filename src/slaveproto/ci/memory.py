"""The store, for tasks: calls in a worker thread, one after the other, and again for as long as the disk refuses.

Rules.

1. Calls wait in two lines. One is for what belongs to builds that run; `new` is for what would begin something:
   requests and changes. Within a line their order is kept, and between the lines as long as storage is well.
2. A call that cannot be stored for now is made again until it is. From the first refusal on storage is *unwell*: the
   line of new things waits, and people are told, once.
3. When the disk is full, the first line may use the reserve. New things may not.
4. Storage is well again when the reserve is there, something could be written, and the first new thing was stored.
5. A master that is stopping does not wait for ever: after `LAST_PATIENCE` it ends, and the next one finds what was
   stored, as after a kill.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import attrs
import trio

from slaveproto.ci.errors import CannotStore
from slaveproto.ci.reserve import Reserve

P = ParamSpec("P")
T = TypeVar("T")

PAUSE: Final = 1.0
"""Seconds between two tries to write what cannot be written."""
LAST_PATIENCE: Final = 10.0


@attrs.define(eq=False)
class _Call:
    """A call of the store that waits for its turn, and then for its caller."""

    number: int
    work: Callable[[], object]
    awaited: bool
    result: Any = None
    error: Exception | None = None
    done: trio.Event = attrs.field(factory=trio.Event)


class Memory:
    """The store, for tasks.

    Args:
        check: writes something that changes nothing.
        reserve: the room for bad times.
        tell: is told what people should know.
        on_change: is told whether new things may begin.
    """

    def __init__(
        self,
        check: Callable[[], None],
        reserve: Reserve,
        tell: Callable[[str], None],
        on_change: Callable[[bool], None],
    ) -> None:
        self._check = check
        self._reserve = reserve
        self._tell = tell
        self._on_change = on_change
        self._running: deque[_Call] = deque()
        self._new: deque[_Call] = deque()
        self._last = 0
        self._changed = trio.Event()
        self._unwell_since: float | None = None
        self._next_check = -math.inf
        self._end = math.inf
        self.full = False
        """Whether what is left of the disk is for the store alone."""
        self.trouble = ""
        """The reason why new things wait; empty if they do not."""

    async def __call__(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the store, for what runs; wait until it could be stored."""
        result: T = await self._result(self._running, lambda: method(*args, **kwargs))
        return result

    def later(self, method: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a method of the store, for what runs, and do not wait. If it fails for good, `run` does."""
        self._wait(self._running, lambda: method(*args, **kwargs), awaited=False)

    async def new(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the store, for what would begin something; wait until it could be stored."""
        result: T = await self._result(self._new, lambda: method(*args, **kwargs))
        return result

    def stop(self) -> None:
        """Wait no longer than `LAST_PATIENCE` for storage that is unwell."""
        self._end = min(self._end, trio.current_time() + LAST_PATIENCE)

    def _wait(self, line: deque[_Call], work: Callable[[], object], *, awaited: bool) -> _Call:
        self._last += 1
        call = _Call(self._last, work, awaited)
        line.append(call)
        self._changed.set()
        return call

    async def _result(self, line: deque[_Call], work: Callable[[], object]) -> Any:
        call = self._wait(line, work, awaited=True)
        await call.done.wait()
        if call.error is not None:
            raise call.error
        return call.result

    async def run(self) -> None:
        """Make the calls, until it is cancelled.

        Raises:
            CannotStore: the master is stopping, and something could not be stored.
        """
        await self._recover()
        while True:
            self._changed = trio.Event()
            line = self._next_line()
            if line:
                await self._try(line)
            elif self._unwell_since is not None:
                with trio.move_on_at(self._next_check):
                    await self._changed.wait()
                if trio.current_time() >= self._next_check and not self._running:
                    await self._recover()
            else:
                await self._changed.wait()

    def _next_line(self) -> deque[_Call]:
        if self._unwell_since is not None:
            return self._running
        return min(self._running, self._new, key=lambda line: line[0].number if line else math.inf)

    async def _try(self, line: deque[_Call]) -> bool:
        """Make the first call of a line; returns whether it is through."""
        call = line[0]
        try:
            call.result = await trio.to_thread.run_sync(call.work)
        except CannotStore as error:
            self._sicken(error)
            if line is self._running and not (error.full and self._reserve.spend()):
                await self._pause(error)
            return False
        except Exception as error:
            if not call.awaited:
                raise
            call.error = error
        line.popleft()
        call.done.set()
        return True

    async def _recover(self) -> None:
        """Find out whether new things may begin."""
        try:
            await trio.to_thread.run_sync(self._reserve.keep)
            await trio.to_thread.run_sync(self._check)
        except CannotStore as error:
            self._sicken(error)
            return
        if self._unwell_since is None or (self._new and not await self._try(self._new)):
            return
        self._tell(f"the state can be stored again, after {trio.current_time() - self._unwell_since:.1f} s")
        self._unwell_since, self.full, self.trouble = None, False, ""
        self._on_change(True)

    def _sicken(self, error: CannotStore) -> None:
        self._next_check = trio.current_time() + PAUSE
        self.full = self.full or error.full
        if self._unwell_since is None:
            self._unwell_since, self.trouble = trio.current_time(), str(error)
            self._tell(f"{error}; what runs goes on, and nothing new is begun until it can be written")
            self._on_change(False)

    async def _pause(self, error: CannotStore) -> None:
        if trio.current_time() >= self._end:
            raise error
        await trio.sleep(PAUSE)
