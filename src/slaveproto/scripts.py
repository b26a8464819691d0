"""Run scripts: a `Task` is one running generator, a `TaskPool` all tasks of a session and their requests to the host.

Rules.

* A script runs to its end, even if its result is no longer needed; only `TaskPool.abandon` stops it before.
* A script is never resumed from inside itself.
* An exception that leaves a script ends its task and nothing else; `Task.failed` says what becomes of it.
* Each effect has one answer, found by the effect's type: first among the `answers` of the task, then among those of
  the pool. An effect that has none is raised inside the script as TypeError.
* An answer is a function `(task, effect, now)`. It returns the reply; or it returns `WAIT`, and the script stays where
  it is until `TaskPool.reply` or `TaskPool.throw`; or it raises, and the script gets the exception where it yielded.
* A task knows neither its pool nor its session. Its pool asks the task, each time that it has run, when it is due and
  how many bytes wait in it; so looking at the pool costs the same for one task as for a thousand. Whatever changes one
  of these must therefore go through the pool.

To add an effect for one kind of task: derive its class from `Effect[the reply]`, write a method that answers it, and
name both in the task's table, which starts with the rows of `Task`:

    class Attachment(Task):
        def _call(self, effect: CallPeer, now: float) -> object:
            self._calls[self._connection.call(effect.target, effect.method)] = self
            return WAIT     # the session finds the task by the number of the call, and calls `TaskPool.reply`

        answers: ClassVar[Answers] = {**Task.answers, CallPeer: _call}

Not here: what only one of the two sides has. The slave's updates and calls are in `slave.command`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeAlias, cast, get_args

from slaveproto.effects import (
    Abandon,
    Begin,
    Cancel,
    Effect,
    EffectDone,
    FileEffect,
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
    SetTimer,
    Signal,
    Spawn,
    TimerFired,
)
from slaveproto.errors import CallFailed, HostError, LocalProtocolError
from slaveproto.timers import Timers
from slaveproto.wire.values import Failure

_LONGEST_MESSAGE: Final = 4000

WAIT: Final = object()
"""Returned by an answer that has no reply yet."""

Answers: TypeAlias = Mapping[type[Effect[Any]], Callable[[Any, Any, float], object]]
"""The functions that answer effects, by the types of these."""


def failure_of(kind: str, message: str, parents: tuple[str, ...] = ()) -> Failure:
    """Return a failure that can be sent, however much its message quotes of what the peer sent."""
    return Failure(kind, message[:_LONGEST_MESSAGE], parents)


class Task:
    """A running script, its mailbox and its timers.

    All methods that resume the script return None when it waits or is done, else an effect that the pool has to answer.

    Args:
        script: the generator; it is started by `start`.
    """

    answers: ClassVar[Answers]

    def __init__(self, script: Script[Any]) -> None:
        self._script = script
        self._mailbox: deque[object] = deque()
        self._mailbox_bytes = 0
        self._timers: Timers[str] = Timers()
        self._listening = False
        self.done = False
        self.result: Any = None
        self.failure: Failure | None = None

    @property
    def deadline(self) -> float | None:
        """The time at which `look` has something to do; None while time alone changes nothing."""
        return self._timers.deadline if self._listening else None

    @property
    def unheard_bytes(self) -> int:
        """Bytes of output that wait for the script, roughly."""
        return self._mailbox_bytes

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the script is done with and that are not sent yet, roughly."""
        return 0

    def finished(self, now: float) -> None:
        """Do what is left to do at the end of the script; called once."""

    def failed(self, error: Exception) -> None:
        """Take the exception that left the script. Here it becomes the task's `failure`, whatever it is.

        Scripts may be a user's own: whatever goes wrong in one must still end its task.
        """
        match error:
            case CallFailed():
                self.failure = failure_of(error.kind, str(error), error.parents)
            case HostError():
                self.failure = failure_of("builtins.OSError", f"[Errno {error.errno}] {error.strerror}")
            case _:
                self.failure = failure_of(f"{type(error).__module__}.{type(error).__qualname__}", str(error))

    def start(self, now: float) -> Effect[Any] | None:
        """Run to the first wait."""
        return self._run(None, None, now)

    def reply(self, value: object, now: float) -> Effect[Any] | None:
        """Give the script the reply to the effect that it waits for."""
        return self._run(value, None, now)

    def throw(self, error: Exception, now: float) -> Effect[Any] | None:
        """Raise an error inside the script, where it waits."""
        self._listening = False
        return self._run(None, error, now)

    def tell(self, event: object, now: float) -> Effect[Any] | None:
        """Put an event into the mailbox; the script takes it when it asks for one."""
        self.put(event)
        return self.look(now)

    def put(self, event: object) -> None:
        """Put an event into the mailbox without resuming the script."""
        if not self.done:
            self._mailbox.append(event)
            self._mailbox_bytes += len(event.data) if isinstance(event, ProcessOutput) else 0

    def look(self, now: float) -> Effect[Any] | None:
        """Resume the script if it waits for an event and there is one."""
        if not self._listening:
            return None
        event = self._next_event(now)
        if event is None:
            return None
        self._listening = False
        return self._run(event, None, now)

    def _next_event(self, now: float) -> object | None:
        if self._mailbox:
            event = self._mailbox.popleft()
            self._mailbox_bytes -= len(event.data) if isinstance(event, ProcessOutput) else 0
            return event
        # One at a time: what the first does may set or cancel the others.
        when = self._timers.deadline
        if when is None or when > now:
            return None
        expired = self._timers.pop_expired(when)
        for key in expired[1:]:
            self._timers.set(key, when)
        return TimerFired(expired[0])

    def _run(self, value: object, error: Exception | None, now: float) -> Effect[Any] | None:
        try:
            while True:
                effect = self._script.send(value) if error is None else self._script.throw(error)
                answer = self.answers.get(type(effect))
                if answer is None:
                    return effect
                value, error = None, None
                try:
                    value = answer(self, effect, now)
                except Exception as mistake:
                    # It belongs to the script that asked.
                    error = mistake
                if value is WAIT:
                    return None
        except StopIteration as end:
            self.result = end.value
        except Exception as failure:
            self._end()
            self.failed(failure)
            return None
        self._end()
        return None

    def _end(self) -> None:
        self.done = True
        self._timers.clear()
        self._mailbox.clear()
        self._mailbox_bytes = 0

    def _set_timer(self, effect: SetTimer, now: float) -> None:
        if effect.after is None:
            self._timers.cancel(effect.key)
        else:
            self._timers.set(effect.key, now + effect.after)

    def _tell_time(self, effect: Now, now: float) -> float:
        return now

    def _give_event(self, effect: NextEvent, now: float) -> object:
        event = self._next_event(now)
        if event is None:
            self._listening = True
            return WAIT
        return event


Task.answers = {SetTimer: Task._set_timer, Now: Task._tell_time, NextEvent: Task._give_event}


# These two are written out, because a slave's start would pay for what attrs compiles.


class _Process:
    """A process, the task that started it, and the reports of it that are still to come."""

    __slots__ = ("awaited", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.awaited: set[type] = {ProcessExited, ProcessClosed}


class _Standing:
    """The pool's record of one task: what it asked for, and its part of the pool's totals."""

    __slots__ = ("begun", "deadline", "processes", "request", "unheard", "unsent")

    def __init__(self) -> None:
        self.request: int | None = None
        self.begun: dict[int, None] = {}
        self.processes: dict[int, None] = {}
        self.unheard = 0
        self.unsent = 0
        self.deadline: float | None = None


class TaskPool:
    """Every running script of a session, and the requests that they made of the host.

    Attributes:
        tasks: the tasks that are not done, in the order in which they started.
        output_unread: whether the children's output is left unread at present, because the peer takes in nothing.
        unsent_bytes: bytes that scripts are done with and that are not sent yet, roughly.
        waiting_bytes: these, and the bytes of output that wait for scripts.
    """

    def __init__(self) -> None:
        self.tasks: dict[Task, _Standing] = {}
        self.output_unread = False
        self.unsent_bytes = 0
        self.waiting_bytes = 0
        self._due: Timers[Task] = Timers()
        self._last = 0
        self._requests: deque[Request] = deque()
        self._waiting: dict[int, Task] = {}
        self._begun: dict[int, Task] = {}
        self._processes: dict[int, _Process] = {}
        # Requests whose end no task waits for any more.
        self._orphaned: set[int] = set()

    @property
    def deadline(self) -> float | None:
        """The time at which `look` has something to do; None if there is none."""
        return self._due.deadline

    def request(self, effect: HostEffect) -> int:
        """Ask the host for something and return the request's id."""
        self._last += 1
        self._requests.append(Request(self._last, effect))
        return self._last

    def take_requests(self, *, congested: bool) -> list[Request]:
        """Return the requests to start now; those that make more data stay while `congested`."""
        requests, self._requests = self._requests, deque()
        if not congested:
            return list(requests)
        ready: list[Request] = []
        for request in requests:
            (self._requests if isinstance(request.effect, ReadFile) else ready).append(request)
        return ready

    def start(self, task: Task, now: float) -> None:
        """Begin a task."""
        self.tasks[task] = _Standing()
        self._serve(task, task.start(now), now)

    def tell(self, task: Task, event: ScriptEvent, now: float) -> None:
        """Give an event to a task; one that is done does not take it."""
        self._serve(task, task.tell(event, now), now)

    def reply(self, task: Task, value: object, now: float) -> None:
        """Give a task the reply that an answer of its own made it wait for (`WAIT`)."""
        self._serve(task, task.reply(value, now), now)

    def throw(self, task: Task, error: Exception, now: float) -> None:
        """End what a task waits for, whatever it is, with an error; the reply to a request is then ignored."""
        standing = self.tasks.get(task)
        if standing is None:
            return
        if standing.request is not None:
            del self._waiting[standing.request]
            self._orphaned.add(standing.request)
            standing.request = None
        self._serve(task, task.throw(error, now), now)

    def on_process(self, event: ProcessEvent, now: float) -> None:
        """Give an event to the task that owns the process; it is ignored if there is none any more."""
        process = self._processes.get(event.process)
        if process is not None:
            process.awaited.discard(type(event))
            if not process.awaited:
                self._forget_process(event.process)
            self.tell(process.task, event, now)

    def complete(self, request: int, result: object, now: float) -> None:
        """Give the reply of a request to the task that made it.

        Raises:
            LocalProtocolError: there is no such request.
        """
        if request in self._begun:
            self._tell_end(EffectDone(request, result), now)
            return
        task = self._waiter(request)
        if task is not None:
            self._serve(task, task.reply(result, now), now)

    def reject(self, request: int, error: HostError, now: float) -> None:
        """Give the failure of a request to the task that made it; raises as `complete`."""
        if request in self._begun:
            self._tell_end(EffectDone(request, None, error), now)
            return
        task = self._waiter(request)
        self._forget_process(request)
        if task is not None:
            self._serve(task, task.throw(error, now), now)

    def look(self, now: float) -> None:
        """Let every task do what is due."""
        for task in self._due.pop_expired(now):
            standing = self.tasks.get(task)
            if standing is not None:
                standing.deadline = None
                self._serve(task, task.look(now), now)

    def abandon(self) -> None:
        """Kill every process and forget every task."""
        for standing in self.tasks.values():
            self._end_what_runs(standing)
        self.tasks.clear()
        self._due.clear()
        self.unsent_bytes = self.waiting_bytes = 0
        self._orphaned.update(self._waiting)
        self._waiting.clear()

    def _serve(self, task: Task, effect: Effect[Any] | None, now: float) -> None:
        """Answer what a task asks for until it waits or is done, then take note of what became of it."""
        while effect is not None:
            answer = _ANSWERS.get(type(effect))
            if answer is None:
                effect = task.throw(TypeError(f"a script cannot ask for {effect!r} here"), now)
                continue
            try:
                reply = answer(self, task, effect)
            except Exception as mistake:
                effect = task.throw(mistake, now)
                continue
            if reply is WAIT:
                break
            effect = task.reply(reply, now)
        standing = self.tasks.get(task)
        if standing is None:
            return
        if task.done:
            del self.tasks[task]
            self._count(standing, 0, 0)
            self._due.cancel(task)
            # A script that fails may leave a process behind, and its output would wait for ever.
            self._end_what_runs(standing)
            task.finished(now)
            return
        self._count(standing, task.unheard_bytes, task.unsent_bytes)
        deadline = task.deadline
        if deadline != standing.deadline:
            standing.deadline = deadline
            if deadline is None:
                self._due.cancel(task)
            else:
                self._due.set(task, deadline)

    def _count(self, standing: _Standing, unheard: int, unsent: int) -> None:
        self.unsent_bytes += unsent - standing.unsent
        self.waiting_bytes += unheard - standing.unheard + unsent - standing.unsent
        standing.unheard, standing.unsent = unheard, unsent

    def _end_what_runs(self, standing: _Standing) -> None:
        for number in standing.begun:
            del self._begun[number]
            self._orphaned.add(number)
            self._orphaned.add(self.request(Cancel(number)))
        for number in standing.processes:
            del self._processes[number]
            self._orphaned.add(self.request(Signal(number, "KILL")))
            self._orphaned.add(self.request(Abandon(number)))

    def _tell_end(self, event: EffectDone, now: float) -> None:
        task = self._begun.pop(event.number)
        del self.tasks[task].begun[event.number]
        self.tell(task, event, now)

    def _waiter(self, request: int) -> Task | None:
        if request in self._orphaned:
            self._orphaned.discard(request)
            return None
        if request not in self._waiting:
            raise LocalProtocolError(f"there is no request {request} under way")
        task = self._waiting.pop(request)
        self.tasks[task].request = None
        return task

    def _forget_process(self, number: int) -> None:
        process = self._processes.pop(number, None)
        if process is not None:
            self.tasks[process.task].processes.pop(number)

    # -- the answers

    def _ask_host(self, task: Task, effect: HostEffect) -> object:
        number = self.request(effect)
        self._waiting[number] = task
        self.tasks[task].request = number
        return WAIT

    def _spawn(self, task: Task, effect: Spawn) -> object:
        self._ask_host(task, effect)
        self._processes[self._last] = _Process(task)
        self.tasks[task].processes[self._last] = None
        return WAIT

    def _abandon_process(self, task: Task, effect: Abandon) -> object:
        self._forget_process(effect.process)
        return self._ask_host(task, effect)

    def _begin(self, task: Task, effect: Begin) -> int:
        if not isinstance(effect.effect, FileEffect):
            raise TypeError(f"a script cannot begin {effect.effect!r}")
        number = self.request(effect.effect)
        self._begun[number] = task
        self.tasks[task].begun[number] = None
        return number

    def _is_output_unread(self, task: Task, effect: OutputUnread) -> bool:
        return self.output_unread


_PoolAnswer: TypeAlias = "Callable[[TaskPool, Task, Any], object]"

_ANSWERS: Final[Mapping[type[Effect[Any]], _PoolAnswer]] = {
    **dict.fromkeys(get_args(HostEffect), cast("_PoolAnswer", TaskPool._ask_host)),
    Spawn: TaskPool._spawn,
    Abandon: TaskPool._abandon_process,
    Begin: TaskPool._begin,
    OutputUnread: TaskPool._is_output_unread,
}
