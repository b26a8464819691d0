# All that differs between containers comes from their environment.
import fnmatch
import os
import sys

from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver

from buildbot_worker.bot import Worker

basedir = os.environ.get("BUILDBOT_BASEDIR", os.path.abspath(os.path.dirname(__file__)))
application = service.Application("buildbot-worker")
application.setComponent(ILogObserver, FileLogObserver(sys.stdout).emit)

buildmaster_host = os.environ.get("BUILDMASTER", "localhost")
port = int(os.environ.get("BUILDMASTER_PORT", 9989))
workername = os.environ.get("WORKERNAME", "docker")
passwd = os.environ.get("WORKERPASS")

for variable in list(os.environ.keys()):
    if fnmatch.fnmatch(variable, "WORKERPASS"):
        del os.environ[variable]

s = Worker(buildmaster_host, port, workername, passwd, basedir, 60 * 10, umask=0o22,
           allow_shutdown=None, maxRetries=10)
s.setServiceParent(application)
