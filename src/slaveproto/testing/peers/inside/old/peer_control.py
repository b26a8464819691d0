"""A control socket (JSON lines) and a writer of build results inside the 0.8.4p1 master."""
import json
import os

from twisted.internet import defer, protocol, reactor
from twisted.protocols import basic
from twisted.python import log

from buildbot import interfaces
from buildbot.sourcestamp import SourceStamp
from buildbot.status.base import StatusReceiverMultiService

RESULTS = dict(enumerate(['success', 'warnings', 'failure', 'skipped', 'exception', 'retry']))
CHANNELS = {0: 'stdout', 1: 'stderr', 2: 'header'}


def text(value):
    """-> value with every byte string made unicode, as JSON needs it; other bytes 1:1"""
    if isinstance(value, str):
        try:
            return value.decode('utf-8')
        except UnicodeDecodeError:
            return value.decode('latin-1')
    if isinstance(value, (list, tuple)):
        return [text(x) for x in value]
    if isinstance(value, dict):
        return dict((text(k), text(v)) for k, v in value.items())
    return value


def streams(a_log):
    out = {}
    for channel, data in a_log.getChunks():
        if isinstance(data, unicode):
            data = data.encode('utf-8')
        out.setdefault(CHANNELS[channel], []).append(data)
    return dict((k, ''.join(v)) for k, v in out.items())


class Line(basic.LineReceiver):
    delimiter = '\n'

    def lineReceived(self, line):
        request = json.loads(line)
        op = getattr(self.factory.control, 'op_' + str(request.pop('op')))
        d = defer.maybeDeferred(op, **dict((str(k), v) for k, v in request.items()))
        d.addCallbacks(lambda r: {'result': text(r)}, lambda f: {'error': f.getTraceback()})
        d.addCallback(lambda r: self.transport.write(json.dumps(r) + '\n'))


class Control(StatusReceiverMultiService):
    compare_attrs = ['basedir', 'tell_logs']

    def __init__(self, basedir, tell_logs):
        StatusReceiverMultiService.__init__(self)
        self.basedir = basedir
        self.tell_logs = tell_logs

    def setServiceParent(self, parent):
        StatusReceiverMultiService.setServiceParent(self, parent)
        self.master = parent
        self.status = parent.getStatus()
        self.status.subscribe(self)
        factory = protocol.ServerFactory()
        factory.protocol = Line
        factory.control = self
        if os.path.exists('control.sock'):
            os.unlink('control.sock')
        self.port = reactor.listenUNIX('control.sock', factory)

    def disownServiceParent(self):
        self.status.unsubscribe(self)
        for name in self.status.getBuilderNames():
            self.status.getBuilder(name).unsubscribe(self)
        d = defer.maybeDeferred(self.port.stopListening)
        d.addCallback(lambda _: StatusReceiverMultiService.disownServiceParent(self))
        return d

    def builderAdded(self, name, builder):
        return self

    def buildFinished(self, name, build, results):
        try:
            self.write(name, build)
        except Exception:
            log.err(None, 'writing results')

    def write(self, name, build):
        steps = [{'name': s.getName(), 'result': RESULTS.get(s.getResults()[0]),
                  'text': ' '.join(text(s.getText())),
                  'logs': dict((x.getName(), streams(x)) for x in s.getLogs() if self.tell_logs)}
                 for s in build.getSteps() if s.isStarted()]
        started, finished = build.getTimes()
        data = {'builder': name, 'number': build.getNumber(), 'slave': build.getSlavename(),
                'result': RESULTS[build.getResults()], 'text': ' '.join(text(build.getText())),
                'started': started, 'finished': finished, 'steps': steps}
        path = os.path.join(self.basedir, 'results',
                            '%s.%d.json' % (build.getReason(), build.getNumber()))
        with open(path + '.tmp', 'w') as f:
            json.dump(text(data), f)
        os.rename(path + '.tmp', path)

    def op_status(self):
        slaves = {}
        for name in self.status.getSlaveNames():
            s = self.status.getSlave(name)
            slaves[name] = {'connected': bool(s.isConnected()), 'admin': s.getAdmin(),
                            'host': s.getHost(), 'version': s.getVersion()}
        builders = {}
        running = []
        for name in self.status.getBuilderNames():
            builders[name] = sorted(sb.slave.slavename
                                    for sb in self.master.botmaster.builders[name].slaves)
            for build in self.status.getBuilder(name).getCurrentBuilds():
                step = build.getCurrentStep()
                running.append({'builder': name, 'slave': build.getSlavename(),
                                'step': step and step.getName()})
        return {'slaves': slaves, 'builders': builders, 'running': running}

    def op_force(self, builder, reason):
        control = interfaces.IControl(self.master).getBuilder(str(builder))
        d = control.submitBuildRequest(SourceStamp(), str(reason))
        d.addCallback(lambda _: None)
        return d

    def op_stop(self, builder):
        control = interfaces.IControl(self.master).getBuilder(str(builder))
        for build in self.status.getBuilder(str(builder)).getCurrentBuilds():
            control.getBuild(build.getNumber()).stopBuild('stopped by the test')

    def op_ping(self, builder):
        d = interfaces.IControl(self.master).getBuilder(str(builder)).ping()
        d.addCallback(bool)
        return d

    def op_graceful(self, slave):
        self.status.getSlave(str(slave)).setGraceful(True)
