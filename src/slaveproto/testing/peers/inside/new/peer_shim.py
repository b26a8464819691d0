"""Step constructors for the 4.3 master."""
from buildbot.plugins import steps, util
from buildbot.process import buildstep, remotecommand
from twisted.internet import defer


class Raw(buildstep.BuildStep):
    """Run one worker command with the given arguments, no questions asked."""

    name = 'raw'

    def __init__(self, command, cargs, alwaysRun=True, **kw):
        super().__init__(alwaysRun=alwaysRun, **kw)
        self.command, self.cargs = command, cargs

    @defer.inlineCallbacks
    def run(self):
        log = yield self.addLog('stdio')
        cmd = remotecommand.RemoteCommand(self.command, dict(self.cargs))
        cmd.useLog(log, True)
        yield self.runCommand(cmd)
        if cmd.updates:
            yield self.addCompleteLog('updates', repr(sorted(cmd.updates.items())))
        return cmd.results()


class Shim:
    generation = 'new'

    def sh(self, command, **kw):
        kw.setdefault('timeout', 600)
        kw.setdefault('haltOnFailure', False)
        return steps.ShellCommand(command=command, **kw)

    def interp(self, fmt, *names):
        return util.Interpolate(fmt % tuple('%%(prop:%s:-none)s' % n for n in names))

    def setprop(self, command, prop):
        return steps.SetPropertyFromCommand(command=command, property=prop, timeout=600)

    def warnings(self, command, suppressions):
        """the master reads the file of suppressions from the slave"""
        return steps.WarningCountingShellCommand(command=command, suppressionFile=suppressions, timeout=20,
                                                 logEnviron=False)

    def stdin(self, command, data):
        return steps.ShellCommand(command=command, initialStdin=data, timeout=20,
                                  logEnviron=False, name='stdin', haltOnFailure=False)

    def raw(self, command, args):
        return Raw(command, args)

    def upload(self, src, dest, **kw):
        return steps.FileUpload(workersrc=src, masterdest=self.there(dest), haltOnFailure=False, **kw)

    def upload_dir(self, src, dest, **kw):
        return steps.DirectoryUpload(workersrc=src, masterdest=self.there(dest),
                                     haltOnFailure=False, **kw)

    def download(self, src, dest, **kw):
        return steps.FileDownload(mastersrc=self.there(src), workerdest=dest, haltOnFailure=False, **kw)

    def download_string(self, text, dest, **kw):
        return steps.StringDownload(text, workerdest=dest, haltOnFailure=False, **kw)

    def master_sh(self, command):
        # Both layers of formatting take one percent sign away.
        place = 'mkdir -p files/%s && cd files/%s && '
        command = self.interp(place + command.replace('%', '%%%%'), 'buildername', 'buildername')
        return steps.MasterShellCommand(command, logEnviron=False)

    def there(self, path):
        """-> a path on the master that no other builder has"""
        return self.interp('files/%s/' + path, 'buildername')

    def git(self, url):
        return steps.Git(repourl=url, branch='master', mode='incremental')

    def envprops(self, names):
        return steps.SetPropertiesFromEnv(variables=names)
