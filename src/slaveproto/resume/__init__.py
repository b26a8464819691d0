"""A stream of bytes that outlives its connections, for any protocol over it.

`ResumingClient` connects, `ResumingServer` listens. Both are fed bytes and the time, and hand out bytes, events and one
deadline. Nothing is lost and nothing comes twice, as long as the other end comes back within the patience of the
policy.

A name is imported when it is first used: a slave whose master offers no stream does not load them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slaveproto.resume.client import ResumingClient
    from slaveproto.resume.events import (
        Arrived,
        CarrierBack,
        CarrierLost,
        CarrierOver,
        ClientEvent,
        DialWanted,
        HangUpWanted,
        PlainCame,
        PlainPeer,
        ServerEvent,
        StreamCame,
        StreamOpened,
        StreamOver,
    )
    from slaveproto.resume.policy import ResumePolicy
    from slaveproto.resume.server import ResumingServer
    from slaveproto.resume.states import StreamState
    from slaveproto.resume.stream import ResumableStream

__all__ = [
    "Arrived",
    "CarrierBack",
    "CarrierLost",
    "CarrierOver",
    "ClientEvent",
    "DialWanted",
    "HangUpWanted",
    "PlainCame",
    "PlainPeer",
    "ResumableStream",
    "ResumePolicy",
    "ResumingClient",
    "ResumingServer",
    "ServerEvent",
    "StreamCame",
    "StreamOpened",
    "StreamOver",
    "StreamState",
]

# Type checkers look at the imports above, and then know which names there are not.
if not TYPE_CHECKING:

    def __getattr__(name):
        """Return what `name` stands for, and keep it."""
        if name not in __all__:
            raise AttributeError(f"module 'slaveproto.resume' has no attribute {name!r}")
        if name == "ResumingClient":
            from slaveproto.resume import client as home
        elif name == "ResumingServer":
            from slaveproto.resume import server as home
        elif name == "ResumePolicy":
            from slaveproto.resume import policy as home
        elif name == "ResumableStream":
            from slaveproto.resume import stream as home
        elif name == "StreamState":
            from slaveproto.resume import states as home
        else:
            from slaveproto.resume import events as home
        value = globals()[name] = getattr(home, name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
