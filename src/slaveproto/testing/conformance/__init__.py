"""What every runner of a `SlaveSession` has to do, as checks that any runner can be put through.

    for check in CHECKS:
        run_check(check, start)

`start` takes a `SlaveSession`, begins to drive it with the runner that is to be checked, and returns at once a
`RunningSlave`: four methods, called from a thread of the check. A check raises `AssertionError` if the runner does not
do what it must, and `CheckSkipped` if that cannot be found out on this host.

Unlike the rest of `slaveproto.testing` this uses real sockets, processes and time, up to a few seconds for each check.
The master at the other end is a `SocketMaster`, of use for tests of your own as well.
"""

from collections.abc import Sequence

from slaveproto.testing.conformance import commands, connections, endings
from slaveproto.testing.conformance.harness import Check as Check
from slaveproto.testing.conformance.harness import CheckSkipped as CheckSkipped
from slaveproto.testing.conformance.harness import RunningSlave as RunningSlave
from slaveproto.testing.conformance.harness import StartSlave as StartSlave
from slaveproto.testing.conformance.harness import run_check as run_check
from slaveproto.testing.conformance.harness import wait_until as wait_until
from slaveproto.testing.conformance.master import MasterSocket as MasterSocket
from slaveproto.testing.conformance.master import SocketMaster as SocketMaster
from slaveproto.testing.conformance.master import SocketStep as SocketStep

CHECKS: Sequence[Check] = (*commands.SUITE.checks, *connections.SUITE.checks, *endings.SUITE.checks)
"""All of them."""
