"""Real Buildbot masters and slaves as test fixtures.

Two generations of peers are known: ``old`` (buildbot 0.8.4p1 and buildbot-slave 0.8.4 on
Python 2.7) and ``new`` (buildbot and buildbot-worker 4.3.0).  They are installed once into a
cache folder and everything they do stays on 127.0.0.1.
"""

from tests.peers.install import Kind, PeerUnavailable, install
from tests.peers.master import Builder, BuildResult, Master, StepResult
from tests.peers.processes import poll
from tests.peers.slaves import OurSlave, OwnSlave, Slave

__all__ = [
    "BuildResult",
    "Builder",
    "Kind",
    "Master",
    "OurSlave",
    "OwnSlave",
    "PeerUnavailable",
    "Slave",
    "StepResult",
    "install",
    "poll",
]
