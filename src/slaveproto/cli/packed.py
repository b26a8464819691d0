"""Start of the file that `slaveproto pack` makes, where it is `__main__`; any Python 3 has to be able to read it."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the file is copied to hosts whose Python is not known
    sys.stderr.write("slaveproto: this needs Python 3.11 or newer, and is run by " + sys.version.split()[0] + "\n")
    sys.exit(2)

from slaveproto.cli import main

sys.exit(main())
