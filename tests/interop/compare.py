"""Comparing what a master stored of the same build on its own slave and on ours."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.peers import BuildResult, Kind

# the long ones first: they set how long the whole run takes
BUILDERS = ("slow1", "slow2", "big", "logfiles", "trickle", "sigterm", "maxtime", "timeout", "lazylog",
            "output", "hello", "shell", "unicode", "env", "envuni", "stdin", "pty", "obfuscated", "unknown",
            "badargs", "props")
# the 4.3 master takes text only, so what becomes of bytes that are no UTF-8 is each slave's choice
OLD_BUILDERS = ("binary",)
INTERRUPTED = ("interrupt", "interrupt2")

Facts = Mapping[str, str]
"""All that is compared of a build: where it stands ("shell_2/stdio/stderr") to its text."""


@dataclass(frozen=True)
class Noise:
    """Text that differs from run to run, with any slave; `builder` limits it to one builder."""

    reason: str
    pattern: str
    replacement: str
    builder: str = ""


NOISE: Sequence[Noise] = (
    Noise("names, and with them all paths, differ in this word", r"\b(?:own|our)\b", "SLAVE"),
    Noise("time", r"elapsedTime=\d+\.\d{6}\n", "elapsedTime=SECONDS\n"),
    Noise("time", r"\('elapsed', \[\d[\d.e-]*\]\)", "('elapsed', [SECONDS])"),
    Noise("address of the environment of a program that could not be run",
          r"environment id \d+", "environment id N"),
    Noise("terminals are numbered by the system", r"/dev/pts/\d+", "/dev/pts/N"),
    Noise("commands are numbered by the master", r"\(command \d+\)", "(command N)"),
    Noise("of an exception as a page of HTML the heading is enough",
          r"(?s)\A\s*(?:<div>\s*)?<style.*?class=\"error\">(?P<what>.*?)</(?:p|div)>.*", r"\g<what>"),
    Noise("the module of an exception depends on the generation of Python and of the slave",
          r"\b(?:exceptions|builtins|(?:buildslave|buildbot_worker|slaveproto)(?:\.\w+)+)\.(?=[A-Z])", ""),
    Noise("frames of a traceback belong to a program, only the exception is protocol",
          r"Traceback (?:\(most recent call last\):|unavailable)\n(?:(?:[ \t]|--- ).*\n)*"
          r"(?:Failure: )?(?P<last>[\w.]+(?:: .*)?\n)(?P=last)?", r"Traceback: \g<last>"),
    Noise("a loop against the clock", r"(?:tick\n)+", "tick...\n", builder="maxtime"),
    Noise("lines are counted when a block of them is read", r"max lines: \d+/", "max lines: COUNT/",
          builder="sigterm"),
    Noise("the same for the output itself", r"(?:\d+\n){100,}", "100...\n", builder="sigterm"),
    Noise("a loop against the clock", r"(?:line \d+\n)+", "line...\n", builder="interrupt2"),
)


@dataclass(frozen=True)
class Difference:
    """A known bug or artefact of a master's own slave: `own` stands where we have `ours`."""

    kind: Kind
    builder: str
    where: str
    own: str
    ours: str
    reason: str


DIFFERENCES: Sequence[Difference] = ()


def facts(builder: str, build: BuildResult) -> dict[str, str]:
    """Return what is compared of a build, without the noise."""
    raw = {"result": build.result, "text": build.text,
           "steps": "".join(f"{step.name}\n" for step in build.steps)}
    for step in build.steps:
        raw[f"{step.name}/result"] = str(step.result)
        raw[f"{step.name}/text"] = step.text
        for log, streams in step.logs.items():
            raw.update({f"{step.name}/{log}/{stream}": text for stream, text in streams.items()})
    return {where: _without_noise(builder, text) for where, text in raw.items()}


def _without_noise(builder: str, text: str) -> str:
    for noise in NOISE:
        if noise.builder in ("", builder):
            text = re.sub(noise.pattern, noise.replacement, text)
    return text


def mismatches(kind: Kind, builder: str, own: BuildResult, ours: BuildResult) -> str:
    """Return where two builds differ that should not, as text for a person; "" if nowhere."""
    wanted, got = expected(kind, builder, facts(builder, own)), facts(builder, ours)
    return "\n".join(f"{where}: {_first_mismatch(wanted.get(where, ''), got.get(where, ''))}"
                     for where in sorted({*wanted, *got}) if wanted.get(where, "") != got.get(where, ""))


def _first_mismatch(own: str, ours: str) -> str:
    pairs = zip(own, ours, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(own), len(ours)))
    start = max(0, at - 60)
    return f"from character {at}\n  own  {own[start:at + 300]!r}\n  ours {ours[start:at + 300]!r}"


def expected(kind: Kind, builder: str, own: Facts) -> dict[str, str]:
    """Return the facts of the own slave as they would be without its bugs.

    Fails when a row of DIFFERENCES for this build does not apply any more.
    """
    wanted = dict(own)
    for row in DIFFERENCES:
        if (row.kind, row.builder) == (kind, builder):
            text = wanted.get(row.where, "")
            assert row.own in text, f"{row} is not needed: {text!r}"
            wanted[row.where] = text.replace(row.own, row.ours)
    return wanted
