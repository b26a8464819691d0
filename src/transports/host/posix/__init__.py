"""Parts of the runners that are specific to POSIX systems: Linux and macOS."""
