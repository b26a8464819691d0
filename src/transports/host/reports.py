"""Reports of performed requests, as a session takes them. Every runner uses this."""

from __future__ import annotations

import errno
from collections.abc import Callable

from slaveproto.errors import HostError
from slaveproto.inputs import Completed, Rejected


def attempt(request: int, action: Callable[[], object]) -> Completed | Rejected:
    """Perform `action` and return the report of it: completed with what it returns, or rejected.

    Args:
        request: the number of the request.
        action: raises OSError if the system refuses, ValueError if Python itself does not hand it to the system, such
            as a null byte in a path.
    """
    try:
        return Completed(request, action())
    except (OSError, ValueError) as error:
        return rejected(request, error)


def rejected(request: int, error: OSError | ValueError) -> Rejected:
    """Return the report of a request that failed; for `ValueError` see `attempt`."""
    if isinstance(error, OSError):
        return Rejected(request, HostError(error.errno or 0, error.strerror or str(error)))
    return Rejected(request, HostError(errno.EINVAL, str(error)))
