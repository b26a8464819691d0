"""Buildbot's master/slave protocol without I/O.

`slaveproto.wire` is Perspective Broker alone. To embed a slave, take `SlaveSession` from here, its inputs and
announcements from `slaveproto.slave`, its requests from `slaveproto.effects`, and the description of its host from
`transports.host.describe`.
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
