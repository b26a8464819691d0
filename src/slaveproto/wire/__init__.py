"""Perspective Broker without Twisted and without I/O. `Connection` is the way in."""

from slaveproto.wire.banana import NEED_DATA as NEED_DATA
from slaveproto.wire.banana import NeedData as NeedData
from slaveproto.wire.connection import Connection as Connection
from slaveproto.wire.connection import Role as Role
from slaveproto.wire.events import Answered as Answered
from slaveproto.wire.events import Call as Call
from slaveproto.wire.events import CallLost as CallLost
from slaveproto.wire.events import Closed as Closed
from slaveproto.wire.events import Event as Event
from slaveproto.wire.events import Failed as Failed
from slaveproto.wire.events import NotUnderstood as NotUnderstood
from slaveproto.wire.events import Opened as Opened
from slaveproto.wire.events import Refused as Refused
from slaveproto.wire.events import Released as Released
from slaveproto.wire.login import ClientLogin as ClientLogin
from slaveproto.wire.login import LoggedIn as LoggedIn
from slaveproto.wire.login import LoginRefused as LoginRefused
from slaveproto.wire.login import digest as digest
from slaveproto.wire.values import Copied as Copied
from slaveproto.wire.values import Failure as Failure
from slaveproto.wire.values import Local as Local
from slaveproto.wire.values import Remote as Remote
from slaveproto.wire.values import Unpersistable as Unpersistable
from slaveproto.wire.values import Value as Value
from slaveproto.wire.values import remotes_in as remotes_in
