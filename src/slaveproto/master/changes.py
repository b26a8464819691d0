"""Changes, as the user `change` tells of them.

Source: `changes/pb.py` and `clients/sendchange.py` of Buildbot 0.8.4p1, `changes/pb.py` of 4.3.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import attrs

from slaveproto.errors import CallFailed
from slaveproto.limits import Limits
from slaveproto.wire.events import Call
from slaveproto.wire.serving import parameters
from slaveproto.wire.values import Value


@attrs.frozen
class Change:
    """A change to the source. Texts that were not given are empty.

    Args:
        who: the author.
        files: what changed.
        comments: in words.
        revision: the new revision.
        branch: on which branch.
        repository: in which repository.
        project: of which project.
        category: the sender's word for its kind.
        revlink: where to look at it.
        codebase: the sender's word for the part of the project.
        when: seconds since 1970, None if not given.
        properties: by name.
    """

    who: str
    files: tuple[str, ...]
    comments: str
    revision: str
    branch: str
    repository: str
    project: str
    category: str
    revlink: str
    codebase: str
    when: float | None
    properties: Mapping[str, Value]


def read_change(call: Call) -> Change:
    """Return the change that a call of `addChange` tells of.

    Raises:
        CallFailed: it tells of none.
    """
    (told,) = parameters(call, "changedict")
    if not isinstance(told, dict):
        raise CallFailed("builtins.TypeError", "addChange takes a dictionary")
    entries = {_text(key): value for key, value in told.items()}
    files = entries.get("files")
    properties = entries.get("properties")
    when = entries.get("when", entries.get("when_timestamp"))
    if _texts_in(files) + _texts_in(properties) > Limits().message:
        raise CallFailed("builtins.ValueError", "the change says more than fits into a message")
    return Change(
        who=_text(entries.get("who", entries.get("author"))),
        files=tuple(_text(name) for name in files) if isinstance(files, (list, tuple)) else (),
        when=float(when) if isinstance(when, (int, float)) and math.isfinite(when) else None,
        properties={_text(k): _plain(v) for k, v in properties.items()} if isinstance(properties, dict) else {},
        **{name: _text(entries.get(name)) for name in _TEXTS},
    )


_TEXTS: Final = ("comments", "revision", "branch", "repository", "project", "category", "revlink", "codebase")


def _text(value: Value) -> str:
    """Real masters take either kind, too, and replace what is no UTF-8."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    # Nothing else: the text of a list that shares its parts may have any length.
    return str(value) if isinstance(value, (str, int, float)) else ""


def _texts_in(value: Value) -> int:
    """Return how long the texts are that are taken from here: sent once, a text may occur any number of times."""
    if isinstance(value, dict):
        return _texts_in([*value.keys(), *value.values()])
    return sum(len(part) for part in value if isinstance(part, (bytes, str))) if isinstance(value, (list, tuple)) else 0


def _plain(value: Value) -> Value:
    return _text(value) if isinstance(value, bytes) else value
