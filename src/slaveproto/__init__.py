"""Buildbot's master/slave protocol without I/O.

`slaveproto.wire` is Perspective Broker for anybody. Who embeds a slave takes `SlaveSession` from here, its inputs and
announcements from `slaveproto.slave`, what it requests from `slaveproto.effects`, and `transports.host` to describe the
host.
"""

from slaveproto.errors import CommandError as CommandError
from slaveproto.errors import HostError as HostError
from slaveproto.errors import LocalProtocolError as LocalProtocolError
from slaveproto.errors import RemoteProtocolError as RemoteProtocolError
from slaveproto.errors import SlaveProtoError as SlaveProtoError
from slaveproto.limits import Limits as Limits
from slaveproto.slave import HostInfo as HostInfo
from slaveproto.slave import SlaveConfig as SlaveConfig
from slaveproto.slave import SlaveSession as SlaveSession

__version__ = "0.1.0"
