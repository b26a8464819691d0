"""Step constructors for the 0.8.4p1 master."""
from buildbot.process.buildstep import LoggedRemoteCommand, LoggingBuildStep
from buildbot.process.properties import WithProperties
from buildbot.steps import source
from buildbot.steps.master import MasterShellCommand
from buildbot.steps.shell import SetProperty, ShellCommand
from buildbot.steps.slave import SetPropertiesFromEnv
from buildbot.steps.transfer import DirectoryUpload, FileDownload, FileUpload, StringDownload


class Raw(LoggingBuildStep):
    """Run one slave command with the given arguments, no questions asked."""

    name = 'raw'

    def __init__(self, command=None, cargs=None, alwaysRun=True, **kw):
        LoggingBuildStep.__init__(self, alwaysRun=alwaysRun, **kw)
        self.addFactoryArguments(command=command, cargs=cargs, alwaysRun=alwaysRun)
        self.command, self.cargs = command, cargs

    def describe(self, done=False):
        return ['raw', self.command]

    def start(self):
        self.startCommand(LoggedRemoteCommand(self.command, dict(self.cargs)))

    def createSummary(self, log):
        if self.cmd.updates:
            self.addCompleteLog('updates', repr(sorted(self.cmd.updates.items())))


class Shim(object):
    generation = 'old'

    def sh(self, command, **kw):
        kw.setdefault('timeout', 600)
        return ShellCommand(command=command, **kw)

    def interp(self, fmt, *names):
        return WithProperties(fmt % tuple('%%(%s:-none)s' % n for n in names))

    def setprop(self, command, prop):
        return SetProperty(command=command, property=prop)

    def stdin(self, command, data):
        # no step of this master sends initial_stdin
        return Raw('shell', {'workdir': 'build', 'command': command, 'initial_stdin': data,
                             'timeout': 20, 'env': None, 'logfiles': {}, 'usePTY': 'slave-config',
                             'want_stdout': 1, 'want_stderr': 1, 'maxTime': None,
                             'logEnviron': False}, name='stdin')

    def raw(self, command, args, **kw):
        return Raw(command, args, **kw)

    def source(self, step, **kw):
        return getattr(source, step)(haltOnFailure=False, alwaysRun=True, **kw)

    def go_on(self, step, *args, **kw):
        return step(*args, haltOnFailure=False, **kw)

    def upload(self, src, dest, **kw):
        return self.go_on(FileUpload, slavesrc=src, masterdest=self.there(dest), **kw)

    def upload_dir(self, src, dest, **kw):
        return self.go_on(DirectoryUpload, slavesrc=src, masterdest=self.there(dest), **kw)

    def download(self, src, dest, **kw):
        return self.go_on(FileDownload, mastersrc=self.there(src), slavedest=dest, **kw)

    def download_string(self, text, dest, **kw):
        return self.go_on(StringDownload, text, slavedest=dest, **kw)

    def master_sh(self, command):
        # Both layers of formatting take one percent sign away.
        place = 'mkdir -p files/%s && cd files/%s && '
        command = self.interp(place + command.replace('%', '%%%%'), 'buildername', 'buildername')
        return MasterShellCommand(command=command, usePTY=False)

    def there(self, path):
        """-> a path on the master that no other builder has"""
        return self.interp('files/%s/' + path, 'buildername')

    def envprops(self, names):
        return SetPropertiesFromEnv(variables=names)
