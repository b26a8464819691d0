"""Start of the self-contained executable: `slaveproto`, without what the packager put into the environment.

PyInstaller lets its own libraries be found by `LD_LIBRARY_PATH`, and keeps words of its own in variables. Commands of
builds are programs of the host, and have to see neither. A service manager asks the first process for signs of life,
and the slave is the second.
"""

import os
import sys

for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
    before = os.environ.pop(f"{name}_ORIG", None)
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before
for name in [name for name in os.environ if name.startswith(("_PYI_", "_MEIPASS"))]:
    del os.environ[name]
if sys.argv[1:2] in (["slave"], ["relay"]):
    # A signal to the group of the first process comes once, from that process: a second one would not let builds end.
    os.setpgid(0, 0)
if os.environ.get("WATCHDOG_PID") == str(os.getppid()):
    del os.environ["WATCHDOG_PID"]

from slaveproto.cli import main  # noqa: E402

sys.exit(main())
