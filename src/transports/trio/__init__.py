"""Runners for trio. Needs the extra `trio`.

A slave is `open_slave`, or `run_slave` for a program that only listens to it. A master is `open_master`.
"""

from transports.trio.master import AttachedSlave as AttachedSlave
from transports.trio.master import Build as Build
from transports.trio.master import BuildNotStarted as BuildNotStarted
from transports.trio.master import Master as Master
from transports.trio.master import RunningStep as RunningStep
from transports.trio.master import SlaveLost as SlaveLost
from transports.trio.master import open_master as open_master
from transports.trio.slave import Slave as Slave
from transports.trio.slave import open_slave as open_slave
from transports.trio.slave import run_slave as run_slave
