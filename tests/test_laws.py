"""Laws of the house that a program can check (docs/design.md, CONTRIBUTING.md). Who imports whom is in test_layers.py.

Each check returns the violations that it finds, as `place: words`; there are none.

Not checked: that a name fits, that a comment gives a reason, and that a sentence is good English.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import pytest

ROOT: Final = Path(__file__).parent.parent
SOURCE: Final = ROOT / "src"

NOT_COUNTED: Final[Mapping[str, str]] = {
    "slaveproto.commands.archive._Compressor": "objects of zlib and bz2",
    "slaveproto.testing.conformance.harness.RunningSlave": "the runner under test: its author brings it",
    "slaveproto.wire.jelly.Numbers": "the caller of Jelly, which works without a connection, too",
    "slaveproto.wire.jelly.Objects": "the caller of Jelly, as above",
    "slaveproto.testing.conformance.master_harness.RunningMaster": "the runner under test: its author brings it",
    "transports.host.archives._ReadableStream": "objects of tarfile and zlib",
    "transports.host.windows.processes.ProcessHandle": "subprocess.Popen",
    "transports.host.windows.processes.StartProcess": "the class of subprocess.Popen",
}
"""Protocols whose objects come from elsewhere, each with whose they are."""

CALLABLES: Final[Mapping[str, str]] = {
    "slaveproto.commands.archive.TreeArchive.feed": "a part of the same script, which waits for it",
    "slaveproto.commands.registry.Command.script": "the plan of a command, by its author",
    "slaveproto.relay.session.RelaySession.jitter": "randomness, which the core does not have",
    "slaveproto.slave.backoff.Backoff.jitter": "randomness, which the core does not have",
    "slaveproto.slave.session.SlaveSession.jitter": "randomness, as above",
    "slaveproto.resume.client.ResumingClient.jitter": "randomness, as above",
    "slaveproto.slave.line.Line.jitter": "randomness, as above",
    "slaveproto.wire.connection._Objects.local": "a method of the connection that makes it, while one value is read",
    "slaveproto.wire.connection._Objects.remote": "as above",
}
"""Callables that an object of the core is given, each with what they are; none of them reports to a parent."""

NOT_CORE: Final = ("slaveproto.testing.", "slaveproto.ci.", "slaveproto.cli.", "transports.")

TWINS: Final = ("transports.host.posix.", "transports.host.windows.")
"""Packages with the same modules and names, of which one is in use."""

OPEN: Final[Mapping[str, str]] = {
    "slaveproto.testing.scripted_slave.ScriptedSlave._read": "keeps each event for the test",
    "slaveproto.wire.connection._as_failure": "takes any value that a peer may fail with",
    "slaveproto.wire.jelly.jelly": "takes any object, and raises for one that cannot be sent",
}
"""Functions that name most members of a union and may pass over the rest, each with the reason."""

NOT_FIRST: Final = (
    *("what", "how", "where", "who", "whom", "whose", "when", "which", "why", "that"),
    *(
        "whoever",
        "whatever",
        "whenever",
        "wherever",
        "somebody",
        "nobody",
        "anybody",
        "something",
        "nothing",
        "anything",
    ),
    *("it", "there", "this", "these", "is", "are", "if", "because"),
    *("for", "of", "in", "on", "at", "by", "with", "from", "to", "as"),
)
"""Words that are neither noun nor verb nor stand before one, so that no docstring begins with them."""

BANNED: Final = re.compile(r"(?<!\")\b(whoever|somebody|nobody|anybody)\b(?!\")", re.IGNORECASE)
DECISIONS_BESIDE_TABLES: Final = re.compile(r"\b_(listing|dismissed|introducing)\b")

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> Mapping[str, ast.Module]:
    """The modules of the library. Programs that run inside of Buildbot are none."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if "inside" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def definitions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    """Classes and functions with their qualified names; none of those inside of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            name = f"{prefix}.{node.name}"
            yield name, node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node, name)
        elif isinstance(node, ast.If):
            yield from definitions(node, prefix)


@cache
def classes() -> Mapping[str, ast.ClassDef]:
    return {
        name: node
        for module, tree in modules().items()
        for name, node in definitions(tree, module)
        if isinstance(node, ast.ClassDef)
    }


def name_of(node: ast.expr) -> str:
    """The last part of a dotted name; of `Name[...]` that of `Name`; else empty."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value) | ast.Call(func=value):
            return name_of(value)
        case ast.Constant(value=str(text)):
            return text.partition("[")[0].rpartition(".")[2]
        case _:
            return ""


@cache
def is_protocol(node: ast.ClassDef) -> bool:
    return any(name_of(base) == "Protocol" for base in node.bases)


@cache
def shapes_of(node: ast.ClassDef) -> dict[str, tuple[str, ...] | None]:
    """The methods of a class with the names of their arguments, and its attributes and properties with None."""
    found: dict[str, tuple[str, ...] | None] = {}
    for item in node.body:
        if isinstance(item, Function):
            decorators = [name_of(decorator) for decorator in item.decorator_list]
            arguments = (*item.args.posonlyargs, *item.args.args)[1:]
            found[item.name] = None if "property" in decorators else tuple(it.arg.lstrip("_") for it in arguments)
            if item.name == "__init__":
                targets: list[ast.expr] = [sub.target for sub in ast.walk(item) if isinstance(sub, ast.AnnAssign)]
                targets += [target for sub in ast.walk(item) if isinstance(sub, ast.Assign) for target in sub.targets]
                found |= {it.attr: None for it in targets if isinstance(it, ast.Attribute)}
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            found[item.target.id] = None
        elif isinstance(item, ast.Assign):
            found |= {target.id: None for target in item.targets if isinstance(target, ast.Name)}
    return found


@cache
def with_bases(node: ast.ClassDef) -> tuple[ast.ClassDef, ...]:
    """A class and those of the library that it derives from."""
    bases = {name_of(base) for base in node.bases}
    found = [other for name, other in classes().items() if name.rpartition(".")[2] in bases and other is not node]
    return (node, *(it for other in found for it in with_bases(other)))


@cache
def all_shapes_of(node: ast.ClassDef) -> dict[str, tuple[str, ...] | None]:
    """The shapes of a class, inherited ones too."""
    found: dict[str, tuple[str, ...] | None] = {}
    for it in with_bases(node):
        found = shapes_of(it) | found
    return found


@cache
def implements(node: ast.ClassDef, protocol: ast.ClassDef) -> bool:
    if protocol in with_bases(node)[1:]:
        return True
    has, wanted = all_shapes_of(node), all_shapes_of(protocol)
    return all(name in has and (shape is None or has[name] in (shape, None)) for name, shape in wanted.items())


# -- the laws; each returns its violations


def protocols_with_one_implementation() -> Iterator[str]:
    """An abstraction of one thing is that thing: a protocol has two implementations, or is about objects of others."""
    for name, node in classes().items():
        if is_protocol(node) and name not in NOT_COUNTED:
            ours = [other for other, it in classes().items() if not is_protocol(it) and implements(it, node)]
            if len(ours) < 2:
                yield f"{name}: a Protocol with {len(ours)} implementations"


def doubled_class_names() -> Iterator[str]:
    """One name for one thing."""
    homes = defaultdict(set)
    for name in classes():
        for twin in TWINS:
            name = name.replace(twin, "transports.host.system.")
        homes[name.rpartition(".")[2]].add(name.rpartition(".")[0])
    for name, found in homes.items():
        if len(found) > 1:
            yield f"{name}: the name of classes in {', '.join(sorted(found))}"


@cache
def unions() -> Mapping[str, frozenset[str]]:
    """The closed unions: aliases of two and more classes of the library, with all of their members."""
    ours = {name.rpartition(".")[2] for name in classes()}
    written = {}
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and name_of(node.annotation) == "TypeAlias" and node.value is not None:
                value = node.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    value = ast.parse(value.value, mode="eval").body
                written[f"{module}.{name_of(node.target)}"] = [name_of(it) for it in alternatives(value)]
    by_name = {name.rpartition(".")[2]: members for name, members in written.items()}

    def members_of(names: Iterable[str]) -> Iterator[str]:
        for name in names:
            yield from members_of(by_name[name]) if name in by_name and name not in ours else (name,)

    found = {name: frozenset(members_of(names)) for name, names in written.items()}
    return {name: members for name, members in found.items() if len(members) > 1 and members <= ours}


def alternatives(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from alternatives(node.left)
        yield from alternatives(node.right)
    elif isinstance(node, ast.Subscript) and name_of(node) == "Union" and isinstance(node.slice, ast.Tuple):
        yield from node.slice.elts
    else:
        yield node


def classes_in(pattern: ast.pattern) -> Iterator[str]:
    for node in ast.walk(pattern):
        if isinstance(node, ast.MatchClass):
            yield name_of(node.cls)


def dispatches(function: Function) -> Iterator[tuple[set[str], bool]]:
    """Which classes each `match` or chain of `isinstance` tells apart, and whether `assert_never` takes the rest."""
    for node in ast.walk(function):
        if isinstance(node, ast.Match):
            closed = any(ends_in_assert_never(case.body) for case in node.cases)
            yield {name for case in node.cases for name in classes_in(case.pattern)}, closed
    # A chain may be one statement or several that return: those about one subject belong together.
    asked: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and name_of(node.func) == "isinstance" and len(node.args) == 2:
            subject, kinds = node.args
            elements = kinds.elts if isinstance(kinds, ast.Tuple) else list(alternatives(kinds))
            asked[ast.dump(subject)] |= {name_of(kind) for kind in elements}
    for names in asked.values():
        yield names, ends_in_assert_never([function])


def ends_in_assert_never(body: Iterable[ast.AST]) -> bool:
    return any(
        isinstance(node, ast.Call) and name_of(node.func) == "assert_never" for it in body for node in ast.walk(it)
    )


def closed_unions_that_are_open() -> Iterator[str]:
    """A function that tells most members of a union apart has `assert_never` for those that are added later."""
    for module, tree in modules().items():
        for name, node in definitions(tree, module):
            if isinstance(node, Function) and name not in OPEN:
                for told_apart, closed in dispatches(node):
                    union = covered(told_apart)
                    if union and not closed:
                        yield f"{name}: tells the members of {union} apart without assert_never"


def covered(names: set[str]) -> str:
    """The union of which so many members are named that all should be; else empty."""
    for union, members in unions().items():
        if len(names & members) >= 3 and 2 * len(names & members) > len(members):
            return union
    return ""


def tables_by_type_that_lack_a_member() -> Iterator[str]:
    """A dictionary from most members of a union to what is done with them has all of them."""
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                keys = {name_of(key) for key in node.keys if key is not None}
                union = covered(keys)
                missing = unions()[union] - keys if union else set()
                if missing:
                    yield f"{module}: a dictionary over {union} without {', '.join(sorted(missing))}"


def circles_of_imports() -> Iterator[str]:
    """No module imports itself by way of others, in functions neither; what only type checkers read does not count."""
    graph = {module: set(imports_of(module, tree)) for module, tree in modules().items()}
    state: dict[str, int] = {}

    def visit(module: str, path: tuple[str, ...]) -> Iterator[str]:
        state[module] = 1
        for other in sorted(graph[module]):
            if state.get(other) == 1:
                circle = (*path, module)[(*path, module).index(other) + 1 :]
                yield f"{other}: imports itself by way of {', '.join(circle)}"
            elif other not in state:
                yield from visit(other, (*path, module))
        state[module] = 2

    for module in sorted(graph):
        if module not in state:
            yield from visit(module, ())


def imports_of(module: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found = inner if inner in modules() else str(node.module)
                if found in modules() and found != module:
                    yield found
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules() and alias.name != module)
        else:
            yield from imports_of(module, node)


def missing_docstrings() -> Iterator[str]:
    """Each public module, class and function has one, or is documented where it comes from."""
    for module, tree in modules().items():
        if ast.get_docstring(tree) is None:
            yield f"{module}: no docstring"
        for name, node in definitions(tree, module):
            parts = name[len(module) + 1 :].split(".")
            # A check of the conformance suite is named by the sentence that it checks.
            is_check = ".conformance." in name and any(name_of(it) == "add" for it in node.decorator_list)
            private = any(part.startswith("_") for part in parts)
            if not (ast.get_docstring(node) or private or is_check or inherits_docstring(name, node)):
                yield f"{name}: no docstring"


def inherits_docstring(name: str, node: Definition) -> bool:
    owner = classes().get(name.rpartition(".")[0])
    if owner is None or isinstance(node, ast.ClassDef):
        return False
    if name.rpartition(".")[0] in NOT_COUNTED:
        return True
    protocols = [it for it in classes().values() if is_protocol(it) and it is not owner and implements(owner, it)]
    return any(
        isinstance(item, Function) and item.name == node.name and ast.get_docstring(item) is not None
        for it in (*with_bases(owner), *protocols)
        for item in it.body
    )


def docstrings_that_begin_wrongly() -> Iterator[str]:
    """The first word is a noun or a verb, or stands before a noun; `Whether` is for functions and values."""
    for module, tree in modules().items():
        for place, text in docstrings(tree, module):
            first = re.split(r"[\s,.:;]", text.strip().lower(), maxsplit=1)[0]
            if first in NOT_FIRST or (first == "whether" and (place == module or place in classes())):
                yield f"{place}: the docstring begins with {first!r}"


def docstrings(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """Docstrings of all that has one, private or not, and the texts that stand below a value."""
    yield module, ast.get_docstring(tree) or "-"
    for name, node in definitions(tree, module):
        yield name, ast.get_docstring(node) or "-"
    for item in ast.walk(tree):
        body = getattr(item, "body", ())
        for value, text in pairwise(body) if isinstance(body, list) else ():
            match value, text:
                case ast.Assign() | ast.AnnAssign(), ast.Expr(value=ast.Constant(value=str(words))):
                    target = value.targets[0] if isinstance(value, ast.Assign) else value.target
                    yield f"{module}.{name_of(target)}", words


def pages() -> Iterator[Path]:
    """Everything that is written for people: sources, pages, the examples."""
    yield from sorted(SOURCE.rglob("*.py"))
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted((ROOT / "docs").glob("*.md"))
    for folder in ("docs", "examples", "benchmarks"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def banned_words() -> Iterator[str]:
    """Pages and programs do without them; in quotes they may be named."""
    for path in pages():
        for word in sorted({match[0].lower() for match in BANNED.finditer(path.read_text())}):
            yield f"{path.relative_to(ROOT).as_posix()}: says {word!r}"


def decisions_beside_tables() -> Iterator[str]:
    """A table decides by `fire`: a question before it, or a flag for a state, would be a decision elsewhere."""
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if (isinstance(node, ast.Attribute) and node.attr == "can") or (
                isinstance(node, Function) and node.name == "can"
            ):
                yield f"{module}: asks `can` before it fires"
            if isinstance(node, ast.Attribute) and DECISIONS_BESIDE_TABLES.fullmatch(node.attr):
                yield f"{module}: {node.attr} is a state beside the table"


def callables_given() -> dict[str, str]:
    """Fields and arguments of constructors in the core that are callables, each with its annotation."""
    found = {}
    for name, node in classes().items():
        if name.startswith(NOT_CORE) or is_protocol(node):
            continue
        for item in node.body:
            given: list[tuple[str, ast.expr | None]] = []
            if isinstance(item, ast.AnnAssign) and not name_of(item.annotation).startswith("ClassVar"):
                given = [(name_of(item.target), item.annotation)]
            elif isinstance(item, Function) and item.name == "__init__":
                given = [(it.arg, it.annotation) for it in (*item.args.args, *item.args.kwonlyargs)]
            for what, annotation in given:
                if annotation is not None and "Callable[" in ast.unparse(annotation):
                    found[f"{name}.{what}"] = ast.unparse(annotation)
    return found


def callbacks() -> Iterator[str]:
    """Children report by values: an object of the core is given nothing that it could call."""
    for name, annotation in callables_given().items():
        if name not in CALLABLES:
            yield f"{name}: is a {annotation}"


LAWS: Final[tuple[Callable[[], Iterable[str]], ...]] = (
    protocols_with_one_implementation,
    doubled_class_names,
    closed_unions_that_are_open,
    tables_by_type_that_lack_a_member,
    circles_of_imports,
    missing_docstrings,
    docstrings_that_begin_wrongly,
    banned_words,
    decisions_beside_tables,
    callbacks,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law: Callable[[], Iterable[str]]) -> None:
    reason = (law.__doc__ or "").strip()
    found = sorted(set(law()))
    assert not found, "\n".join([reason, *found])


LAWLESS: Final = {
    "a": '''
import b
class Alone(Protocol):
    """What is here."""
    def run(self): ...
class One:
    def __init__(self, told: Callable[[str], None]): ...
    def run(self): ...
class Two: ...
class Three: ...
Kind: TypeAlias = One | Two | Three | Four
def name(it: Kind):
    match it:
        case One(): return "one"
        case Two(): return "two"
        case Three(): return "three"
def decide(machine):
    if machine.can(1): machine.fire(1)
NAMES = {One: 1, Two: 2, Three: 3}
''',
    "b": """
class One: ...
class Four: ...
def late():
    import a
""",
}
"""A library that breaks each law once and more."""


@pytest.fixture
def lawless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the laws be about another library."""
    trees = {name: ast.parse(text) for name, text in LAWLESS.items()}
    caches = (classes, unions)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "modules", lambda: trees)
        for cached in caches:
            cached.cache_clear()
        yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("lawless")
@pytest.mark.parametrize("law", [law for law in LAWS if law is not banned_words], ids=lambda law: law.__name__)
def test_each_law_finds_what_breaks_it(law: Callable[[], Iterable[str]]) -> None:
    assert list(law())


def test_words_are_found() -> None:
    text = 'Nobody and "nobody", whoever and busybody'
    assert [match[0] for match in BANNED.finditer(text)] == ["Nobody", "whoever"]


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_protocols_that_are_not_counted_are_there(name: str) -> None:
    assert is_protocol(classes()[name])


@pytest.mark.parametrize("name", CALLABLES)
def test_callables_that_are_allowed_are_there(name: str) -> None:
    assert name in callables_given()
