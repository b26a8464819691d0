"""Runners: they perform what a session asks for, and decide nothing.

`transports.threads` is blocking and needs only the standard library.
"""

from typing import Final

OF_SLAVEPROTO: Final = True
"""The mark of this package, for there is another one of its name on the index."""
