"""The slave's side: `SlaveSession`, what goes into it, and what comes out."""

from slaveproto.inputs import Completed as Completed
from slaveproto.inputs import Disconnected as Disconnected
from slaveproto.inputs import Received as Received
from slaveproto.inputs import Rejected as Rejected
from slaveproto.inputs import Stop as Stop
from slaveproto.inputs import Wakeup as Wakeup
from slaveproto.slave.config import HostInfo as HostInfo
from slaveproto.slave.config import SlaveConfig as SlaveConfig
from slaveproto.slave.events import AskShutdown as AskShutdown
from slaveproto.slave.events import Attached as Attached
from slaveproto.slave.events import AttachRefused as AttachRefused
from slaveproto.slave.events import BuildersListed as BuildersListed
from slaveproto.slave.events import CommandFinished as CommandFinished
from slaveproto.slave.events import CommandStarted as CommandStarted
from slaveproto.slave.events import Connected as Connected
from slaveproto.slave.events import Connecting as Connecting
from slaveproto.slave.events import Detached as Detached
from slaveproto.slave.events import Input as Input
from slaveproto.slave.events import MasterSaid as MasterSaid
from slaveproto.slave.events import SlaveEvent as SlaveEvent
from slaveproto.slave.events import SlaveNotice as SlaveNotice
from slaveproto.slave.events import Start as Start
from slaveproto.slave.events import Stopped as Stopped
from slaveproto.slave.events import WaitingForMaster as WaitingForMaster
from slaveproto.slave.session import SlaveSession as SlaveSession
from slaveproto.slave.states import LinkState as LinkState
