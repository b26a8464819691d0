"""Every source command by its name."""

from __future__ import annotations

from typing import Final

from slaveproto.commands.source.bk import BitKeeper
from slaveproto.commands.source.bzr import Bazaar
from slaveproto.commands.source.cvs import Cvs
from slaveproto.commands.source.darcs import Darcs
from slaveproto.commands.source.git import Git
from slaveproto.commands.source.hg import Mercurial
from slaveproto.commands.source.mtn import Monotone
from slaveproto.commands.source.p4 import Perforce, PerforceSync
from slaveproto.commands.source.plan import source_command
from slaveproto.commands.source.repo import Repo
from slaveproto.commands.source.svn import Subversion

SCRIPTS: Final = {
    "svn": source_command(Subversion),
    "git": source_command(Git),
    "cvs": source_command(Cvs),
    "hg": source_command(Mercurial),
    "bzr": source_command(Bazaar),
    "darcs": source_command(Darcs),
    "mtn": source_command(Monotone),
    "repo": source_command(Repo),
    "p4": source_command(Perforce),
    "p4sync": source_command(PerforceSync),
    "bk": source_command(BitKeeper),
}
