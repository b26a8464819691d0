"""Buildbot's master/slave protocol without I/O: Perspective Broker, the slave's side and the master's side.

`Connection` is Perspective Broker alone, `SlaveSession` a slave, and `MasterSession` a master. This package has these
three, what their constructors take, and the errors. Inputs and announcements are in `slaveproto.slave` and
`slaveproto.master`, requests in `slaveproto.effects`; `transports.host.describe` describes a slave's host.

A name is imported when it is first used, so that a program which only runs slaves does not load the master's side.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from slaveproto.errors import CommandError, HostError, LocalProtocolError, RemoteProtocolError, SlaveProtoError
    from slaveproto.limits import Limits
    from slaveproto.master import Account, ChangeAccount, GuestAccount, MasterConfig, MasterSession, SlaveAccount
    from slaveproto.slave import HostInfo, SlaveConfig, SlaveSession
    from slaveproto.wire import Connection, Local, Role

__all__ = [
    "Account",
    "ChangeAccount",
    "CommandError",
    "Connection",
    "GuestAccount",
    "HostError",
    "HostInfo",
    "Limits",
    "Local",
    "LocalProtocolError",
    "MasterConfig",
    "MasterSession",
    "RemoteProtocolError",
    "Role",
    "SlaveAccount",
    "SlaveConfig",
    "SlaveProtoError",
    "SlaveSession",
    "__version__",
]

__version__: Final = "0.1.0"

# Type checkers look at the imports above, and then know which names there are not.
if not TYPE_CHECKING:

    def __getattr__(name):
        """Return what `name` stands for, and keep it."""
        if name not in __all__:
            raise AttributeError(f"module 'slaveproto' has no attribute {name!r}")
        if name in ("Connection", "Local", "Role"):
            from slaveproto import wire as home
        elif name in ("HostInfo", "SlaveConfig", "SlaveSession"):
            from slaveproto import slave as home
        elif name == "Limits":
            from slaveproto import limits as home
        elif name.endswith("Error"):
            from slaveproto import errors as home
        else:
            from slaveproto import master as home
        value = globals()[name] = getattr(home, name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
