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
where = {'buildmaster_host': conf['host'], 'port': conf['port']}
if conf['trust_roots']:
    text = 'tls:localhost:{port}:trustRoots={trust_roots}'.format(**conf)
    where = {'buildmaster_host': None, 'port': None, 'connection_string': text}
Worker(name=conf['name'], passwd=conf['password'], basedir=basedir,
       keepalive=conf['keepalive'], maxdelay=2, protocol='pb',
       allow_shutdown=conf['allow_shutdown'], **where).setServiceParent(application)
