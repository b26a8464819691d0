"""Paths of another host: they are joined by the rules of POSIX or of Windows, as that host demands."""

from __future__ import annotations

import ntpath
import posixpath


def joined(posix: bool, *parts: str) -> str:
    """Join paths as `join_paths`, but keep `..`, `.` and double slashes, as Buildbot's own slaves show paths."""
    return posixpath.join(*parts) if posix else ntpath.join(*parts)


def join_paths(posix: bool, *parts: str) -> str:
    """Join paths by the rules of POSIX or Windows; an absolute part wins."""
    whole = joined(posix, *parts)
    return posixpath.normpath(whole) if posix else ntpath.normpath(whole)


def folded(posix: bool, path: str) -> str:
    """Return a path in the form that all its spellings share: on Windows, case and slashes do not count."""
    return path if posix else ntpath.normcase(path)
