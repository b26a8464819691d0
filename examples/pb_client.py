"""Log in to a Perspective Broker server with nothing but a socket, and show what it says.

    python examples/pb_client.py HOST PORT NAME PASSWORD

Against a Buildbot master with a slave of that name it shows the first calls of the master, and lets them fail, for this
is no slave. Ends when the server answers the login or closes the connection.
"""

from __future__ import annotations

import socket
import sys

from slaveproto.wire import (
    NEED_DATA,
    Answered,
    Call,
    ClientLogin,
    Closed,
    Connection,
    Event,
    Failed,
    Failure,
    Local,
    Opened,
    Role,
)


def next_event(connection: Connection, sock: socket.socket) -> Event:
    """Do I/O until something happens."""
    while True:
        sock.sendall(connection.data_to_send())
        event = connection.next_event()
        if event is not NEED_DATA:
            return event
        data = sock.recv(65536)
        if data:
            connection.receive_data(data)
        else:
            connection.receive_eof()


def main(host: str, port: str, name: str, password: str) -> int:
    connection = Connection(Role.CLIENT)
    mind = Local("mind")
    login: ClientLogin | None = None
    with socket.create_connection((host, int(port))) as sock:
        while True:
            match next_event(connection, sock):
                case Opened(profile):
                    print(f"profile {profile}")
                    login = ClientLogin(connection, name.encode(), password.encode(), mind)
                case Call() as call:
                    print(f"called: {call.method}{call.args} {dict(call.kwargs)}")
                    connection.fail(call.id, Failure("builtins.NotImplementedError", "this is no slave"))
                case (Answered() | Failed()) as event if login is not None:
                    outcome = login.handle(event)
                    if outcome is not None:
                        print(outcome)
                        return 0
                case Closed():
                    print("closed")
                    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 5 else __doc__)
