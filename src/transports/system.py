"""The operating system. Which one it is, is asked here and nowhere else in the runners.

Each of the two packages has the same modules with the same names in them:

* `processes`: `spawn(effect) -> Child`; a `Child` has `outputs` and `stdin`, and can `wait`, `send_signal` and `reap`;
* `streams`: `Streams`, which reads and writes the pipes of children in threads of its own, and `SELECTABLE`;
* `waiting`: what a thread may wait for, and how another one ends that; whether many sockets are one thing to wait for;
* `disk`: what file systems do differently;
* `removal`: how a tree is removed.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from transports.windows import disk as disk
    from transports.windows import processes as processes
    from transports.windows import removal as removal
    from transports.windows import streams as streams
    from transports.windows import waiting as waiting
else:
    from transports.posix import disk as disk
    from transports.posix import processes as processes
    from transports.posix import removal as removal
    from transports.posix import streams as streams
    from transports.posix import waiting as waiting
