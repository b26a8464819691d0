"""Description of this host for a session, and the jitter that the session asks for."""

from __future__ import annotations

import os
import platform

from slaveproto.slave.config import HostInfo


def describe_host(version: str) -> HostInfo:
    """Return what this host is. `version` is that of the program that embeds the slave."""
    try:
        release = platform.freedesktop_os_release()
    except (OSError, ValueError):
        release = {}
    return HostInfo(dict(os.environ), os.name, os.cpu_count() or 1, release, version)


def jitter(most: float) -> float:
    """Return a number between 0 and `most`, each as likely as any other, so that slaves do not come all at once."""
    import random

    return random.uniform(0.0, most)
