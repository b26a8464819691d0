"""Step constructors for the 0.8.4p1 master."""
from buildbot.process.buildstep import LoggedRemoteCommand, LoggingBuildStep
from buildbot.process.properties import WithProperties
from buildbot.steps.shell import SetProperty, ShellCommand
from buildbot.steps.slave import SetPropertiesFromEnv


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

    def raw(self, command, args):
        return Raw(command, args)

    def envprops(self, names):
        return SetPropertiesFromEnv(variables=names)
