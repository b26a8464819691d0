"""Real Buildbot masters and slaves as test fixtures, and the programs of this project.

Masters and slaves of two generations are known: ``old`` (buildbot 0.8.4p1 and buildbot-slave 0.8.4
on Python 2.7) and ``new`` (buildbot and buildbot-worker 4.3.0); and slaves of a third, ``mid``
(buildbot-slave 0.8.14 on Python 2.7).  They are installed once into a cache folder and everything
they do stays on 127.0.0.1.
"""

from slaveproto.testing.peers.changes import Change, ChangeServer, sendchange
from slaveproto.testing.peers.install import Kind, PeerUnavailable, SlaveKind, install
from slaveproto.testing.peers.master import Builder, BuildResult, Master, StepResult
from slaveproto.testing.peers.our_master import OurBuild, OurBuilds, OurMaster, OurStep
from slaveproto.testing.peers.processes import poll
from slaveproto.testing.peers.slaves import Attachable, OurSlave, OwnSlave, RealSlave, Runner, Shutdown, Slave

__all__ = [
    "Attachable",
    "BuildResult",
    "Builder",
    "Change",
    "ChangeServer",
    "Kind",
    "Master",
    "OurBuild",
    "OurBuilds",
    "OurMaster",
    "OurSlave",
    "OurStep",
    "OwnSlave",
    "PeerUnavailable",
    "RealSlave",
    "Runner",
    "Shutdown",
    "Slave",
    "SlaveKind",
    "StepResult",
    "install",
    "poll",
    "sendchange",
]
