"""Comparing what a master stored of the same build on its own slave and on ours."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

from slaveproto.testing.peers import BuildResult, Kind, Runner

# the long ones first: they set how long the whole run takes
BUILDERS = (
    "slow1",
    "slow2",
    "fs",
    "upload",
    "dirupload",
    "download",
    "big",
    "logfiles",
    "trickle",
    "sigterm",
    "maxtime",
    "timeout",
    "lazylog",
    "output",
    "hello",
    "shell",
    "unicode",
    "env",
    "envuni",
    "stdin",
    "pty",
    "obfuscated",
    "unknown",
    "badargs",
    "props",
)
# Only 0.8 has source commands.
SOURCE_BUILDERS = ("git", "svn", "cvs", "hg", "bzr", "darcs", "standins")
# The 4.3 master takes text only, so what becomes of bytes that are no UTF-8 is each slave's choice.
OLD_BUILDERS = ("binary",)
# 0.8.4 does not know these commands.
NEW_BUILDERS = ("newcmds",)
INTERRUPTED = ("interrupt", "interrupt2")

# Names of one length, so that neither they nor the paths move anything.
OURS: Mapping[str, Runner] = {"our": "threads", "tri": "trio"}
"""Our slaves beside the master's own one, and what they run on."""

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
    Noise("names, and with them all paths, differ in this word", r"\b(?:own|our|tri)\b", "SLAVE"),
    Noise("time", r"elapsedTime=\d+\.\d{6}\n", "elapsedTime=SECONDS\n"),
    Noise("time", r"\(u?'elapsed', \[\d[\d.e-]*\]\)", "('elapsed', [SECONDS])"),
    Noise("address of the environment of a program that could not be run", r"environment id \d+", "environment id N"),
    Noise("terminals are numbered by the system", r"/dev/pts/\d+", "/dev/pts/N"),
    Noise("each command has a mark of its own", r"SLAVEPROTO_COMMAND=\w+", "SLAVEPROTO_COMMAND=MARK", builder="env"),
    Noise("commands are numbered by the master", r"\(command \d+\)", "(command N)"),
    Noise(
        "of an exception as a page of HTML the heading is enough",
        r"(?s)\A\s*(?:<div>\s*)?<style.*?class=\"error\">(?P<what>.*?)</(?:p|div)>.*",
        r"\g<what>",
    ),
    Noise(
        "the module of an exception depends on the generation of Python and of the slave",
        r"\b(?:exceptions|builtins|(?:buildslave|buildbot_worker|slaveproto)(?:\.\w+)+)\.(?=[A-Z])",
        "",
    ),
    Noise(
        "frames of a traceback belong to a program, only the exception is protocol",
        r"Traceback (?:\(most recent call last\):|unavailable)\n(?:(?:[ \t]|--- ).*\n)*"
        r"(?:Failure: )?(?P<last>[\w.]+(?:: .*)?\n)(?P=last)?",
        r"Traceback: \g<last>",
    ),
    Noise(
        "4.3 breaks up long lines: the worker behind 4095 characters, otherwise the master behind 4096",
        r"(?<=x)\n+(?=x)",
        "",
        builder="output",
    ),
    Noise("the directory of a build", r"/\S*/SLAVE/SLAVE-\w+/build(?=/)", "PATH", builder="fs"),
    Noise("the directory of a build", r"/\S*/SLAVE/SLAVE-\w+/build(?=/)", "PATH", builder="dirupload"),
    Noise(
        "what a file system makes up: number and device of a file, and when it was read and touched",
        r"('stat', \[\(\d+), \d+L?, \d+L?, (\d+, \d+, \d+, \d+), \d+, \d+, \d+\)",
        r"\1, INODE, DEVICE, \2, TIMES)",
    ),
    Noise("a loop against the clock", r"(?:tick\n)+", "tick...\n", builder="maxtime"),
    Noise("lines are counted when a block of them is read", r"max lines: \d+/", "max lines: COUNT/", builder="sigterm"),
    Noise("the same for the output itself", r"(?:\d+\n){100,}", "100...\n", builder="sigterm"),
    Noise("a loop against the clock", r"(?:line \d+\n)+", "line...\n", builder="interrupt2"),
    Noise("the time when it was looked at", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000", "TIME", builder="cvs"),
    Noise("whether a program is called by its name or by its path", r"/\S+/(?=(?:p4|git) )", "", builder="standins"),
    Noise("the same in a list", r"(?<= argv: \[')/\S+/(?=(?:p4|git)',)", "", builder="standins"),
    Noise("white space between the fields of a form", r"(?m)^(  \| \w+:)[ \t]*", r"\1 ", builder="standins"),
    Noise("the same", r"writing \d+ bytes to stdin", "writing to stdin", builder="standins"),
)


Changes: TypeAlias = Mapping[str, tuple[str, str | Callable[[re.Match[str]], str]]]


@dataclass(frozen=True)
class Difference:
    """A known bug or artefact of a master's own slave.

    `changes` maps places, which may be patterns like ``raw/*``, to a pattern of the own slave's
    text and what we have instead.  Every change must apply somewhere, unless the own slave does it
    only ``sometimes``.
    """

    reason: str
    kind: Kind
    builder: str
    changes: Changes
    sometimes: bool = False


_NO_PROGRAM = {"shell_2/stdio/stderr": (r"(?s).+", "no-such-program-xyz: No such file or directory\n")}
_FOLLOWED = {
    "shell/second/stdout": (r"\A(?!alpha\n)", "alpha\n"),
    "shell_1/followed/stdout": (r"\A(?!more\n)", "more\n"),
}

_TREES: Changes = {
    "raw*/stdio/header": (
        r"(?s)(?:cp -R -P -p (?:-v )?(\S+) (\S+)|rm -rf (\S+))\n in dir .*?elapsedTime=SECONDS\n",
        lambda found: f"copying {found[1]} to {found[2]}\n" if found[1] else f"removing {found[3]}\n",
    ),
    "raw_10/stdio/stderr": (r"cp: cannot stat '(.*?)'", r"cpdir: \1"),
    "raw_11/stdio/stderr": (
        r"cp: cannot copy a directory, '.*?', into itself, '(.*?)'",
        r"cpdir: \1: a directory is not copied into itself",
    ),
}
# Where cp meets the directory that it makes, it stops: what comes later in the order of the file system is missing.
_INSIDE = (
    r"(?<=\./tree/sub/inside\n)(?:\./tree/sub/inside/.*\n)*",
    "".join(f"./tree/sub/inside/{name}\n" for name in ("deep", "deep/big", "two", "up")),
)
_INTO_ITSELF: Changes = {"shell_2/stdio/stdout": _INSIDE, "shell_3/stdio/stdout": _INSIDE}
_PURGED: Final = "after its purge, hg updates the tree twice, and the return code of the purge is shown"
_UNCLEAN: Final = "git updates a tree that was patched, and what the patch left there stays"
_PARTIAL: Final = "the option `--partial` of darcs, which darcs does not know any more"
_AROUND: Final = "git, repo and darcs take the tree around the builder's if that of the builder is damaged"
_CEILING: Changes = {
    "*/stdio/header": (
        r"( in dir (\S+?)/(?:build|source)(?:/\S+)? .*\n.*\n argv: \['\S*?(?:git|repo)', .*\n environment:\n)",
        r"\1  GIT_CEILING_DIRECTORIES=\2\n",
    )
}
_MARK: Changes = {"shell/stdio/stdout": (r"\Z", "SLAVEPROTO_COMMAND=MARK\n")}
_UNMARKED: Final = "what a command leaves behind cannot be found, for it has no mark"
_BEFORE_RC = (r"\A(program finished .*\n)((?:mkdir|stat|listdir|rmfile): .*\n)", r"\2\1")

DIFFERENCES: Sequence[Difference] = (
    Difference(_UNMARKED, "old", "env", _MARK),
    Difference(_UNMARKED, "new", "env", _MARK),
    Difference("trees are copied and removed by the programs cp and rm", "old", "fs", _TREES),
    Difference(
        "trees are copied and removed by the programs cp and rm",
        "new",
        "fs",
        {**_TREES, "raw*/stdio/stdout": (r"(?s)\A'.*' -> '.*\Z", "")},
    ),
    Difference(
        "trees are copied and removed by the programs cp and rm",
        "new",
        "newcmds",
        {"raw_12/stdio/header": _TREES["raw*/stdio/header"]},
    ),
    Difference(
        "a copy of a directory into itself ends where cp meets it, wherever that is", "old", "fs", _INTO_ITSELF, True
    ),
    Difference(
        "a copy of a directory into itself ends where cp meets it, wherever that is", "new", "fs", _INTO_ITSELF, True
    ),
    Difference(
        "that mkdir or stat failed is told by the return code 1 only",
        "old",
        "fs",
        {
            "raw_3/stdio/header": (
                r"\A.* 1\n",
                "mkdir: Not a directory: PATH/tree/one/below\nprogram finished with exit code 20\n",
            ),
            "raw_7/stdio/header": (
                r"\A.* 1\n",
                "stat: No such file or directory: PATH/none\nprogram finished with exit code 2\n",
            ),
        },
    ),
    Difference(
        "a header without an end of line is held back until after the return code",
        "new",
        "fs",
        {"raw_[37]/stdio/header": _BEFORE_RC},
    ),
    Difference(
        "a header without an end of line is held back until after the return code",
        "new",
        "newcmds",
        {"raw*/stdio/header": _BEFORE_RC},
    ),
    Difference(
        "an empty list of directories is an exception without a text",
        "new",
        "newcmds",
        {
            "raw_13/*": (
                r"AssertionError('?): ",
                r"ValueError\1: dir should name at least one directory",
            ),
        },
    ),
    Difference(
        "a directory that is not there is an exception that happens on the way",
        "old",
        "dirupload",
        {
            "result": ("exception", "success"),
            "text": (r"exception upload_\d", "build successful"),
            "upload_4/result": ("exception", "failure"),
            "upload_4/text": (r".+", "uploading none"),
            "upload_4/err.*": (r"(?s).+", ""),
            "upload_4/stderr/stdout": (
                r"\A\Z",
                "Cannot read directory 'PATH/none' for upload: [Errno 2] No such file or directory: 'PATH/none'\n",
            ),
        },
    ),
    Difference("Twisted says with a traceback that a program does not exist", "old", "shell", _NO_PROGRAM),
    Difference("Twisted says with a traceback that a program does not exist", "new", "shell", _NO_PROGRAM),
    Difference(
        "what is appended before the first look at a followed file gets lost",
        "old",
        "logfiles",
        _FOLLOWED,
        sometimes=True,
    ),
    Difference(
        "what is appended before the first look at a followed file gets lost",
        "new",
        "logfiles",
        _FOLLOWED,
        sometimes=True,
    ),
    Difference(
        "of a line longer than 8190 characters the second 4095 are lost",
        "new",
        "output",
        {"shell_2/stdio/stdout": (r"x{5905}", "x" * 10000)},
    ),
    Difference(
        "a dictionary of Python 2 forgets the order in which the master sent it",
        "old",
        "logfiles",
        {
            "shell_1/stdio/header": (r"('followed': {.*?}), ('never': '.*?'), ('whole': '.*?')", r"\3, \2, \1"),
        },
    ),
    Difference(
        "the worker closes the pipes with the signal: a trap that still writes dies of that, or is in time",
        "new",
        "sigterm",
        {
            "shell_1/stdio/stdout": (r"\Aup\n\Z", "up\ngot INT\n"),
            "shell_1/stdio/header": (
                "process killed by signal 13\nprogram finished with exit code -1",
                "program finished with exit code 6",
            ),
        },
        sometimes=True,
    ),
    Difference(
        "text that is not ASCII cannot be put into the environment",
        "old",
        "envuni",
        {
            "result": ("failure", "success"),
            "text": (".+", "build successful"),
            "shell/result": ("failure", "success"),
            "shell/text": (" failed", ""),
            "shell/stdio/header": ("exit code 1", "exit code 0"),
            "shell/stdio/stderr": (r"(?s).+", ""),
            "shell/stdio/stdout": (r"\A\Z", "UNI=caf\u00e9 \u2603\n"),
        },
    ),
    Difference(
        "obfuscated words are not known, their parts are shown and run",
        "old",
        "obfuscated",
        {
            "shell/stdio/header": (r"(?s)plain '\(.*?\n(.*)\"\(.*?\)\"", r"plain XXXX\n\1'XXXX'"),
            "shell/stdio/stdout": (r"\(.*\)", "s3cret-dummy"),
        },
    ),
    Difference(
        "a missing argument is an exception that happens on the way",
        "old",
        "badargs",
        {
            "raw/*": ("KeyError: 'command'", "ValueError: shell is missing args: command"),
            "raw_1/*": ("KeyError: 'dir'", "ValueError: mkdir is missing args: dir"),
            "raw*/err.text/stdout": ("KeyError\n", "ValueError\n"),
        },
    ),
    Difference(
        "an empty command is an exception that happens on the way",
        "old",
        "badargs",
        {
            "raw_4/*": ("AbandonChain: -1", "ValueError: an empty command"),
            "raw_4/err.text/stdout": ("AbandonChain", "ValueError"),
            "raw_4/stdio/stderr": (r"(?s).+", ""),
        },
    ),
    Difference(
        "a missing argument is an exception that happens on the way, "
        "or a shell command is called by the name of a class",
        "new",
        "badargs",
        {
            "raw/*": ("WorkerShellCommand is missing", "shell is missing"),
            "raw_1/*": (r"KeyError('?): 'dir'", r"ValueError\1: mkdir is missing args: dir"),
        },
    ),
    Difference(
        "an empty command is an exception that happens on the way",
        "new",
        "badargs",
        {
            "raw_4/*": (r"AbandonChain('?): \(-1, '.*?'\)", r"ValueError\1: an empty command"),
            "raw_4/stdio/stderr": (r"(?s).+", ""),
        },
    ),
    *(
        Difference(
            "trees are copied and removed by the programs cp and rm",
            "old",
            builder,
            {"*/stdio/header": _TREES["raw*/stdio/header"]},
        )
        for builder in SOURCE_BUILDERS
    ),
    *(
        Difference(
            "a tree that is gone is removed once more",
            "old",
            builder,
            {"raw*/stdio/header": (r"(removing .*\n)\1", r"\1")},
        )
        for builder in ("svn", "cvs", "bzr", "darcs", "standins")
    ),
    Difference(
        _PURGED,
        "old",
        "hg",
        {
            "raw*/stdio/header": (r"(?s)(/usr/bin/hg update (?:(?!elapsedTime).)*elapsedTime=SECONDS\n)\1", r"\1"),
            "raw*/stdio/stdout": (r"(\d+ files updated, .*\n)0 files updated, .*\n", r"\1"),
        },
    ),
    Difference(
        _PURGED, "old", "hg", {"raw*/stdio/header": (r"program finished with exit code \d+\n(?=elapsedTime)", "")}
    ),
    Difference(
        _UNCLEAN,
        "old",
        "git",
        {
            f"{step}/stdio/header": (
                r"(?s)(?<=starting git operation\n)(?:fetching [^\n]*\n)?\S*git [^\n]*"
                r"(\n in dir .*?argv: \['\S*git', )[^\n]*(\n.*?elapsedTime=SECONDS\n)",
                r"/usr/bin/git clean -f -d -x\1'clean', '-f', '-d', '-x']\2\g<0>",
            )
            for step in ("raw_4", "raw_5", "raw_10")
        },
    ),
    Difference(
        _UNCLEAN,
        "old",
        "git",
        {
            **{f"raw_{step}/stdio/stdout": (r"\A", "Removing .buildbot-patched\n") for step in (4, 5)},
            "raw_10/stdio/stdout": (r"\A", "Removing .buildbot-patched\nRemoving file.orig\nRemoving file.rej\n"),
            "raw_12/stdio/stdout": (r"(?:Removing .*\n)+", ""),
            **{
                f"shell_{step}/stdio/stdout": (r"(?m)^\./(?:\.buildbot-patched|file\.orig|file\.rej): .*\n", "")
                for step in (6, 11, 12)
            },
        },
    ),
    Difference("a word of the log of hg is misspelt", "old", "hg", {"raw*/stdio/header": ("Cloberring", "Clobbering")}),
    Difference(_PARTIAL, "old", "darcs", {"*/stdio/header": ("--partial", "--lazy")}),
    Difference(
        _PARTIAL, "old", "darcs", {"*/stdio/stderr": (r"command line: unrecognized .*\n(?:Copying patches, .*\n)?", "")}
    ),
    Difference(_AROUND, "old", "git", _CEILING),
    Difference(
        "an update that fails costs the tree, whether the repository answers or not",
        "old",
        "git",
        {
            "raw_21/stdio/header": (
                r"(?s)/usr/bin/git reset --hard \w+\n in dir (\S+)/build([^\n]*\n watching[^\n]*\n) argv: [^\n]*"
                r"((?:(?!elapsedTime).)*\n  PWD=)\S+(\n using PTY: False\nelapsedTime=SECONDS\n)(?=update failed)",
                lambda found: found[0] + _asked(found),
            )
        },
    ),
    Difference(_AROUND, "old", "standins", _CEILING),
    Difference(
        _AROUND,
        "old",
        "darcs",
        {
            "raw*/stdio/header": (
                r"(pull --all --verbose)|(?<='pull', '--all', '--verbose')",
                lambda found: f"{found[1]} --repodir ." if found[1] else ", '--repodir', '.'",
            )
        },
    ),
    Difference(
        "mtn's revision is looked for where it is not, and never found",
        "old",
        "standins",
        {
            f"{step}/updates/stdout": (r"\[None\]", "['0123456789abcdef0123456789abcdef01234567']")
            for step in ("raw", "raw_1", "raw_2")
        },
    ),
    Difference(
        "bk gets an empty word if no revision is wanted",
        "old",
        "standins",
        {"raw_8/stdio/header": (r' ""|(?<=\'), \'\'', ""), "raw_8/stdio/stderr": (r" \[\]", "")},
    ),
)


def _asked(found: re.Match[str]) -> str:
    """The log of the question whether the repository answers."""
    url = re.findall(r"fetching branch master from (\S+)\n", found.string)[0]
    return (
        f"/usr/bin/git ls-remote {url} HEAD\n in dir {found[1]}{found[2]}"
        f" argv: ['/usr/bin/git', 'ls-remote', '{url}', 'HEAD']{found[3]}{found[1]}{found[4]}"
    )


def facts(builder: str, build: BuildResult) -> dict[str, str]:
    """Return what is compared of a build, without the noise."""
    raw = {"result": build.result, "text": build.text, "steps": "".join(f"{step.name}\n" for step in build.steps)}
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
    return "\n".join(
        f"{where}: {_first_mismatch(wanted.get(where, ''), got.get(where, ''))}"
        for where in sorted({*wanted, *got})
        if wanted.get(where, "") != got.get(where, "")
    )


def _first_mismatch(own: str, ours: str) -> str:
    pairs = zip(own, ours, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(own), len(ours)))
    start = max(0, at - 60)
    return f"from character {at}\n  own  {own[start : at + 300]!r}\n  ours {ours[start : at + 300]!r}"


def expected(kind: Kind, builder: str, own: Facts) -> dict[str, str]:
    """Return the facts of the own slave as they would be without its bugs.

    Fails when a row of DIFFERENCES for this build does not apply any more.
    """
    wanted = dict(own)
    for row in DIFFERENCES:
        if (row.kind, row.builder) == (kind, builder):
            for place, (pattern, replacement) in row.changes.items():
                changed = _change(wanted, place, pattern, replacement)
                assert changed or row.sometimes, f"{row.reason}: not so any more at {place}"
                wanted.update(changed)
    return wanted


def _change(own: Facts, place: str, pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> dict[str, str]:
    """Return the facts that the change alters; a place without any text is the empty text."""
    places = [where for where in own if fnmatchcase(where, place)] or [place]
    texts = {where: re.sub(pattern, replacement, own.get(where, "")) for where in places}
    return {where: text for where, text in texts.items() if text != own.get(where, "")}
