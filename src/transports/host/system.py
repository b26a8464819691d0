"""The operating system. Which one it is, is asked here and nowhere else in the runners.

Each of the two packages has the same modules with the same names in them:

* `processes`: `spawn(effect) -> Child`; a `Child` has `outputs` and `stdin`, and can `wait`,
  `send_signal`, `find_holders`, `reap` and `discard`;
* `streams`: `Streams`, which reads and writes the pipes of children in threads of its own, and `SELECTABLE`;
* `waiting`: how long a thread may wait, and whether many sockets are one thing to wait for;
* `disk`: what file systems do differently;
* `removal`: how a tree is removed;
* `sending`: what a socket keeps until the other system has acknowledged it.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import warnings

    from transports.host.windows import WARNING, ExperimentalWarning
    from transports.host.windows import disk as disk
    from transports.host.windows import processes as processes
    from transports.host.windows import removal as removal
    from transports.host.windows import sending as sending
    from transports.host.windows import streams as streams
    from transports.host.windows import waiting as waiting

    warnings.warn(WARNING, ExperimentalWarning, stacklevel=2)
else:
    from transports.host.posix import disk as disk
    from transports.host.posix import processes as processes
    from transports.host.posix import removal as removal
    from transports.host.posix import sending as sending
    from transports.host.posix import streams as streams
    from transports.host.posix import waiting as waiting
