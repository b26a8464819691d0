"""Test tools: playbooks of scripts, a host in memory, and scripted peers for sessions. Nothing here waits.

`play` runs one script against a list of steps, in the order in which they happen:

    play(
        make_script("mkdir", {"dir": "a"}, context, COMMANDS),
        wants(MakeDirs("/slave/builder/a")),
        fails(HostError(13, "Permission denied")),
        sends_text("header", "mkdir: Permission denied: /slave/builder/a\\n"),
        sends("rc", 13),
        ends(),
    )

`SessionDriver` runs a whole `SlaveSession`: a `MemoryHost` performs its requests, and the master at the other end of
the connection is a `ScriptedMaster`, which makes the calls of a real one when you say so.

`MasterDriver` runs a whole `MasterSession`, with any number of peers: a `ScriptedSlave` answers as slaves of its
generation do, an `OwnSlave` is a slave session with a host of its own, and a `RawPeer` says the bytes that you give it.
"""

from slaveproto.testing.driver import SessionDriver as SessionDriver
from slaveproto.testing.master_driver import DriverPeer as DriverPeer
from slaveproto.testing.master_driver import MasterDriver as MasterDriver
from slaveproto.testing.master_driver import MasterLink as MasterLink
from slaveproto.testing.master_driver import OwnSlave as OwnSlave
from slaveproto.testing.master_driver import RawPeer as RawPeer
from slaveproto.testing.memory_host import SIGNAL_NUMBERS as SIGNAL_NUMBERS
from slaveproto.testing.memory_host import MemoryChild as MemoryChild
from slaveproto.testing.memory_host import MemoryHost as MemoryHost
from slaveproto.testing.playbook import Ended as Ended
from slaveproto.testing.playbook import PlayStep as PlayStep
from slaveproto.testing.playbook import Said as Said
from slaveproto.testing.playbook import ScriptRun as ScriptRun
from slaveproto.testing.playbook import after as after
from slaveproto.testing.playbook import ends as ends
from slaveproto.testing.playbook import ends_with as ends_with
from slaveproto.testing.playbook import fails as fails
from slaveproto.testing.playbook import output_unread as output_unread
from slaveproto.testing.playbook import play as play
from slaveproto.testing.playbook import replies as replies
from slaveproto.testing.playbook import sends as sends
from slaveproto.testing.playbook import sends_text as sends_text
from slaveproto.testing.playbook import tells as tells
from slaveproto.testing.playbook import wants as wants
from slaveproto.testing.scripted_end import CallRefused as CallRefused
from slaveproto.testing.scripted_end import ConnectionLost as ConnectionLost
from slaveproto.testing.scripted_master import MasterCommand as MasterCommand
from slaveproto.testing.scripted_master import ScriptedMaster as ScriptedMaster
from slaveproto.testing.scripted_slave import GENERATIONS as GENERATIONS
from slaveproto.testing.scripted_slave import Generation as Generation
from slaveproto.testing.scripted_slave import HeardCall as HeardCall
from slaveproto.testing.scripted_slave import ScriptedSlave as ScriptedSlave
from slaveproto.testing.scripted_slave import SlaveCommand as SlaveCommand
