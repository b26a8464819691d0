"""The subcommand `pack`: makes one file of the blocking slave, which runs where nothing but a Python is installed.

The file is a zip archive with a line for the kernel before it. It has all that the program imports, found by reading
import statements, those inside of functions too; so nothing is forgotten when a module is added. What is left out on
purpose is named in `LEFT_OUT`. Where a user can ask for such a thing, a small module stands in its place, and says in
the program's usual way that it is not there.

The same modules packed by the same Python give the same bytes: names are sorted, times and modes are fixed. An archive
of ours is known by its comment; any other file is left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Final

from slaveproto import __version__
from slaveproto.ci.errors import UsageError, of_path
from slaveproto.ci.show.console import STDOUT, say

PROGRAM: Final = "slaveproto.cli"
START: Final = "packed.py"
"""Neighbour of this module that becomes `__main__`."""

WISHES: Final[Mapping[str, str]] = {
    "slaveproto.ci.file.build_file": "build files",
    "slaveproto.cli.build": "`build`",
    "slaveproto.cli.master": "`master`",
    "slaveproto.cli.pack": "`pack`",
    "slaveproto.cli.trigger": "`trigger`, `builds` and `log`",
    "transports.trio": "the runner of trio",
}
"""Modules that are left out, and what users call that for which they would be imported."""

LEFT_OUT: Final = (*WISHES, "slaveproto.master", "slaveproto.testing", "trio")

STAND_IN: Final = """\
from slaveproto.ci.errors import UsageError
raise UsageError("this file lacks {}, and has what slaves and relays need; `pip install 'slaveproto[trio]'` gives all")
"""

PACKAGES: Final = ("attr", "attrs", "slaveproto", "transports")

SHEBANG: Final = b"#!/usr/bin/env python3\n"
COMMENT: Final = b"slaveproto "
"""Beginning of an archive's comment, by which it is known as one of ours."""

COMPILE: Final = """\
import os, py_compile, sys
folder = sys.argv[1]
sys.path.insert(0, folder)
import slaveproto.cli.run_slave
for name in sorted(sys.modules):
    path = getattr(sys.modules[name], "__file__", None) or ""
    if path.startswith(folder):
        inside, mode = os.path.relpath(path, folder), py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(path, path + "c", inside, doraise=True, invalidation_mode=mode)
"""

LONGEST_ERROR: Final = 200


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Make FILE.pyz of what is installed here: one file with the subcommands create-slave, slave (with its "
        "threads) and relay, which runs as `python3 FILE.pyz` on any Python from 3.11 on without anything else. "
        "The same installation gives the same bytes."
    )
    parser.add_argument("file", metavar="FILE.pyz", help="made, or replaced if it was made by this subcommand")
    parser.add_argument(
        "--bytecode", action="store_true",
        help="add the bytecode of the Python that runs this: a larger file, which starts faster on that version",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the file, and return 0.

    Raises:
        UsageError: there is another file, or it cannot be written.
        CannotStore: there is no room for it.
    """
    path: str = options.file
    if not path:
        raise UsageError("FILE.pyz is empty")
    try:
        _see_that_it_is_ours(path)
        members = _members(bytecode=options.bytecode)
        _write(path, members)
        size = os.stat(path).st_size
    except OSError as error:
        raise of_path(error, path) from None
    say(STDOUT, f"{path}: {size} bytes; now: python3 {path} create-slave --help")
    return 0


def _see_that_it_is_ours(path: str) -> None:
    """Check that there is no file, or one that `pack` made.

    Raises:
        UsageError: it is another one.
    """
    if not os.path.lexists(path):
        return
    if os.path.isfile(path):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            if archive.comment.startswith(COMMENT):
                return
    raise UsageError(f"{path} is there, and is no file that `slaveproto pack` made; it is left as it is")


def _members(*, bytecode: bool) -> dict[str, bytes]:
    """Return the contents of the archive by their names."""
    sources = {name: path.read_bytes() for name, path in _modules().items()}
    sources |= {f"{name.replace('.', '/')}.py": STAND_IN.format(what).encode() for name, what in WISHES.items()}
    found = {f"licenses/{package}.txt": text for package in ("attrs", "slaveproto") for text in _license(package)}
    if bytecode:
        found |= _compiled(sources)
    return {**found, **sources, "__main__.py": Path(__file__).with_name(START).read_bytes()}


def _modules() -> dict[str, Path]:
    """Return the files of all modules that are packed, by their names in the archive."""
    specs = [find_spec(package) for package in PACKAGES]
    homes = {str(Path(spec.origin).parents[1]) for spec in specs if spec is not None and spec.origin is not None}
    finder = ModuleFinder(sorted(homes), excludes=LEFT_OUT)
    finder.import_hook(PROGRAM)
    found = {}
    for name, module in finder.modules.items():
        file: str | None = getattr(module, "__file__", None)
        if name.partition(".")[0] in PACKAGES and file is not None:
            path = Path(file)
            stem = name.replace(".", "/")
            found[f"{stem}/__init__.py" if path.name == "__init__.py" else f"{stem}.py"] = path
    return found


def _license(package: str) -> list[bytes]:
    """Return the text of a package's licence, if the licence is installed beside it."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return []
    return [file.read_binary() for file in files if re.fullmatch(r"LICEN[CS]E(\.\w+)?", file.name)][:1]


def _compiled(sources: dict[str, bytes]) -> dict[str, bytes]:
    """Return the bytecode of the modules that the start of a slave imports, by names for the archive.

    What a compiler makes depends a little on what its process did before, so it has a process of its own.

    Raises:
        UsageError: it cannot be made.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", COMPILE, folder],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise UsageError(f"cannot compile: {done.stdout.decode(errors='replace').strip()[-LONGEST_ERROR:]}")
        paths = sorted(Path(folder).rglob("*.pyc"))
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _write(path: str, members: dict[str, bytes]) -> None:
    """Write the archive aside, and put it in its place."""
    descriptor, fresh = tempfile.mkstemp(prefix=".slaveproto-", suffix=".pyz", dir=os.path.dirname(path) or ".")
    try:
        with open(descriptor, "wb") as file:
            file.write(SHEBANG)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
                archive.comment = COMMENT + __version__.encode()
                for name in sorted(members):
                    archive.writestr(_entry(name), members[name])
        os.chmod(fresh, 0o777 & ~_umask())
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def _entry(name: str) -> zipfile.ZipInfo:
    """Return what the archive says of a member: the same at any time, for any owner and on any system."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    return entry


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
