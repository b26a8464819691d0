"""A control socket (JSON lines) and a writer of build results inside the 4.3 master."""
import json
import os

from buildbot.process.results import Results
from buildbot.util import service
from twisted.internet import defer, protocol, reactor
from twisted.protocols import basic
from twisted.python import log

CHANNELS = {'o': 'stdout', 'e': 'stderr', 'h': 'header'}


def streams(a_log, content):
    if a_log['type'] != 's':
        return {'stdout': content}
    out = {}
    for line in content.split('\n')[:-1]:
        out.setdefault(CHANNELS[line[0]], []).append(line[1:] + '\n')
    return {k: ''.join(v) for k, v in out.items()}


class Line(basic.LineReceiver):
    delimiter = b'\n'

    def lineReceived(self, line):
        request = json.loads(line)
        op = getattr(self.factory.control, 'op_' + request.pop('op'))
        d = defer.maybeDeferred(op, **request)
        d.addCallbacks(lambda r: {'result': r}, lambda f: {'error': f.getTraceback()})
        d.addCallback(lambda r: self.transport.write(json.dumps(r).encode() + b'\n'))


class Control(service.BuildbotService):
    name = 'peer-control'
    port = None

    @defer.inlineCallbacks
    def reconfigService(self, basedir, tell_logs):
        self.basedir = basedir
        self.tell_logs = tell_logs
        if self.port is None:
            factory = protocol.ServerFactory()
            factory.protocol = Line
            factory.control = self
            if os.path.exists('control.sock'):
                os.unlink('control.sock')
            self.port = reactor.listenUNIX('control.sock', factory)
            self.consumer = yield self.master.mq.startConsuming(self.finished,
                                                                ('builds', None, 'finished'))

    @defer.inlineCallbacks
    def stopService(self):
        if self.port is not None:
            port, self.port = self.port, None
            yield defer.maybeDeferred(port.stopListening)
            yield self.consumer.stopConsuming()
        yield super().stopService()

    @defer.inlineCallbacks
    def finished(self, key, build):
        try:
            yield self.write(build['buildid'])
        except Exception:
            log.err(None, 'writing results')

    @defer.inlineCallbacks
    def write(self, buildid):
        get = self.master.data.get
        build = yield get(('builds', buildid))
        builder = yield get(('builders', build['builderid']))
        request = yield get(('buildrequests', build['buildrequestid']))
        buildset = yield get(('buildsets', request['buildsetid']))
        worker = yield get(('workers', build['workerid']))
        steps = []
        for s in (yield get(('builds', buildid, 'steps'))):
            logs = {}
            for a_log in (yield get(('steps', s['stepid'], 'logs'))) if self.tell_logs else ():
                contents = yield get(('logs', a_log['logid'], 'contents'))
                logs[a_log['name']] = streams(a_log, contents['content'])
            result = None if s['results'] is None else Results[s['results']]
            steps.append({'name': s['name'], 'result': result, 'text': s['state_string'],
                          'logs': logs})
        data = {'builder': builder['name'], 'number': build['number'],
                'slave': worker and worker['name'], 'result': Results[build['results']],
                'text': build['state_string'], 'started': build['started_at'].timestamp(),
                'finished': build['complete_at'].timestamp(), 'steps': steps}
        path = os.path.join(self.basedir, 'results',
                            '%s.%d.json' % (buildset['reason'], build['number']))
        with open(path + '.tmp', 'w') as f:
            json.dump(data, f)
        os.rename(path + '.tmp', path)

    @defer.inlineCallbacks
    def op_status(self):
        slaves = {}
        for w in (yield self.master.data.get(('workers',))):
            real = self.master.workers.workers.get(w['name'])
            info = w['workerinfo'] or {}
            slaves[w['name']] = {'connected': bool(real and real.conn), 'admin': info.get('admin'),
                                 'host': info.get('host'), 'version': info.get('version')}
        builders = {}
        running = []
        for name, b in self.master.botmaster.builders.items():
            builders[name] = sorted(w.worker.workername for w in b.workers)
            for build in b.building:
                if build.buildid is None:
                    continue
                steps = yield self.master.data.get(('builds', build.buildid, 'steps'))
                worker = build.workerforbuilder and build.workerforbuilder.worker
                running.append({'builder': name, 'slave': worker and worker.workername,
                                'step': steps[-1]['name'] if steps else None})
        return {'slaves': slaves, 'builders': builders, 'running': running}

    @defer.inlineCallbacks
    def op_force(self, builder, reason):
        builderid = yield self.master.botmaster.builders[builder].getBuilderId()
        stamp = {'codebase': '', 'repository': '', 'branch': None, 'revision': None, 'project': ''}
        yield self.master.data.updates.addBuildset(
            waited_for=False, scheduler='force', sourcestamps=[stamp], reason=reason,
            properties={}, builderids=[builderid])

    @defer.inlineCallbacks
    def op_stop(self, builder):
        for build in list(self.master.botmaster.builders[builder].building):
            yield self.master.data.control('stop', {'reason': 'stopped by the test'},
                                           ('builds', build.buildid))

    @defer.inlineCallbacks
    def op_ping(self, builder):
        answers = []
        for w in list(self.master.botmaster.builders[builder].workers):
            answers.append((yield w.ping()))
        return bool(answers) and all(answers)

    @defer.inlineCallbacks
    def op_graceful(self, slave):
        worker = yield self.master.data.get(('workers', slave))
        yield self.master.data.control('stop', {'reason': 'stopped by the test'},
                                       ('workers', worker['workerid']))
