"""``python -m slaveproto.testing.peers install old mid new``: fill the cache before a test run."""

import argparse
import sys
from typing import get_args

from slaveproto.testing.peers.install import PeerUnavailable, SlaveKind, install


def main() -> int:
    """Install the peers named on the command line; exit 1 when one cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m slaveproto.testing.peers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("install", help="install peers into the cache folder")
    command.add_argument(
        "kinds", nargs="+", choices=get_args(SlaveKind), metavar="KIND", help=", ".join(get_args(SlaveKind))
    )
    for kind in parser.parse_args().kinds:
        try:
            print(f"{kind}: {install(kind)}")
        except PeerUnavailable as error:
            print(f"{kind}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
