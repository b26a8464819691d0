import json
import os

from buildbot_worker.bot import Worker
from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver
from twisted.python.logfile import LogFile

basedir = os.getcwd()
with open('peer.json') as f:
    conf = json.load(f)
application = service.Application('buildbot-worker')
logfile = LogFile.fromFullPath(os.path.join(basedir, 'twistd.log'), rotateLength=100000000)
application.setComponent(ILogObserver, FileLogObserver(logfile).emit)
Worker(str(conf['host']), conf['port'], str(conf['name']), str(conf['password']), basedir,
       conf['keepalive'], maxdelay=2, allow_shutdown=conf['allow_shutdown']).setServiceParent(application)
