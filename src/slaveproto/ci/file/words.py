"""Words in the texts of a build file: `%(NAME)s` and `%(prop:NAME)s` stand for properties of the build. Pure.

Rules.

* `%(revision)s` is one of our `WORDS`, `%(prop:NAME)s` any property. Behind the name may stand `:-TEXT`, which counts
  if there is no such property, or our word is empty; `:~TEXT`, which counts if it is empty, too; `:+TEXT`, which counts
  in place of a property that is there, and else nothing does. Buildbot's `Interpolate` has these, and conditions
  (`:?`) besides.
* Directly before `(NAME)s`, and before `(prop:`, two percent signs stand for one, so `%%(revision)s` is the text
  `%(revision)s`. Any other percent sign is itself.
* A value comes from those who may send changes. Where it could become more than a text it is refused, and the step is
  an exception: in a line for a shell any character but letters, digits, blanks and `@+=:,./_-`; in a path an empty
  value, an absolute one and the component `.` or `..`; in a variable `${`, which slaves replace; anywhere the null
  character.
  What the file itself says, the text behind `:-` too, is not judged.
* Values are put in once: what they contain is never looked at for words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import Enum
from typing import Final, assert_never

import attrs

from slaveproto.ci.properties import WORDS
from slaveproto.master import steps
from slaveproto.master.steps import AnyStep, EnvValue, LogFile, Shell, Word

_SELECTORS: Final = "prop|src|kw|secret|worker|slave"
_FORM: Final = re.compile(rf"(%+)\((?:((?:{_SELECTORS}):[^()]*|[A-Za-z0-9_.-]+(?::[-~+][^()]*)?)\)s|prop:)")
"""A word, or the beginning of one that has no end."""
_INSIDE: Final = re.compile(r"(?:(prop):)?([A-Za-z0-9_.-]+)(?::([-~+])(.*))?", re.DOTALL)
_HARMLESS: Final = re.compile(r"[\w@+=:,./ -]*")


class UnfilledWord(Exception):
    """A word has no value, or one that may not stand there; the message names it."""


class WordPlace(Enum):
    """The kind of text that a word stands in."""

    TEXT = "a word of a command"
    LINE = "a line for a shell"
    VARIABLE = "a variable"
    PATH = "a path"


def has_words(text: str) -> bool:
    """Whether a text is not what it says."""
    return _FORM.search(text) is not None


def mistake_in(text: str) -> str | None:
    """Return what is wrong with the words of a text, whatever properties the build has; None if nothing is."""
    for percents, inside in _FORM.findall(text):
        if len(percents) % 2 == 0:
            continue
        if not inside:
            return "has %(prop: without its end )s, or with brackets in it; %%(prop: stands for the text itself"
        written = f"%({inside})s"
        found = _INSIDE.fullmatch(inside)
        meant = f"%{written} stands for the text itself"
        if found is None and inside.startswith("secret:"):
            return f'has {written}: a secret is not a property, but {{ secret = "NAME" }} in its own place; {meant}'
        if found is None:
            return f"has {written}, which is not of the form %(prop:NAME)s, with :-TEXT, :~TEXT or :+TEXT; {meant}"
        if found[1] is None and found[2] not in WORDS:
            return f"has the unknown word {written}; there are {', '.join(WORDS)}, and %(prop:NAME)s; {meant}"
    return None


def properties_in(text: str) -> list[str]:
    """Return the names of the properties that a text without mistakes depends on."""
    insides = [inside for percents, inside in _FORM.findall(text) if len(percents) % 2]
    return [found[2] for found in map(_INSIDE.fullmatch, insides) if found is not None]


def literal(text: str) -> str:
    """Return the text that stands for this one."""
    return _FORM.sub(lambda match: f"{match[1]}{match[0]}", text)


def filled(text: str, properties: Mapping[str, str], place: WordPlace) -> str:
    """Return a text with the values of its words.

    Raises:
        UnfilledWord: a property is not there, or has a value that may not stand here.
    """

    def value(match: re.Match[str]) -> str:
        percents, inside = match[1], match[2]
        kept = percents[: len(percents) // 2]
        if len(percents) % 2 == 0:
            return kept + match[0].removeprefix(percents)
        found = _INSIDE.fullmatch(inside or "")
        assert found is not None, "the file was checked"
        return kept + _value(f"%({inside})s", found[2], found[3], found[4], properties, place)

    return _FORM.sub(value, text)


def _value(
    written: str, name: str, operator: str | None, text: str, properties: Mapping[str, str], place: WordPlace
) -> str:
    value = properties.get(name, "" if name in WORDS else None)
    there = value is not None and not (value == "" and name in WORDS)
    if operator == "+":
        return text if there else ""
    if (operator == "-" and not there) or (operator == "~" and not value):
        return text
    if value is None:
        raise UnfilledWord(f"{written}: the build has no property {name}")
    why = _why_not(value, place)
    if why:
        # Without the value: a part of it could be a part of a secret, which no mask finds.
        raise UnfilledWord(f"{written}: {why}, which may not stand in {place.value}")
    return value


def _why_not(value: str, place: WordPlace) -> str:
    if "\0" in value:
        return "the value has a null character"
    match place:
        case WordPlace.TEXT:
            return ""
        case WordPlace.LINE:
            return "" if _HARMLESS.fullmatch(value) else "the value has characters that mean something to a shell"
        case WordPlace.VARIABLE:
            return "the value has a ${" if "${" in value else ""
        case WordPlace.PATH:
            parts = re.split(r"[/\\]", value)
            if not value:
                return "the value is empty"
            if not parts[0] or re.match("[A-Za-z]:", value):
                return "the value is an absolute path"
            return "the value leads elsewhere" if {".", ".."} & set(parts) else ""
        case _:
            assert_never(place)


@attrs.frozen
class Filler:
    """The words of a build's steps, with their values.

    Args:
        properties: of the build.
    """

    properties: Mapping[str, str]

    def step(self, step: AnyStep, env: Mapping[str, EnvValue]) -> AnyStep:
        """Return a step with the values of its words.

        Args:
            step: as the file has it.
            env: variables of the builder that have words; they are put under those of a command.

        Raises:
            UnfilledWord: a word has no value.
        """
        step = attrs.evolve(step, workdir=self._path(step.workdir))
        match step:
            case Shell():
                return self._shell(step, env)
            case steps.MakeDirectory() | steps.ListDirectory():
                return attrs.evolve(step, dir=self._path(step.dir))
            case steps.RemoveDirectory():
                return attrs.evolve(step, dirs=tuple(map(self._path, step.dirs)))
            case steps.CopyDirectory():
                return attrs.evolve(step, source=self._path(step.source), dest=self._path(step.dest))
            case steps.RemoveFile():
                return attrs.evolve(step, path=self._path(step.path))
            case steps.StatFile():
                return attrs.evolve(step, file=self._path(step.file))
            case steps.Glob():
                return attrs.evolve(step, pattern=self._path(step.pattern))
            case steps.UploadFile() | steps.UploadDirectory():
                return attrs.evolve(step, src=self._path(step.src), dest=self._own_path(step.dest))
            case steps.DownloadFile():
                return attrs.evolve(step, src=self._own_path(step.src), dest=self._path(step.dest))
            case steps.DownloadString():
                return attrs.evolve(step, dest=self._path(step.dest))
            case _:
                assert_never(step)

    def _shell(self, step: Shell, env: Mapping[str, EnvValue]) -> Shell:
        command = step.command
        if isinstance(command, str):
            command = filled(command, self.properties, WordPlace.LINE)
        else:
            command = tuple(map(self._word, command))
        logfiles = {
            name: LogFile(self._path(file.filename), follow=file.follow) for name, file in step.logfiles.items()
        }
        own = {name: self._variable(value) for name, value in {**env, **step.env}.items()}
        return attrs.evolve(step, command=command, logfiles=logfiles, env=own)

    def _word(self, word: Word) -> Word:
        return filled(word, self.properties, WordPlace.TEXT) if isinstance(word, str) else word

    def _variable(self, value: EnvValue) -> EnvValue:
        if isinstance(value, str):
            return filled(value, self.properties, WordPlace.VARIABLE)
        if isinstance(value, tuple):
            return tuple(filled(part, self.properties, WordPlace.VARIABLE) for part in value)
        return value

    def _path(self, path: str) -> str:
        return filled(path, self.properties, WordPlace.PATH)

    def _own_path(self, path: str) -> str:
        return os.path.normpath(self._path(path)) if has_words(path) else path


def worded(env: Mapping[str, EnvValue]) -> dict[str, EnvValue]:
    """Return the variables that have words."""
    return {
        name: value
        for name, value in env.items()
        if (isinstance(value, str) and has_words(value)) or (isinstance(value, tuple) and any(map(has_words, value)))
    }
