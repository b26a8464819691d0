"""Named lists of steps and matrices: many builders from one text."""

from __future__ import annotations

from pathlib import Path

import pytest

from slaveproto.ci.builds import Run
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.conditions import Condition, StepExtras
from slaveproto.ci.file.factories import MOST, MOST_STEPS
from slaveproto.ci.masking import Vault
from slaveproto.ci.properties import pack
from slaveproto.cli import main
from slaveproto.master.steps import MakeDirectory
from tests.ci.test_build_file import BUILDER, STEP, read, refusal

LIST = '[[steps.a]]\nmkdir = "one"\n[[steps.a]]\nmkdir = "two"\nrun_if = { step = "mkdir one" }\n'
USE = '[[builder.step]]\nuse = "a"\n'


def test_a_list_of_steps(tmp_path: Path) -> None:
    """Before, between and behind other steps, in several builders and in another list."""
    text = (
        f'{BUILDER}{STEP}{USE}{STEP}[[builder]]\nname = "c"\n[[builder.step]]\nuse = "b"\n'
        f'[[steps.b]]\nuse = "a"\n[[steps.b]]\nmkdir = "x"\n[[steps.b]]\nuse = "a"\n{LIST}'
    )
    builders = read(tmp_path, text).builders
    one, two, other = (MakeDirectory(dir=name) for name in ("one", "two", "x"))
    assert builders["b"].steps == (other, one, two, other)
    assert builders["c"].steps == (one, two, other, one, two)
    extras = StepExtras(run_if=Condition(step="mkdir one"))
    assert (builders["b"].extras, builders["c"].extras) == ({2: extras}, {1: extras, 4: extras})
    first, *_, last = (step for step in builders["c"].steps if step == two)
    assert first is not last, "a step of a build is known by what it is"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{BUILDER}{USE}", "4: use 'a' is no [[steps.NAME]] of the file; there are none"),
        (f'{LIST}{BUILDER}[[builder.step]]\nuse = "b"\n', "9: use 'b' is no [[steps.NAME]] of the file; there are a"),
        (f'{LIST}{BUILDER}{USE}name = "x"\n', "10: name cannot be in the same step as use"),
        (f"{LIST}{BUILDER}{USE}run_if = {{}}\n", "10: run_if cannot be in the same step as use"),
        (f'[[steps.a]]\nuse = "b"\n[[steps.b]]\nuse = "a"\n{BUILDER}{STEP}', "4: use 'a' would have no end: a uses b"),
        (f'[[steps.a]]\nuse = "a"\n{BUILDER}{STEP}', "2: use 'a' would have no end: a"),
        (f'[steps.a]\nmkdir = "x"\n{BUILDER}{STEP}', "1: steps.a should be [[steps.a]]"),
        (f"steps = 5\n{BUILDER}{STEP}", "1: [steps] should be a table, not an integer"),
        # A list that no builder uses is read, too.
        (f'[[steps.a]]\nmkdri = "x"\n{BUILDER}{STEP}', "2: unknown key 'mkdri'; there are shell, "),
        (f'[[steps.a]]\nname = "x"\n{BUILDER}{STEP}', "1: [[steps.a]] does nothing; it should have one of shell, "),
        (
            f'[[steps.a]]\nmkdir = "x"\nrun_if = {{ step = "y" }}\n{BUILDER}{USE}',
            "3: run_if.step 'y' is no step before this one; there are none",
        ),
    ],
)
def test_mistakes_of_lists(text: str, why: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, text).startswith(why)


def test_lists_that_grow(tmp_path: Path) -> None:
    """Thirty lists, each of which uses the next one twice, are a thousand million steps."""
    lists = "".join(f'[[steps.l{n}]]\nuse = "l{n + 1}"\n' * 2 for n in range(30)) + '[[steps.l30]]\nmkdir = "x"\n'
    told = refusal(tmp_path, f'{BUILDER}[[builder.step]]\nuse = "l0"\n{lists}')
    assert told == f"1: [[builder]] has more than {MOST_STEPS} steps"


FIFTY = [str(number) for number in range(50)]
MATRIX = 'matrix = { os = ["deb", "bsd"], python = ["3.11", "3.13"] }\n'


def test_a_matrix(tmp_path: Path) -> None:
    text = f'{BUILDER}{MATRIX}[[builder.step]]\nmkdir = "%(prop:os)s"\n'
    builders = read(tmp_path, text).builders
    assert list(builders) == ["b-deb-3.11", "b-deb-3.13", "b-bsd-3.11", "b-bsd-3.13"]
    one = builders["b-bsd-3.11"]
    assert (one.properties, one.builddir) == ({"os": "bsd", "python": "3.11"}, "b-bsd-3.11")
    assert one.steps == (MakeDirectory(dir="%(prop:os)s"),)
    run = Run(one, "s", 1, Vault(), pack({"python": "4", "k": "v"}))
    assert (run.properties["python"], run.properties["os"], run.properties["k"]) == ("3.11", "bsd", "v")


def test_words_of_a_matrix(tmp_path: Path) -> None:
    slaves = "".join(f'[[slave]]\nname = "{name}"\npassword = "pw"\n' for name in ("deb", "bsd", "any"))
    text = (
        f'{slaves}[[builder]]\nname = "%(prop:os)s: %(prop:python)s, 100%"\nslaves = ["%(prop:os)s", "any"]\n'
        f'builddir = "d/%(prop:python)s-%(prop:os)s"\n{MATRIX}{STEP}'
    )
    builders = read(tmp_path, text).builders
    assert list(builders)[-1] == "bsd: 3.13, 100%"
    assert [entry.slaves for entry in builders.values()] == [("deb", "any")] * 2 + [("bsd", "any")] * 2
    assert builders["bsd: 3.13, 100%"].builddir == "d/3.13-bsd"


def test_without_a_matrix_a_name_is_a_name(tmp_path: Path) -> None:
    assert list(read(tmp_path, f'[[builder]]\nname = "%(prop:x)s %(y)s"\n{STEP}').builders) == ["%(prop:x)s %(y)s"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("matrix = {}", "3: matrix is empty"),
        ("matrix = 5", "3: matrix should be a table, not an integer"),
        ('matrix = { a = "x" }', "3: matrix.a should be an array, not a string"),
        ("matrix = { a = [] }", "3: matrix.a is empty"),
        ("matrix = { a = [3.11] }", "3: item 1 of matrix.a should be a string, not a float"),
        ('matrix = { a = ["x",\n"x"] }', "4: item 2 of matrix.a 'x' comes twice"),
        ('matrix = { branch = ["x"] }', "3: matrix.branch should be another name: branch is what the master says"),
        ('matrix = { "a b" = ["x"] }', "3: matrix.a b should be the name of a property, of letters, digits and _.-"),
        (f"matrix = {{ a = {FIFTY}, b = {FIFTY} }}", f"3: matrix stands for 2500 builders, {MOST} at most"),
        ('matrix = { a = ["x"] }\nbuilddir = "%(revision)s"', "4: builddir may depend on the matrix only, on a, "),
        ('matrix = { a = ["x"] }\nbuilddir = "%(a)s"', "4: builddir has the unknown word %(a)s; there are revision"),
        ('matrix = { a = ["x"] }\nslaves = ["%(prop:b)s"]', "4: item 1 of slaves may depend on the matrix only"),
        ('matrix = { a = ["x", "y"] }\nbuilddir = "d"', "1: [[builder]] has the same builddir 'd' as builder 'b-x'"),
        ('matrix = { a = ["x-y", "x"], b = ["z", "y-z"] }', "2: name 'b-x-y-z' comes twice"),
    ],
)  # fmt: skip
def test_mistakes_of_a_matrix(lines: str, why: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, f"{BUILDER}{lines}\n{STEP}").startswith(why)


def test_what_a_builder_has_itself_cannot_be_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = read(tmp_path, f"{BUILDER}{MATRIX}{STEP}")
    file.builders["b-deb-3.11"].check_asked(["revision", "other"])
    with pytest.raises(UsageError, match=r"^builder 'b-deb-3\.11' has its own python: '3\.11'$"):
        file.builders["b-deb-3.11"].check_asked(["other", "python"])
    command = ["build", "--builder", "b-bsd-3.13", "--property", "os=x", str(tmp_path / "build.toml")]
    assert main(command) == 2
    assert capfd.readouterr().err == "slaveproto: builder 'b-bsd-3.13' has its own os: 'bsd'\n"
