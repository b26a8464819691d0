"""Jobs: what Windows has for a process and all that it starts.

Source: Microsoft's documentation of the Windows API, but for `NtResumeProcess`, which it does not describe: it lets all
threads of a process run, and has been there since Windows XP.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from ctypes import c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Final

import attrs

_ACCOUNTING: Final = 1
_EXTENDED_LIMITS: Final = 9
_KILL_ON_JOB_CLOSE: Final = 0x2000

# PROCESS_TERMINATE | PROCESS_SET_QUOTA | PROCESS_SUSPEND_RESUME
_ACCESS: Final = 0x0001 | 0x0100 | 0x0800

_CTRL_BREAK_EVENT: Final = 1


class Accounting(ctypes.Structure):
    """JOBOBJECT_BASIC_ACCOUNTING_INFORMATION."""

    _fields_ = (
        ("times", c_int64 * 4),
        ("page_faults", c_uint32),
        ("processes", c_uint32),
        ("active", c_uint32),
        ("terminated", c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("times", c_int64 * 2),
        ("flags", c_uint32),
        ("working_set", c_size_t * 2),
        ("active", c_uint32),
        ("affinity", c_size_t),
        ("priority", c_uint32),
        ("scheduling", c_uint32),
        ("io", c_uint64 * 6),
        ("memory", c_size_t * 4),
    )


@attrs.frozen
class Jobs:
    """Functions for jobs. All raise OSError.

    Args:
        create: makes an empty job and returns its handle. What is in it dies with the last handle, unless released.
        adopt: puts a process, by its number, into a job, and lets it run if it is suspended. What it starts from then
            on is in the job, too.
        count: tells how many processes of a job run.
        terminate: ends all of them at once; their exit code is 1.
        release: lets go of a job: what is still in it runs on.
        send_break: tells all processes of a group and of our console that Ctrl-Break was pressed.
    """

    create: Callable[[], int]
    adopt: Callable[[int, int], None]
    count: Callable[[int], int]
    terminate: Callable[[int], None]
    release: Callable[[int], None]
    send_break: Callable[[int], None]


def bind(kernel32: Any, ntdll: Any, last_error: Callable[[], OSError]) -> Jobs:
    """Return what can be done with jobs through these libraries.

    Args:
        kernel32: the library of that name.
        ntdll: the library of that name.
        last_error: returns the reason of the last failure.
    """
    pointer = c_void_p
    for function, result, *parameters in (
        (kernel32.CreateJobObjectW, pointer, pointer, pointer),
        (kernel32.SetInformationJobObject, c_int32, pointer, c_int32, pointer, c_uint32),
        (kernel32.QueryInformationJobObject, c_int32, pointer, c_int32, pointer, c_uint32, pointer),
        (kernel32.AssignProcessToJobObject, c_int32, pointer, pointer),
        (kernel32.TerminateJobObject, c_int32, pointer, c_uint32),
        (kernel32.OpenProcess, pointer, c_uint32, c_int32, c_uint32),
        (kernel32.CloseHandle, c_int32, pointer),
        (kernel32.GenerateConsoleCtrlEvent, c_int32, c_uint32, c_uint32),
        (ntdll.NtResumeProcess, c_int32, pointer),
    ):
        function.restype, function.argtypes = result, parameters

    def check(result: int | None) -> int:
        if not result:
            raise last_error()
        return result

    def limit(job: int, flags: int) -> None:
        limits = ExtendedLimits(flags=flags)
        check(kernel32.SetInformationJobObject(job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)))

    def create() -> int:
        job = check(kernel32.CreateJobObjectW(None, None))
        try:
            limit(job, _KILL_ON_JOB_CLOSE)
        except OSError:
            kernel32.CloseHandle(job)
            raise
        return job

    def adopt(job: int, pid: int) -> None:
        process = check(kernel32.OpenProcess(_ACCESS, False, pid))
        try:
            check(kernel32.AssignProcessToJobObject(job, process))
            status = ntdll.NtResumeProcess(process)
            if status < 0:
                raise OSError(0, f"a process cannot be resumed: status {status & 0xFFFFFFFF:#x}")
        finally:
            kernel32.CloseHandle(process)

    def count(job: int) -> int:
        found = Accounting()
        check(kernel32.QueryInformationJobObject(job, _ACCOUNTING, ctypes.byref(found), ctypes.sizeof(found), None))
        active: int = found.active
        return active

    def terminate(job: int) -> None:
        check(kernel32.TerminateJobObject(job, 1))

    def release(job: int) -> None:
        try:
            limit(job, 0)
        finally:
            kernel32.CloseHandle(job)

    def send_break(group: int) -> None:
        check(kernel32.GenerateConsoleCtrlEvent(_CTRL_BREAK_EVENT, group))

    return Jobs(create, adopt, count, terminate, release, send_break)


def load() -> Jobs:
    """Return what this Windows can do with jobs.

    Raises:
        OSError: this is no Windows.
    """
    if sys.platform == "win32":
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        return bind(kernel32, ctypes.WinDLL("ntdll"), lambda: ctypes.WinError(ctypes.get_last_error()))
    else:
        raise OSError(0, "only Windows has jobs")
