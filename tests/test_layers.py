"""Layers: each module imports from its row or from rows above it, as drawn in docs/design.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# Each folder or module may import from its own row and from rows above it.
ROWS = (
    (
        "slaveproto.allowances",
        "slaveproto.errors",
        "slaveproto.limits",
        "slaveproto.liveness",
        "slaveproto.machine",
        "slaveproto.paths",
        "slaveproto.records",
        "slaveproto.strangers",
        "slaveproto.timers",
    ),
    ("slaveproto.wire",),
    ("slaveproto.resume", "slaveproto.mend"),
    ("slaveproto.updates", "slaveproto.effects", "slaveproto.inputs"),
    ("slaveproto.scripts",),
    ("slaveproto.commands",),
    ("slaveproto.slave", "slaveproto.master"),
    ("slaveproto.relay",),
    ("slaveproto", "slaveproto.testing"),
    # The checks of runners are, like these, no part of the core.
    ("transports", "slaveproto.testing.conformance", "slaveproto.testing.peers"),
    ("slaveproto.ci",),
    ("slaveproto.cli", "slaveproto.__main__"),
)
CORE_ROWS = 9

# What the core may use besides itself: attrs, and modules of the standard library that only compute.
PURE = {
    "__future__", "abc", "ast", "attrs", "base64", "codecs", "collections", "datetime", "decimal", "difflib", "enum",
    # Numbers that a host reports by.
    "errno",
    "hashlib", "heapq", "hmac", "ipaddress", "math", "ntpath", "posixpath", "re", "shlex", "stat", "struct",
    "types", "typing",
    # Subversion tells what changed in XML.
    "xml",
    # Archives are made of headers that compute, and compressed in memory; `io` is for bytes as a file, in testing.
    "bz2", "io", "tarfile", "zlib",
}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if "inside" in path.parts:
            # Programs that run inside of Buildbot.
            continue
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def row_of(module: str) -> int:
    """The row of the longest prefix that has one."""
    best = max(
        (
            (len(name), n)
            for n, row in enumerate(ROWS)
            for name in row
            if module == name or module.startswith(name + ".")
        ),
        default=None,
    )
    assert best is not None, f"{module} is in no row"
    return best[1]


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module


@pytest.mark.parametrize(
    ("module", "path"), list(modules()), ids=lambda value: str(value) if "/" not in str(value) else ""
)
def test_imports_stay_in_their_rows(module: str, path: Path) -> None:
    row = row_of(module)
    for imported in imports_of(path):
        top = imported.partition(".")[0]
        if top in ("slaveproto", "transports"):
            assert row_of(imported) <= row, f"{module} (row {row}) imports {imported} (row {row_of(imported)})"
        elif row < CORE_ROWS:
            assert top in PURE, f"{module} is part of the core and imports {imported}"
        else:
            assert top in sys.stdlib_module_names | {"attrs", "trio"}, f"{module} imports {imported}"


def test_core_calls_nothing_impure_by_another_way() -> None:
    """`open`, `print`, `input` and the dynamic import need no import statement."""
    banned = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
    for module, path in modules():
        if row_of(module) >= CORE_ROWS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in banned, f"{module}:{node.lineno} calls {node.func.id}"


def test_nothing_is_released_by_garbage_collection() -> None:
    for module, path in modules():
        names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert "__del__" not in names, module


def test_transports_do_not_decide_about_the_protocol() -> None:
    """An adapter knows effects and inputs, never the wire or the tables."""
    for module, path in modules():
        if module.startswith("transports"):
            for imported in imports_of(path):
                assert not imported.startswith(("slaveproto.wire", "slaveproto.commands")), f"{module}: {imported}"
                assert not imported.endswith(".states"), f"{module}: {imported}"


@pytest.mark.parametrize("name", ["scheduler", "schedule"])
def test_decisions_of_the_ci_server_are_pure(name: str) -> None:
    """They import the core and what the core may use, and nothing else of the CI server."""
    for imported in imports_of(SOURCE / "slaveproto" / "ci" / f"{name}.py"):
        if imported.startswith(("slaveproto", "transports")):
            assert row_of(imported) < CORE_ROWS, imported
        else:
            assert imported.partition(".")[0] in PURE, imported
