"""Paths of a host that need not be this one: joined by the rules of POSIX or of Windows."""

from __future__ import annotations

import ntpath
import posixpath


def joined(posix: bool, *parts: str) -> str:
    """Join paths as `join_paths`, but keep every word of them, as Buildbot's own slaves show them."""
    return posixpath.join(*parts) if posix else ntpath.join(*parts)


def join_paths(posix: bool, *parts: str) -> str:
    """Join paths by the rules of POSIX or Windows; an absolute part wins."""
    whole = joined(posix, *parts)
    return posixpath.normpath(whole) if posix else ntpath.normpath(whole)


def folded(posix: bool, path: str) -> str:
    """Return a path such that two that the host takes for one are equal: on Windows, without case and slashes."""
    return path if posix else ntpath.normcase(path)
