"""The route of a slave to its master: through a proxy or not, with TLS or without.

Imports neither `ssl` nor what a proxy needs, since the start of most slaves does not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaveproto.records import record

if TYPE_CHECKING:
    import ssl

    from transports.host.proxy import Proxy


@record
class Route:
    """Everything between the slave and its master that a session does not know.

    Args:
        ssl_context: for a master behind TLS, as of `transports.host.tls.client_context`; None for plain TCP.
        server_hostname: the name that the master's certificate has to be for; None for the name that is connected to.
        proxy: the HTTP proxy that connections go through; None for none.
    """

    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    proxy: Proxy | None = None

    def first_hop(self, host: str, port: int) -> tuple[str, int]:
        """Return where the TCP connection to a master leads."""
        return (host, port) if self.proxy is None else (self.proxy.host, self.proxy.port)
