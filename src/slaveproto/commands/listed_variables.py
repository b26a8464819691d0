"""Variables of a slave's environment that its master is told, unless the slave's configuration says otherwise.

Rules. On the list is what builds of real masters look up in the environment of a slave: search paths, locale, time
zone, directories, the host and its user, the choice of tools. Not on it is what may well hold a secret: proxies and
other addresses (a password can be part of one), flags (a definition can be one), sockets of agents, whatever a CI
service, a cloud or a person exported. Commands run with the whole environment; only what is *told* of it is listed.

Source: what builds of public masters read of `slave_environ`, `worker_environ` and `SetPropertiesFromEnv`.
"""

from __future__ import annotations

from typing import Final

LISTED: Final = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "HOSTNAME", "TERM", "LANG", "LANGUAGE", "TZ", "DISPLAY"),
        *("TMPDIR", "TMP", "TEMP", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
        *("CC", "CXX", "CPP", "LD", "AR", "MAKE", "ARCH", "HOSTTYPE", "MACHTYPE", "OSTYPE"),
        *(
            "LD_LIBRARY_PATH",
            "DYLD_LIBRARY_PATH",
            "PKG_CONFIG_PATH",
            "MANPATH",
            "CPATH",
            "LIBRARY_PATH",
            "ACLOCAL_PATH",
        ),
        *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PERL5LIB", "RUBYLIB", "GEM_HOME", "NODE_PATH", "CLASSPATH"),
        *("JAVA_HOME", "ANT_HOME", "M2_HOME", "ANDROID_HOME", "ANDROID_SDK_ROOT", "ANDROID_NDK_HOME", "QTDIR"),
        *("GOROOT", "GOPATH", "CARGO_HOME", "RUSTUP_HOME", "CCACHE_DIR", "DEVELOPER_DIR", "SDKROOT"),
        *("OS", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "COMPUTERNAME", "USERNAME", "USERPROFILE"),
        *("HOMEDRIVE", "HOMEPATH", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "ALLUSERSPROFILE", "PUBLIC", "MSYSTEM"),
        *("PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432", "COMMONPROGRAMFILES", "COMMONPROGRAMFILES(X86)"),
        *("NUMBER_OF_PROCESSORS", "INCLUDE", "LIB", "LIBPATH", "VSINSTALLDIR", "VCINSTALLDIR", "WINDOWSSDKDIR"),
    )
)

LISTED_BEGINNINGS: Final = ("LC_", "PROCESSOR_")


def is_listed(name: str) -> bool:
    """Whether the master is told a variable; on Windows, names are given in capitals."""
    return name in LISTED or name.startswith(LISTED_BEGINNINGS)
