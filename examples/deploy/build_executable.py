"""Builds one self-contained executable of the slave: `python examples/deploy/build_executable.py FILE`.

It needs PyInstaller (extra `executable`), and of binutils `objcopy` and `strip`. What goes in is what `slaveproto pack`
chooses, so that both lack the same and say so alike. The executable runs on systems of the same kind, with the C
library of this one or a newer one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

START = Path(__file__).with_name("executable.py")


def build(file: Path) -> None:
    """Build the executable, and put it in its place when it is whole."""
    with tempfile.TemporaryDirectory(prefix=".slaveproto-", dir=file.parent) as scratch:
        folder = Path(scratch)
        subprocess.run([sys.executable, "-m", "slaveproto", "pack", folder / "slave.pyz"], check=True, stdout=2)
        with zipfile.ZipFile(folder / "slave.pyz") as archive:
            archive.extractall(folder / "packed")
        options = {
            "name": "slaveproto",
            "paths": folder / "packed",
            "add-data": f"{folder / 'packed' / 'licenses'}:licenses",
            "exclude-module": "trio",
            "distpath": folder,
            "workpath": folder / "work",
            "specpath": folder / "work",
            "log-level": "ERROR",
        }
        words = [f"--{option}={value}" for option, value in options.items()]
        # Symbols for debuggers would double its size.
        flags = ["--onefile", "--strip"] if shutil.which("strip") else ["--onefile"]
        subprocess.run([sys.executable, "-m", "PyInstaller", *flags, *words, START], check=True)
        os.replace(folder / "slaveproto", file)


def main() -> int:
    """Build what the command line names; exit 2 when it names nothing, or a tool fails."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(f"usage: {sys.argv[0]} FILE", file=sys.stderr)
        return 2
    file = Path(sys.argv[1])
    if file.is_dir():
        print(f"{sys.argv[0]}: {file} is a directory", file=sys.stderr)
        return 2
    try:
        build(file)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        return 2
    print(f"{file}: {file.stat().st_size} bytes; it needs no Python: {file} create-slave --help")
    return 0


if __name__ == "__main__":
    sys.exit(main())
