"""Drives scripts: a `Task` holds one generator and what it waits for, the `TaskPool` all of them and their requests.

Rules. A script always runs to its end, also when nobody cares for its result any more. It is never resumed from inside
itself. An exception that leaves it ends only this task.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import attrs

from slaveproto.effects import (
    Abandon,
    Begin,
    BeginCall,
    Cancel,
    Effect,
    EffectDone,
    FileEffect,
    Heard,
    HostEffect,
    NextEvent,
    Now,
    OutputUnread,
    ProcessClosed,
    ProcessEvent,
    ProcessExited,
    ProcessOutput,
    ReadFile,
    Request,
    Script,
    ScriptEvent,
    SendItem,
    SendText,
    SetTimer,
    Signal,
    Spawn,
    TimerFired,
)
from slaveproto.errors import CommandError, HostError, LocalProtocolError
from slaveproto.timers import Timers
from slaveproto.updates import UpdateBuffer
from slaveproto.wire.values import Failure, Remote, Value

_LONGEST_MESSAGE: Final = 4000


def failure_of(kind: str, message: str) -> Failure:
    """Return a failure that can be sent, however much its message quotes of what the master sent."""
    return Failure(kind, message[:_LONGEST_MESSAGE])


class Task:
    """One running script.

    Args:
        script: the generator; it is started by `start`.
        updates: where its updates go; a script without one may not send any.
    """

    def __init__(self, script: Script[Value], updates: UpdateBuffer | None = None) -> None:
        self._script = script
        self.updates = updates
        self._mailbox: deque[ScriptEvent] = deque()
        self._timers: Timers[str] = Timers()
        self._listening = False
        self._mailbox_size = 0
        self.output_unread = False
        self.done = False
        self.result: Value = None
        self.failure: Failure | None = None
        self.rc: int | None = None
        self.pool: TaskPool | None = None

    @property
    def deadline(self) -> float | None:
        """When `look` has something to do; None while there is nothing that time alone would change."""
        return self._timers.deadline if self._listening else None

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait here for somebody, roughly."""
        return self._mailbox_size + (self.updates.size if self.updates is not None else 0)

    @property
    def audible(self) -> bool:
        """Whether anybody listens to what it sends."""
        return True

    def finished(self, now: float) -> None:
        """The script is at its end; called once."""

    def begin(self, effect: FileEffect) -> int:
        """Ask the host for something without waiting; returns the number of it."""
        if self.pool is None:
            raise TypeError(f"a script cannot ask for {effect!r} here")
        return self.pool.begin(self, effect)

    def begin_call(self, target: Remote, method: str, args: tuple[Value, ...]) -> int:
        """Call the master without waiting; returns the number of the call.

        Raises:
            LocalProtocolError: it cannot be sent.
        """
        raise TypeError("a script cannot call the master here")

    def start(self, now: float) -> HostEffect | None:
        """Run to the first wait. Like all of these, returns an effect of the outer ring if it waits for one."""
        return self._run(None, None, now)

    def reply(self, value: object, now: float) -> HostEffect | None:
        """Give the reply to the effect that the script waits for."""
        return self._run(value, None, now)

    def reject(self, error: HostError, now: float) -> HostEffect | None:
        """Throw the failure of the effect that the script waits for."""
        return self._run(None, error, now)

    def tell(self, event: ScriptEvent, now: float) -> HostEffect | None:
        """Put an event into the mailbox; the script takes it when it asks for one."""
        self.put(event)
        return self.look(now)

    def put(self, event: ScriptEvent) -> None:
        """Put an event into the mailbox for the next time that somebody looks."""
        if not self.done:
            self._mailbox.append(event)
            self._mailbox_size += len(event.data) if isinstance(event, ProcessOutput) else 0

    def look(self, now: float) -> HostEffect | None:
        """Resume the script if it listens and something is there for it."""
        if not self._listening:
            return None
        event = self._next_event(now)
        if event is None:
            return None
        self._listening = False
        return self._run(event, None, now)

    def _next_event(self, now: float) -> ScriptEvent | None:
        if self._mailbox:
            event = self._mailbox.popleft()
            self._mailbox_size -= len(event.data) if isinstance(event, ProcessOutput) else 0
            return event
        # One at a time: what the first does may set or cancel the others.
        when = self._timers.deadline
        if when is None or when > now:
            return None
        expired = self._timers.pop_expired(when)
        for key in expired[1:]:
            self._timers.set(key, when)
        return TimerFired(expired[0])

    def _run(self, value: object, error: Exception | None, now: float) -> HostEffect | None:
        try:
            while True:
                effect = self._script.send(value) if error is None else self._script.throw(error)
                value, error = None, None
                if isinstance(effect, HostEffect):
                    return effect
                if isinstance(effect, NextEvent):
                    value = self._next_event(now)
                    if value is None:
                        self._listening = True
                        return None
                else:
                    try:
                        value = self._inner(effect, now)
                    except Exception as mistake:
                        # It belongs to the script that asked.
                        error = mistake
        except StopIteration as end:
            self.result = end.value
        except CommandError as failure:
            self.failure = failure_of(failure.kind, str(failure))
        except HostError as failure:
            self.failure = failure_of("builtins.OSError", f"[Errno {failure.errno}] {failure.strerror}")
        except Exception as failure:
            # A script may be somebody else's: whatever goes wrong in it must still end its command.
            self.failure = failure_of(f"{type(failure).__module__}.{type(failure).__qualname__}", str(failure))
        self.done = True
        self._timers.clear()
        self._mailbox.clear()
        self._mailbox_size = 0
        return None

    def _inner(self, effect: Effect[Any], now: float) -> float | bool | int | None:
        if isinstance(effect, SetTimer):
            if effect.after is None:
                self._timers.cancel(effect.key)
            else:
                self._timers.set(effect.key, now + effect.after)
            return None
        if isinstance(effect, Now):
            return now
        if isinstance(effect, OutputUnread):
            return self.output_unread
        if isinstance(effect, Heard):
            return self.audible
        if isinstance(effect, Begin) and isinstance(effect.effect, FileEffect):
            return self.begin(effect.effect)
        if isinstance(effect, BeginCall):
            return self.begin_call(effect.target, effect.method, effect.args)
        if self.updates is not None:
            if isinstance(effect, SendText):
                self.updates.add_text(effect.stream, effect.text, effect.log, now)
                return None
            if isinstance(effect, SendItem):
                if effect.key == "rc" and isinstance(effect.value, int):
                    self.rc = effect.value
                self.updates.add_item(effect.key, effect.value, now)
                return None
        raise TypeError(f"a script cannot ask for {effect!r} here")


@attrs.define
class _OwnedProcess:
    """A process, the task that started it, and the reports of it that are still to come."""

    task: Task
    awaited: set[type] = attrs.field(factory=lambda: {ProcessExited, ProcessClosed})


class TaskPool:
    """Every running script of a session, and the requests that they made of the host."""

    def __init__(self) -> None:
        self.tasks: dict[Task, None] = {}
        self._last = 0
        self._requests: deque[Request] = deque()
        self._waiting: dict[int, Task] = {}
        self._begun: dict[int, Task] = {}
        # Requests whose end nobody waits for any more.
        self._orphaned: set[int] = set()
        self._processes: dict[int, _OwnedProcess] = {}

    @property
    def deadline(self) -> float | None:
        """When `look` has something to do."""
        return min((time for task in self.tasks if (time := task.deadline) is not None), default=None)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in all tasks, roughly."""
        return sum(task.waiting_bytes for task in self.tasks)

    @property
    def pending_bytes(self) -> int:
        """Those of them that scripts are done with: pending updates."""
        return sum(task.updates.size for task in self.tasks if task.updates is not None)

    def request(self, effect: HostEffect) -> int:
        """Ask the host for something and return the request's id."""
        self._last += 1
        self._requests.append(Request(self._last, effect))
        return self._last

    def take_requests(self, *, congested: bool) -> list[Request]:
        """Return the requests to start now; those that make more data stay while `congested`."""
        ready = [r for r in self._requests if not (congested and isinstance(r.effect, ReadFile))]
        self._requests = deque(r for r in self._requests if congested and isinstance(r.effect, ReadFile))
        return ready

    def start(self, task: Task, now: float) -> None:
        """Begin a task."""
        self.tasks[task] = None
        task.pool = self
        self._after(task, task.start(now), now)

    def begin(self, task: Task, effect: FileEffect) -> int:
        """Ask the host for something whose end is an event for `task`."""
        number = self.request(effect)
        self._begun[number] = task
        return number

    def tell(self, task: Task, event: ScriptEvent, now: float) -> None:
        """Give an event to a task."""
        self._after(task, task.tell(event, now), now)

    def on_process(self, event: ProcessEvent, now: float) -> None:
        """Give an event to the task that owns the process; one that nobody owns any more is forgotten."""
        process = self._processes.get(event.process)
        if process is not None:
            process.awaited.discard(type(event))
            if not process.awaited:
                del self._processes[event.process]
            self.tell(process.task, event, now)

    def complete(self, request: int, result: object, now: float) -> None:
        """A request was performed.

        Raises:
            LocalProtocolError: nobody waits for it.
        """
        if request in self._begun:
            self.tell(self._begun.pop(request), EffectDone(request, result), now)
            return
        task = self._waiter(request)
        if task is not None:
            self._after(task, task.reply(result, now), now)

    def reject(self, request: int, error: HostError, now: float) -> None:
        """A request could not be performed; raises as `complete`."""
        if request in self._begun:
            self.tell(self._begun.pop(request), EffectDone(request, None, error), now)
            return
        task = self._waiter(request)
        self._processes.pop(request, None)
        if task is not None:
            self._after(task, task.reject(error, now), now)

    def look(self, now: float, *, output_unread: bool) -> None:
        """Let every task do what is due."""
        for task in list(self.tasks):
            task.output_unread = output_unread
            self._after(task, task.look(now), now)

    def abandon(self) -> None:
        """Kill every process and forget every task."""
        for task in self.tasks:
            self._abandon_what_runs(task)
        self.tasks.clear()
        self._orphaned.update(self._waiting)
        self._waiting.clear()

    def _abandon_what_runs(self, task: Task) -> None:
        for number in [number for number, owner in self._begun.items() if owner is task]:
            del self._begun[number]
            self._orphaned.add(number)
            self._orphaned.add(self.request(Cancel(number)))
        for number in [number for number, process in self._processes.items() if process.task is task]:
            del self._processes[number]
            self._orphaned.add(self.request(Signal(number, "KILL")))
            self._orphaned.add(self.request(Abandon(number)))

    def _waiter(self, request: int) -> Task | None:
        if request in self._orphaned:
            self._orphaned.discard(request)
            return None
        if request not in self._waiting:
            raise LocalProtocolError(f"nobody waits for request {request}")
        return self._waiting.pop(request)

    def _after(self, task: Task, effect: HostEffect | None, now: float) -> None:
        if effect is not None:
            number = self.request(effect)
            self._waiting[number] = task
            if isinstance(effect, Spawn):
                self._processes[number] = _OwnedProcess(task)
            elif isinstance(effect, Abandon):
                self._processes.pop(effect.process, None)
        elif task.done and task in self.tasks:
            del self.tasks[task]
            # A script that fails may leave a process behind, and nobody would read its output any more.
            self._abandon_what_runs(task)
            task.finished(now)
