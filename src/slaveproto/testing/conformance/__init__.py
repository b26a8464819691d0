"""Conformance suites: checks for any runner of a `SlaveSession`, and for any runner of a `MasterSession`.

    for check in CHECKS:
        run_check(check, start)
    for check in TLS_CHECKS:
        run_check(check, start_with_tls, ssl_context)
    for check in MASTER_CHECKS:
        run_master_check(check, start, certificate)

`start` begins to drive a session with the runner that is to be checked, and returns at once a `RunningSlave`, or when
it listens a `RunningMaster`: a few methods, called from a thread of the check. A check raises `AssertionError` if the
runner does not do what it must, with what was expected and what came, and `CheckSkipped` if that cannot be found out
here.

Unlike the rest of `slaveproto.testing` this uses real sockets, processes and time, up to a few seconds for each check.
At the other end are a `SocketMaster` and a `SocketSlave`, of use for tests of your own as well.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from slaveproto.testing.conformance import commands, connections, endings, master_checks
from slaveproto.testing.conformance.harness import Check as Check
from slaveproto.testing.conformance.harness import CheckSkipped as CheckSkipped
from slaveproto.testing.conformance.harness import Lab as Lab
from slaveproto.testing.conformance.harness import RunningSlave as RunningSlave
from slaveproto.testing.conformance.harness import StartSlave as StartSlave
from slaveproto.testing.conformance.harness import run_check as run_check
from slaveproto.testing.conformance.harness import wait_until as wait_until
from slaveproto.testing.conformance.master_harness import MasterLab as MasterLab
from slaveproto.testing.conformance.master_harness import RunningMaster as RunningMaster
from slaveproto.testing.conformance.master_harness import StartMaster as StartMaster
from slaveproto.testing.conformance.master_harness import run_master_check as run_master_check
from slaveproto.testing.conformance.socket_master import MasterSocket as MasterSocket
from slaveproto.testing.conformance.socket_master import SocketMaster as SocketMaster
from slaveproto.testing.conformance.socket_master import SocketStep as SocketStep
from slaveproto.testing.conformance.socket_slave import SocketSlave as SocketSlave

SlaveCheck: TypeAlias = Check[Lab]
"""A check of a slave's runner."""

MasterCheck: TypeAlias = Check[MasterLab]
"""A check of a master's runner."""

CHECKS: Sequence[SlaveCheck] = (*commands.SUITE.checks, *connections.SUITE.checks, *endings.SUITE.checks)
"""All checks of a slave's runner."""

_ABOUT_BYTES: Final = ("output_is_complete", "bytes_arrive", "much_goes_in_and_out")
_WITHOUT_MASTER: Final = ("a_peer_that_is_no_master", "a_web_server", "ipv6", "a_host_that", "a_port_where")

TLS_CHECKS: Sequence[SlaveCheck] = (
    *(check for check in commands.SUITE.checks if check.name.startswith(_ABOUT_BYTES)),
    *(check for check in connections.SUITE.checks if not check.name.startswith(_WITHOUT_MASTER)),
    *endings.SUITE.checks,
)
"""Checks of a slave's runner that are worth a repetition with TLS."""

MASTER_CHECKS: Sequence[MasterCheck] = tuple(master_checks.SUITE.checks)
"""All checks of a master's runner."""
