# Numbers in octal and a log file as files of Python 2 have them.
from twisted.application import service
from buildslave.bot import BuildSlave

basedir = r'/srv/another place'
buildmaster_host = 'master.example.org'
port = 9990
slavename = u'bot'
passwd = 'se#cret 022'
keepalive = None
usepty = 1
umask = 022
maxdelay = 30
rotateLength = 1000000
maxRotatedFiles = None

application = service.Application('buildslave')
try:
  from twisted.python.logfile import LogFile
  from twisted.python.log import ILogObserver, FileLogObserver
  logfile = LogFile.fromFullPath("twistd.log", rotateLength=rotateLength,
                                 maxRotatedFiles=maxRotatedFiles)
  application.setComponent(ILogObserver, FileLogObserver(logfile).emit)
except ImportError:
  pass
s = BuildSlave(buildmaster_host, port, slavename, passwd, basedir,
               keepalive, usepty, umask=umask, maxdelay=maxdelay)
s.setServiceParent(application)
