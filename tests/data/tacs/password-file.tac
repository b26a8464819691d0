# The password lies in a file of its own, and the name is put together.
import os

from twisted.application import service
from buildbot_worker.bot import Worker

basedir = os.getcwd()
host = os.environ["SITE"]
application = service.Application('buildbot-worker')
s = Worker(f"build.{host}", 9989, "bot-" + host, open("secrets/password").read().strip(), basedir, keepalive=60,
           numcpus=4, allow_shutdown='file', delete_leftover_dirs=1, useTls=True,
           proxy_connection_string="tcp:proxy.example.org:3128")
s.setServiceParent(application)
