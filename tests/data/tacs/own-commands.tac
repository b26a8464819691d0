# Code of its own, which is not run: commands, and a name that is asked of a server.
from twisted.application import service
from buildslave.bot import BuildSlave
import requests

umask = int(requests.get("http://config.example.org/umask").text)

class SlavePyFlakes(object):
    def start(self):
        pass

if basedir == '.':
    basedir = '/srv/slave'
application = service.Application('buildslave')
BuildSlave("master.example.org", 9989, "bot", "secret", ".", 600, 0, umask=umask,
           unicode_encoding="latin-1", allow_shutdown=True).setServiceParent(application)
registerSlaveCommand("pyflakes", SlavePyFlakes, "0.0.1")
