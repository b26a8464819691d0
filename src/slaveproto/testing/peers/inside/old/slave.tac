import json
import os

from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver
from twisted.python.logfile import LogFile

from buildslave.bot import BuildSlave

basedir = os.getcwd()
conf = json.load(open('peer.json'))
application = service.Application('buildslave')
logfile = LogFile.fromFullPath(os.path.join(basedir, 'twistd.log'), rotateLength=100000000)
application.setComponent(ILogObserver, FileLogObserver(logfile).emit)
BuildSlave(str(conf['host']), conf['port'], str(conf['name']), str(conf['password']), basedir,
           conf['keepalive'], False, maxdelay=2,
           allow_shutdown=conf['allow_shutdown']).setServiceParent(application)
