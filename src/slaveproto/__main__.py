"""`python -m slaveproto` is the program `slaveproto`."""

import sys

from slaveproto.cli import main

sys.exit(main())
