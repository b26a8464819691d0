"""Kinds of values in a build file. The simple ones come from `toml_document`."""

from __future__ import annotations

import os
import signal
from datetime import time
from typing import Final

from slaveproto.ci.file.secrets import NamedSecret
from slaveproto.ci.file.toml_document import LONGEST, At, Kind, bits, kind_of, of_type, read_table, shown, string, whole
from slaveproto.ci.file.toml_document import flag as flag
from slaveproto.ci.file.toml_document import one_of as one_of
from slaveproto.ci.file.words import has_words, literal, mistake_in
from slaveproto.ci.schedule import parse_length, parse_time_of_day
from slaveproto.master.steps import EnvValue, LogFile, Word


def any_text(at: At, value: object) -> str:
    """A string that may be empty."""
    found = string(at, value)
    if "\0" in found:
        raise at.wrong("contains a null character")
    return found


def text(at: At, value: object) -> str:
    """A string that is not empty."""
    found = any_text(at, value)
    if not found:
        raise at.wrong("is empty")
    return found


def beside(at: At, value: object) -> str:
    """A path on the master, relative to the file's folder; the absolute path is returned."""
    return os.path.normpath(os.path.join(at.document.folder, text(at, value)))


def _worded(at: At, found: str) -> str:
    """Return a text whose words are right."""
    mistake = mistake_in(found)
    if mistake is not None:
        raise at.wrong(mistake)
    return found


def worded_text(at: At, value: object) -> str:
    """A string that is not empty and may have words."""
    return _worded(at, text(at, value))


def worded_any_text(at: At, value: object) -> str:
    """A string that may be empty and may have words."""
    return _worded(at, any_text(at, value))


def worded_texts(at: At, value: object) -> tuple[str, ...]:
    """A string, or a list of them, which may have words."""
    if isinstance(_one_or_more(at, value, str), str):
        return (worded_text(at, value),)
    found = texts(at, value)
    return tuple(_worded(at.item(index), item) for index, item in enumerate(found))


def worded_beside(at: At, value: object) -> str:
    """A path on the master, relative to the file's folder, which may have words; an absolute one is returned."""
    found = worded_text(at, value)
    path = os.path.join(literal(at.document.folder), found)
    # Where the words end in it, is known when they have values.
    return path if has_words(path) else os.path.normpath(path)


def raw_text(at: At, value: object) -> bytes | NamedSecret:
    """Any string, in UTF-8, or a secret."""
    return secret(at, value) if isinstance(value, dict) else string(at, value).encode()


def secret(at: At, value: object) -> NamedSecret:
    """A table that names a secret of the file: `{ secret = "name" }`."""
    given = read_table(at, value, {"secret": text}, ["secret"])
    there = at.document.values.get("secret", {})
    if given["secret"] not in there:
        known = ", ".join(there) or "none"
        raise at.key("secret").wrong(f"{given['secret']!r} is no secret of the file; there are {known}")
    return NamedSecret.of(given["secret"])


def texts(at: At, value: object) -> tuple[str, ...]:
    """A list of strings."""
    found = tuple(text(at.item(index), item) for index, item in enumerate(of_type(at, value, list)))
    if not found:
        raise at.wrong("is empty")
    return found


def any_texts(at: At, value: object) -> tuple[str, ...]:
    """A string, or a list of them, which may be empty texts."""
    if isinstance(_one_or_more(at, value, str), str):
        return (any_text(at, value),)
    return tuple(any_text(at.item(index), item) for index, item in enumerate(of_type(at, value, list)))


def command(at: At, value: object) -> str | tuple[Word, ...]:
    """A line for `/bin/sh`, or a list of words, of which the first is not empty and those behind it may be secrets."""
    if isinstance(_one_or_more(at, value, str), str):
        return worded_text(at, value)
    words = tuple(word(at.item(index), item) for index, item in enumerate(of_type(at, value, list)))
    if not words or not words[0] or not isinstance(words[0], str):
        raise at.wrong("names no program")
    return words


def word(at: At, value: object) -> Word:
    """A string that may be empty and may have words, or a secret."""
    return secret(at, value) if isinstance(value, dict) else worded_any_text(at, value)


def count_from(least: int, most: int = 2**63 - 1) -> Kind:
    """Return the kind of the integers from `least` on."""
    return whole(least, most)


def exit_codes(at: At, value: object) -> tuple[int, ...]:
    """An exit code, or a list of them; negative ones are signals."""
    _one_or_more(at, value, int)
    items = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
    return tuple(_exit_code(at if index is None else at.item(index), item) for index, item in items)


def seconds(at: At, value: object) -> float:
    """A number of seconds, or a length of time such as `1h30m`."""
    if isinstance(value, str):
        length = parse_length(value)
        if length is None:
            raise at.wrong(f'should be seconds, or a length of time such as "1h30m" (d, h, m, s), not {value!r}')
        value = length
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise at.wrong(f'should be seconds, or a length of time such as "1h30m", not {kind_of(value)}')
    if not 0 <= value <= LONGEST:
        raise at.wrong(f"should be from 0 to {LONGEST} seconds, not {shown(value)}")
    return value


def positive_seconds(at: At, value: object) -> float:
    """A length of time that is not 0."""
    found = seconds(at, value)
    if not found:
        raise at.wrong("should be more than 0")
    return found


def seconds_or_never(at: At, value: object) -> float | None:
    """A length of time; 0 means that there is no limit."""
    return seconds(at, value) or None


def times_of_day(at: At, value: object) -> tuple[time, ...]:
    """A time such as `03:00`, or a list of them."""
    if isinstance(_one_or_more(at, value, str), str):
        return (_time_of_day(at, value),)
    found = tuple(_time_of_day(at.item(index), item) for index, item in enumerate(of_type(at, value, list)))
    if not found:
        raise at.wrong("is empty")
    return found


def _time_of_day(at: At, value: object) -> time:
    found = parse_time_of_day(of_type(at, value, str))
    if found is None:
        raise at.wrong(f'should be a time of the day such as "03:00", not {value!r}')
    return found


def environment(at: At, value: object) -> dict[str, EnvValue]:
    """Variables: a string, a list that is joined as paths are, a secret, or false to take the variable away."""
    found: dict[str, EnvValue] = {}
    for name, item in of_type(at, value, dict).items():
        here = at.key(name)
        if not name or "=" in name or "\0" in name:
            raise here.document.mistake(here.path, f"{name!r} is no name of a variable")
        if item is False:
            found[name] = None
        elif isinstance(item, list):
            found[name] = tuple(worded_any_text(here.item(index), word) for index, word in enumerate(item))
        elif isinstance(item, dict):
            found[name] = secret(here, item)
        elif isinstance(item, str):
            found[name] = worded_any_text(here, item)
        else:
            raise here.wrong(f"should be a string, an array of strings, or false to remove it, not {kind_of(item)}")
    return found


def log_files(at: At, value: object) -> dict[str, LogFile]:
    """Files by the name of their log."""
    found = {}
    for name, item in of_type(at, value, dict).items():
        here = at.key(name)
        if not name or name in ("stdio", "header") or not name.isprintable():
            raise here.document.mistake(here.path, f"{name!r} cannot be the name of a log file")
        if isinstance(_one_or_more(here, item, str, dict), str):
            found[name] = LogFile(worded_text(here, item))
        else:
            found[name] = LogFile(**read_table(here, item, LOG_FILE_KEYS, ["filename"]))
    return found


mode: Final = bits(0o7777)
_exit_code: Final = whole(-255, 255)

LOG_FILE_KEYS: Final[dict[str, Kind]] = {"filename": worded_text, "follow": flag}

SIGNALS: Final = tuple(name.removeprefix("SIG") for name in signal.Signals.__members__)


def _one_or_more(at: At, value: object, one: type, more: type = list) -> object:
    return of_type(at, value, one, more)
