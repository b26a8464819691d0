"""Passwords that are asked for."""

from __future__ import annotations

import sys

from slaveproto.ci.errors import UsageError


def read_password() -> str:
    """Return the password on standard input, its first line; on a terminal it is asked for, and not shown.

    Raises:
        UsageError: there is none, or it is not UTF-8.
    """
    try:
        if sys.stdin is not None and sys.stdin.isatty():
            # Few need it, at a start.
            from getpass import getpass

            password = getpass("Password: ")
            password.encode()
        else:
            with open(0, "rb", closefd=False) as stdin:
                password = stdin.readline().decode().rstrip("\r\n")
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise UsageError("the password on standard input is not UTF-8") from None
    except EOFError:
        password = ""
    if not password:
        raise UsageError("no password on standard input")
    return password
