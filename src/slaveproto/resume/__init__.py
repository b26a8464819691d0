"""A stream of bytes that outlives its connections, for any protocol over it.

`ResumingClient` connects, `ResumingServer` listens. Both are fed bytes and the time, and hand out bytes, events and one
deadline. Nothing is lost and nothing comes twice, as long as the other end comes back within the patience of the
policy.
"""

from __future__ import annotations

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
