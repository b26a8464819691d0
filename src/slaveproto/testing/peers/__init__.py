"""Real Buildbot masters and slaves as test fixtures, and the programs of this project beside them.

Generations: ``old`` (buildbot 0.8.4p1, buildbot-slave 0.8.4, on Python 2.7), ``new`` (buildbot and buildbot-worker
4.3.0), and slaves only of ``mid`` (buildbot-slave 0.8.14 on Python 2.7). Each is installed once, from the package
index, into ``~/.cache/slaveproto/peers`` or the folder that the environment variable ``SLAVEPROTO_PEERS`` names;
``python -m slaveproto.testing.peers install old mid new`` does it ahead of time. `PeerUnavailable` tells why one
cannot be installed here: skip the test then. Everything runs on 127.0.0.1, in a folder that you give. POSIX only.

To test a slave of your own against a real master:

    from slaveproto.testing.peers import RealMaster

    def test_my_slave(tmp_path):
        with RealMaster("new", tmp_path / "master", ["first"], slaves={"bot": "secret"}) as master:
            start_my_slave("127.0.0.1", master.port, "bot", "secret")
            master.wait_attached("bot")
            result = master.build("first")
            assert result.result == "success"
            print(result.steps[0].logs["stdio"])

and a master of your own with a real slave, where ``MyMaster`` has the attributes of `Attachable`:

    with RealSlave(tmp_path / "slave", my_master, "bot", kind="old") as slave:
        slave.wait_attached()

A master's builders are named in ``inside/peer_catalog.py``, each with its steps. `OurSlave`, `OurMaster` and
`OurBuilds` run this project's programs in the same way, and `ChangeServer` and `sendchange` are the two ends of
``buildbot sendchange``.
"""

from slaveproto.testing.peers.changes import ChangeServer, SentChange, sendchange
from slaveproto.testing.peers.install import Kind, PeerUnavailable, SlaveKind, install
from slaveproto.testing.peers.master import BuildResult, RealBuilder, RealMaster, StepResult
from slaveproto.testing.peers.our_master import OurBuild, OurBuilds, OurMaster, OurStep
from slaveproto.testing.peers.processes import poll
from slaveproto.testing.peers.slaves import (
    Attachable,
    MatchingSlave,
    OurSlave,
    RealSlave,
    Runner,
    Shutdown,
    SlaveProgram,
)

__all__ = [
    "Attachable",
    "BuildResult",
    "ChangeServer",
    "Kind",
    "MatchingSlave",
    "OurBuild",
    "OurBuilds",
    "OurMaster",
    "OurSlave",
    "OurStep",
    "PeerUnavailable",
    "RealBuilder",
    "RealMaster",
    "RealSlave",
    "Runner",
    "SentChange",
    "Shutdown",
    "SlaveKind",
    "SlaveProgram",
    "StepResult",
    "install",
    "poll",
    "sendchange",
]
