"""Parts of the runners that are specific to Windows. They can be imported anywhere: their tests run on Linux."""


class ExperimentalWarning(UserWarning):
    """A warning that code runs which was never run on this system."""


WARNING = "slaveproto was never run on Windows: its code for this system is experimental (docs/platforms.md)"
