"""Changes of jelly as it is on the wire: no values are made of it, so what a change does not mean stays as it is.

Rules of this file. Every function returns a new expression and leaves its argument alone. Text is `[unicode UTF-8]`,
a byte string stands for itself. The pairs of a dictionary have no atom before them, so a pair of byte strings is never
taken for text. What is not known as a container (references to objects, copied objects) is not looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from slaveproto.wire.banana import Expression
from slaveproto.wire.values import FAILURE_TAG

DICTIONARY: Final = b"dictionary"
TEXT: Final = b"unicode"
ChangePair: TypeAlias = Callable[[Expression, Expression], tuple[Expression, Expression]]

_SEQUENCES: Final = (b"list", b"tuple", b"set", b"frozenset")


def text(data: bytes) -> Expression:
    """Return text; what is not UTF-8 becomes replacement characters."""
    return [TEXT, valid(data)]


def valid(data: bytes) -> bytes:
    """Return bytes that are UTF-8: the same, or with replacement characters for what is not."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data


def is_text(value: Expression) -> bool:
    """Whether a value is text, not a byte string."""
    return type(value) is list and len(value) > 1 and value[0] == TEXT and type(value[1]) is bytes


def said(value: Expression) -> bytes | None:
    """Return the bytes of a byte string or of text; None for anything else."""
    if type(value) is bytes:
        return value
    if type(value) is list and is_text(value):
        return value[1]  # type: ignore[return-value]
    return None


def items(value: Expression) -> Iterator[tuple[Expression, Expression]]:
    """Return the sound pairs of a dictionary; none of anything else."""
    if type(value) is list and value and value[0] == DICTIONARY:
        for pair in value[1:]:
            if type(pair) is list and len(pair) == 2:
                yield pair[0], pair[1]


def item(value: Expression, name: bytes) -> Expression | None:
    """Return what a dictionary has under a name, which may be text or bytes there; None if it has nothing."""
    return next((found for key, found in items(value) if said(key) == name), None)


def is_sequence(value: Expression) -> bool:
    """Whether a value is a list or a tuple."""
    return type(value) is list and bool(value) and value[0] in (b"list", b"tuple")


def with_items(value: Expression, change: ChangePair) -> Expression:
    """Return a dictionary with each pair changed; anything else as it is."""
    if type(value) is not list or not value or value[0] != DICTIONARY:
        return value
    pairs = [list(change(*pair)) if type(pair) is list and len(pair) == 2 else pair for pair in value[1:]]
    return [DICTIONARY, *pairs]


def with_names(value: Expression, names: Mapping[bytes, bytes]) -> Expression:
    """Return a dictionary with keys renamed."""

    def rename(key: Expression, found: Expression) -> tuple[Expression, Expression]:
        name = said(key)
        new = names.get(name) if name is not None else None
        if new is None:
            return key, found
        return ([TEXT, new] if type(key) is list else new), found

    return with_items(value, rename)


def with_words(
    value: Expression, of_bytes: Callable[[bytes], Expression], of_text: Callable[[bytes], Expression]
) -> Expression:
    """Return a value with each of its byte strings and texts changed, however deep in its containers."""
    if type(value) is bytes:
        return of_bytes(value)
    if type(value) is not list or not value:
        return value
    head = value[0]
    if head == TEXT:
        return of_text(value[1]) if len(value) > 1 and type(value[1]) is bytes else value
    if head == DICTIONARY:

        def both(key: Expression, found: Expression) -> tuple[Expression, Expression]:
            return with_words(key, of_bytes, of_text), with_words(found, of_bytes, of_text)

        return with_items(value, both)
    if head in _SEQUENCES:
        return [head, *[with_words(part, of_bytes, of_text) for part in value[1:]]]
    if head == b"reference" and len(value) == 3:
        return [head, value[1], with_words(value[2], of_bytes, of_text)]
    return value


def in_bytes(value: Expression) -> Expression:
    """Return a value with its texts as byte strings."""
    return with_words(value, lambda data: data, lambda data: data)


def in_text(value: Expression) -> Expression:
    """Return a value with its byte strings as texts, but for those that are not UTF-8."""

    def decoded(data: bytes) -> Expression:
        return [TEXT, data] if valid(data) == data else data

    return with_words(value, decoded, lambda data: [TEXT, data])


def in_utf8(value: Expression) -> Expression:
    """Return a value whose byte strings and texts all are UTF-8."""
    return with_words(value, valid, text)


def has_byte_keys(value: Expression) -> bool:
    """Whether a dictionary has a key that is a byte string."""
    return any(type(key) is bytes for key, _ in items(value))


def has_text_keys(value: Expression) -> bool:
    """Whether a dictionary has a key that is text."""
    return any(is_text(key) for key, _ in items(value))


LONGEST_WORDS: Final = 64 * 1024
"""Bytes of the message, and of the traceback, of a failure that is mended: if it is too large, it cannot be."""


def failure_state(value: Expression) -> Expression | None:
    """Return the dictionary of a copied failure; None for anything else."""
    if type(value) is list and len(value) == 2 and value[0] == FAILURE_TAG:
        return value[1]
    return None


def safe_failure(value: Expression) -> Expression:
    """Return a failure whose keys are bytes in the form that every Twisted survives; anything else as it is.

    Keys and words are text, but for the name of its class. What it derives from is named in the spelling of either
    Python. What a reader misses without having it is there.
    """
    state = failure_state(value)
    if state is None or not has_byte_keys(state):
        return value
    fields: dict[bytes, Expression] = {}
    for key, found in items(state):
        name = said(key)
        if name is not None:
            fields[name] = found if name == b"type" else with_words(found, text, text)
    kind = said(fields.get(b"type", b"")) or b""
    parents = fields.get(b"parents")
    names = [said(name) for name in parents[1:]] if type(parents) is list and is_sequence(parents) else [kind]
    spelled = dict.fromkeys(spelling for name in names if name is not None for spelling in _spellings(name))
    fields[b"type"] = kind
    fields[b"parents"] = [b"list", *[text(name) for name in spelled]]
    for name in (b"value", b"traceback"):
        # Text of bytes that are no UTF-8 is three times as long, and a string has a limit.
        fields[name] = text((said(fields.get(name, b"")) or b"")[:LONGEST_WORDS])
    pairs: list[Expression] = [[text(name), found] for name, found in fields.items()]
    return [FAILURE_TAG, [DICTIONARY, *pairs]]


def _spellings(name: bytes) -> tuple[bytes, ...]:
    module, _, rest = name.partition(b".")
    return (name, b"builtins." + rest) if module == b"exceptions" else (name,)
