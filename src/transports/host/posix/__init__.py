"""What the runners need of a POSIX system: Linux and macOS."""
