"""Strangers: connections that have not logged in, counted by the addresses that they come from.

Rules.

* Addresses count in groups: an IPv4 address is one, and so is a network of 64 bits of IPv6, of which a single host may
  have every address. An IPv4 address that is written as one of IPv6 is the IPv4 address.
* A group has a share of the room. Beyond its share its own oldest silent stranger goes, unless that is younger than
  `PATIENCE`: slaves that all come at once from behind one address have said nothing yet, either.
* When there is no room at all, the group with the most strangers loses its oldest silent one. A group from which a
  slave was attached is a home; what it has within its share does not count then, so that its slaves always get in.
* A group that is no home, and whose connections came to nothing too often, is not let in for a while.
* Wrong passwords are limited for each name that is tried from a group, and for a group that is no home altogether. A
  login beyond the limit is refused unseen: a right password, too, for otherwise the limit would be none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from slaveproto.allowances import MOST_KEYS, Allowances

PATIENCE: Final = 1.0
"""Seconds in which a stranger may be silent before it goes for another one of its own group."""

FAILURES: Final = (200, 5.0)
"""Connections of a group that may come to nothing: at once, and a second."""

TRIES: Final = (5, 1 / 20)
"""Wrong passwords for one name from one group: at once, and a second."""

GROUP_TRIES: Final = (100, 5.0)
"""Wrong passwords from one group for all names: at once, and a second."""


def group_of(host: str) -> str:
    """Return the group of an address as the system writes it; any other text is a group of its own."""
    if ":" not in host:
        return host
    # Few masters need it.
    from ipaddress import AddressValueError, IPv6Address

    try:
        address = IPv6Address(host)
    except AddressValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class Strangers:
    """Connections that have not logged in. A registry: it ends none, and says which one has to go."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[int, float]] = {}
        """The time when each connection came, oldest first."""
        self._group: dict[int, str] = {}
        # Those whose slaves were attached last.
        self._homes: OrderedDict[str, None] = OrderedDict()
        self._failures = Allowances[str](*FAILURES)
        self._tries = Allowances[tuple[str, str]](*TRIES)
        self._group_tries = Allowances[str](*GROUP_TRIES)

    def __len__(self) -> int:
        """Return their number."""
        return len(self._group)

    def __contains__(self, connection: int) -> bool:
        """Whether a connection is a stranger's."""
        return connection in self._group

    # -- who comes

    def may_come(self, group: str, now: float) -> bool:
        """Whether a connection of a group is worth looking at."""
        return group in self._homes or self._failures.left(group, now)

    def come(
        self, connection: int, group: str, now: float, *, most: int, share: int, silent: Callable[[int], bool]
    ) -> int | None:
        """Count a connection, and return the one that has to go for it, if any. That may be the new one itself.

        Args:
            connection: its number.
            group: of its address.
            now: in seconds.
            most: how many there may be.
            share: how many of them may be of one group.
            silent: tells whether another one has said nothing yet.
        """
        members = self._groups.setdefault(group, {})
        members[connection] = now
        self._group[connection] = group
        if len(self._group) > most:
            crowd = max(self._groups, key=lambda name: self._weight(name, share))
            return _oldest(self._groups[crowd], connection, silent)
        if len(members) > share:
            oldest = _oldest(members, connection, silent)
            if members[oldest] + PATIENCE <= now:
                return oldest
        return None

    def _weight(self, group: str, share: int) -> int:
        return len(self._groups[group]) - (share if group in self._homes else 0)

    # -- who goes

    def leave(self, connection: int) -> None:
        """Count a connection no more; it need not be counted."""
        group = self._group.pop(connection, None)
        if group is not None:
            members = self._groups[group]
            del members[connection]
            if not members:
                del self._groups[group]

    def fail(self, connection: int, now: float) -> None:
        """Count a connection no more that came to nothing; it need not be counted."""
        group = self._group.get(connection)
        if group is not None:
            self._failures.spend(group, now)
            self.leave(connection)

    def attach(self, connection: int, group: str) -> None:
        """Count a connection no more that is a slave's: its group is a home."""
        self.leave(connection)
        self._homes[group] = None
        self._homes.move_to_end(group)
        if len(self._homes) > MOST_KEYS:
            self._homes.popitem(last=False)

    # -- passwords

    def may_try(self, group: str, name: str, now: float) -> bool:
        """Whether the password of a login is to be looked at."""
        return self._tries.left((group, name), now) and (group in self._homes or self._group_tries.left(group, now))

    def was_wrong(self, group: str, name: str, now: float) -> None:
        """Count a wrong password."""
        self._tries.spend((group, name), now)
        self._group_tries.spend(group, now)


def _oldest(members: dict[int, float], newest: int, silent: Callable[[int], bool]) -> int:
    """Return the oldest silent one, else the oldest; the newest, which had no time to speak, only if it is alone."""
    return next((one for one in members if one != newest and silent(one)), next(iter(members)))
