"""Words of the build file: their form, their values, and the places where a value may not stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.ci.file.build_file import BuilderEntry
from slaveproto.ci.file.secrets import NamedSecret
from slaveproto.ci.file.words import Filler, UnfilledWord, WordPlace, filled, has_words, literal, mistake_in, worded
from slaveproto.master import steps
from slaveproto.master.steps import AnyStep, LogFile, Shell
from tests.ci.test_build_file import BUILDER, read, refusal

PROPERTIES = {"revision": "1f2e", "branch": "", "buildnumber": "7", "k": "v", "empty": "", "p%": "no", "word": "%(k)s"}


def fill(text: str, place: WordPlace = WordPlace.TEXT) -> str:
    assert mistake_in(text) is None
    return filled(text, PROPERTIES, place)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("%(revision)s", "1f2e"),
        ("%(prop:revision)s-%(buildnumber)s", "1f2e-7"),
        ("%(prop:k)s", "v"),
        # A word that a request does not have is empty, and counts as missing.
        ("<%(branch)s%(who)s>", "<>"),
        ("%(branch:-main)s %(prop:branch:~main)s", "main main"),
        ("%(prop:none:-a default: of signs %)s", "a default: of signs %"),
        ("<%(prop:empty)s%(prop:empty:-x)s>", "<>"),
        ("%(prop:empty:~x)s %(prop:none:~y)s %(revision:~z)s", "x y 1f2e"),
        ("%(prop:k:+there)s %(prop:empty:+there)s <%(prop:none:+there)s%(branch:+there)s>", "there there <>"),
        ("%(prop:none:-)s", ""),
        # Percent signs.
        ("100% %s %d %% %%s %(", "100% %s %d %% %%s %("),
        ("%%(revision)s", "%(revision)s"),
        ("%%%(revision)s %%%%(revision)s", "%1f2e %%(revision)s"),
        ("%%(no word of ours)s %%(asctime)s", "%%(no word of ours)s %(asctime)s"),
        ("printf '%(%Y)T' $(date +%s)", "printf '%(%Y)T' $(date +%s)"),
        ("%(revision)d %(revision) %revision", "%(revision)d %(revision) %revision"),
        # Nothing is looked at twice.
        ("%(prop:word)s", "%(k)s"),
    ],
)
def test_what_a_text_means(text: str, meaning: str) -> None:
    assert fill(text) == meaning


@given(st.text(alphabet="%()skprop:-+x ", max_size=30))
def test_every_text_can_be_written(text: str) -> None:
    assert mistake_in(literal(text)) is None
    assert filled(literal(text), {}, WordPlace.PATH) == text
    if not has_words(text):
        assert literal(text) == text


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("%(revison)s", "has the unknown word %(revison)s; there are revision, branch, "),
        ("%(k)s", "and %(prop:NAME)s; %%(k)s stands for the text itself"),
        ("%(k:-x)s", "has the unknown word %(k:-x)s"),
        ("%(prop:a b)s", "has %(prop:a b)s, which is not of the form %(prop:NAME)s"),
        ("%(prop:a:?|b|c)s", "has %(prop:a:?|b|c)s, which is not of the form"),
        ("%(prop:a:-$(id))s", "has %(prop: without its end )s, or with brackets in it; %%(prop: stands for the text"),
        ("%(prop:a)", "without its end )s"),
        ("%(src::revision)s", "has %(src::revision)s, which is not of the form"),
        ("%(secret:token)s", 'a secret is not a property, but { secret = "NAME" } in its own place'),
    ],
)
def test_mistakes(word: str, words: str, tmp_path: Path) -> None:
    """Each is told with its line, whatever kind of text it stands in."""
    assert words in (mistake_in(f"a {word} b") or "")
    places = (
        f'shell = "echo {word}"',
        f'shell = ["echo",\n"{word}"]',
        f'shell = "x"\nenv = {{ A = "{word}" }}',
        f'shell = "x"\nenv = {{ A = ["{word}"] }}',
        f'mkdir = "x"\nworkdir = "{word}"',
        f'rmdir = ["x", "{word}"]',
        f'copy = {{ from = "{word}", to = "x" }}',
        f'shell = "x"\nlogfiles = {{ a = "{word}" }}',
        f'upload = {{ src = "x", dest = "{word}" }}',
        f'download = {{ src = "{word}", dest = "x" }}',
        f'download_string = {{ text = "x", dest = "{word}" }}',
    )
    for place in places:
        line, _, told = refusal(tmp_path, f"{BUILDER}[[builder.step]]\n{place}\n").partition(": ")
        assert words in told
        assert int(line) == 4 + place.count("\n")
    assert words in refusal(tmp_path, f'{BUILDER}env = {{ A = "{word}" }}\n[[builder.step]]\nmkdir = "x"\n')


def test_texts_that_are_contents_have_no_words(tmp_path: Path) -> None:
    """A file that is written, and what a command reads, may be a program of their own language."""
    text = (
        f"{BUILDER}[[builder.step]]\ndownload_string = {{ text = '%(asctime)s', dest = 'x' }}\n"
        "[[builder.step]]\nname = '%(x)s'\nshell = 'cat'\ninitial_stdin = '%(prop:'\n"
    )
    first, second = read(tmp_path, text).builders["b"].steps
    assert isinstance(first, steps.DownloadString)
    assert first.data == b"%(asctime)s"
    assert second.title == "%(x)s"


def one_step(folder: Path, text: str) -> BuilderEntry:
    return read(folder, f"{BUILDER}[[builder.step]]\n{text}\n").builders["b"]


def step_of(folder: Path, text: str, **properties: str) -> AnyStep:
    entry = one_step(folder, text)
    return Filler(properties).step(entry.steps[0], worded(entry.env))


def test_every_field_of_a_step(tmp_path: Path) -> None:
    """Every text that names a path or is a part of a command."""
    contents = ("name", "data", "compress", "interrupt_signal")
    for make in get_args(steps.AnyStep):
        types = {name: str(field.type) for name, field in attrs.fields_dict(make).items() if name not in contents}
        texts: dict[str, Any] = {name: "%(prop:k)s" for name, kind in types.items() if kind.startswith("str")}
        texts |= {name: ("%(prop:k)s",) for name, kind in types.items() if kind.startswith("tuple[str")}
        more = {"data": b"x"} if make is steps.DownloadString else {}
        done = Filler({"k": "v"}).step(make(**texts, **more), {})
        assert len(texts) > 1
        assert "prop:k" not in str(done), make
    text = 'shell = "x"\nlogfiles = { a = { filename = "%(revision)s", follow = true } }'
    followed = {"a": LogFile("1", follow=True)}
    assert step_of(tmp_path, text, revision="1") == Shell(command="x", logfiles=followed, halt_on_failure=True)


def test_commands_and_variables(tmp_path: Path) -> None:
    entry = read(
        tmp_path,
        '[secret.t]\nfile = "t"\n[[builder]]\nname = "b"\nenv = { A = "%(branch)s", B = "b", C = ["x", "%(prop:k)s"], '
        'D = "%%(x)s", T = { secret = "t" } }\n[[builder.step]]\nshell = ["echo", "%(branch)s", { secret = "t" }]\n'
        'env = { A = "own", E = "%(prop:k)s", F = false }\n',
    ).builders["b"]
    assert worded(entry.env) == {"A": "%(branch)s", "C": ("x", "%(prop:k)s"), "D": "%%(x)s"}
    step = Filler({"branch": "$(id) ; 'x\n", "k": "v"}).step(entry.steps[0], worded(entry.env))
    assert isinstance(step, Shell)
    assert step.command == ("echo", "$(id) ; 'x\n", NamedSecret.of("t"))
    assert step.env == {"A": "own", "C": ("x", "v"), "D": "%(x)s", "E": "v", "F": None}


def test_paths_on_the_master(tmp_path: Path) -> None:
    folder = tmp_path / "%(revision)s"
    folder.mkdir()
    upload = 'upload = { src = "a/%(revision)s", dest = "out/../up/%(branch)s/x" }'
    step = step_of(folder, upload, revision="1", branch="feature/7")
    assert step == steps.UploadFile(src="a/1", dest=f"{folder}/up/feature/7/x")
    assert step_of(folder, 'upload = { src = "a", dest = "x" }') == steps.UploadFile(src="a", dest=f"{folder}/x")


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (WordPlace.LINE, "x; id", "characters that mean something to a shell"),
        (WordPlace.LINE, "$(id)", "characters that mean something to a shell"),
        (WordPlace.LINE, "a\nb", "characters that mean something to a shell"),
        (WordPlace.LINE, "%PATH%", "characters that mean something to a shell"),
        (WordPlace.VARIABLE, "a${HOME}", r"has a \${, which may not stand in a variable$"),
        (WordPlace.PATH, "", "is empty"),
        (WordPlace.PATH, "/etc/passwd", "an absolute path"),
        (WordPlace.PATH, "C:x", "an absolute path"),
        (WordPlace.PATH, "\\\\host\\x", "an absolute path"),
        (WordPlace.PATH, "a/../../b", "leads elsewhere"),
        (WordPlace.PATH, "a\\..\\b", "leads elsewhere"),
        (WordPlace.PATH, ".", "leads elsewhere"),
        (WordPlace.TEXT, "a\0b", "has a null character"),
        (WordPlace.PATH, "a\0b", "has a null character"),
    ],
)
def test_values_that_may_not_stand_there(place: WordPlace, value: str, why: str) -> None:
    with pytest.raises(UnfilledWord, match=rf"^%\(prop:x\)s: the value .*{why}"):
        filled("a%(prop:x)s", {"x": value}, place)


def test_values_that_may() -> None:
    assert (
        filled("%(branch)s", {"branch": "feature/Ä_7+x@y=1:a.b-c d,e"}, WordPlace.LINE) == "feature/Ä_7+x@y=1:a.b-c d,e"
    )
    assert filled("%(prop:x:-$A; `id` ..)s", {}, WordPlace.LINE) == "$A; `id` .."
    assert filled("%(branch)s", {"branch": "a..b/.c"}, WordPlace.PATH) == "a..b/.c"
    assert filled("%(branch)s", {"branch": "$HOME ${"}, WordPlace.TEXT) == "$HOME ${"


def test_a_property_that_is_not_there() -> None:
    with pytest.raises(UnfilledWord, match=r"^%\(prop:python\)s: the build has no property python$"):
        filled("a %(prop:python)s", {}, WordPlace.TEXT)
