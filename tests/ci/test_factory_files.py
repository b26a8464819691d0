"""The factories of two real projects, as build files without a workaround, on stand-ins for their sources."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from slaveproto.cli import main

pytestmark = pytest.mark.programs

FILES = Path(__file__).parents[1] / "data" / "factories"
SOURCE = r"""
git init -q -b main
git config user.name a
git config user.email a@example.org
cat > configure <<'X'
#!/bin/sh
[ "$2" = '$(PWD)/target' ] || { echo "prefix came as $2"; exit 1; }
X
chmod +x configure
cat > Makefile <<'X'
all:
	@echo built > python; echo "a.c:5: warning: unused" >&2
pythoninfo:
	@exit 1
buildbottest:
	@echo "opts $(TESTOPTS) timeout $(TESTTIMEOUT)"; echo "<testsuite/>" > test-results.xml; test ! -e fail
distclean:
	@rm -f test-results.xml
X
git add -A
git commit -q -m one
git checkout -q -b feature/fails
touch fail
git add fail
git commit -q -m two
git rev-parse HEAD
git checkout -q main
"""


def build(file: Path, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    code = main(["build", "--json", *words, str(file)])
    return code, json.loads(capfd.readouterr().out)["builds"]


def results(build: dict[str, Any]) -> list[str]:
    return [step["result"] for step in build["steps"]]


def test_cpython(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, folder = tmp_path / "source", tmp_path / "b"
    source.mkdir()
    folder.mkdir()
    done = subprocess.run(["sh", "-ec", SOURCE], cwd=source, capture_output=True, text=True, check=True)
    file = folder / "build.toml"
    file.write_text((FILES / "cpython.toml").read_text().replace("SOURCE", str(source)))
    code, builds = build(file, capfd, "--property", "testopts=-v")
    assert code == 0, "warnings are no failure"
    assert [one["builder"] for one in builds] == [
        "x86-64 Debian 3.13", "x86-64 Debian main", "arm64 Debian 3.13", "arm64 Debian main"
    ]  # fmt: skip
    for one in builds:
        assert results(one) == ["success", "success", "warnings", "failure", "success", "success", "success"]
        assert one["result"] == "warnings"
        stdio = one["steps"][4]["logs"]["stdio"]
        assert stdio == "opts -j2 --junit-xml test-results.xml -v timeout 900\n"
        assert (folder / "test-results" / one["builder"] / "1.xml").read_text() == "<testsuite/>\n"
    words = ("--builder", "arm64 Debian main", "--branch", "feature/fails", "--revision", done.stdout.strip())
    code, [one] = build(file, capfd, *words)
    assert (code, results(one)[4:], one["properties"]["got_revision"]) == (
        1, ["failure", "success", "success"], done.stdout.strip()
    )  # fmt: skip


def test_openwrt(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "build.toml"
    file.write_text((FILES / "openwrt.toml").read_text())
    code, builds = build(file, capfd)
    assert (code, len(builds)) == (0, 3)
    for one in builds:
        libc = "glibc" if one["builder"] == "x86_64" else "musl"
        assert results(one)[2:] == ["skipped", "success", "success"]
        path = tmp_path / "bin" / "snapshots" / one["builder"] / f"sums-{libc}"
        assert path.read_text() == f"-j4 4 {libc}\n"
    code, [one] = build(file, capfd, "--builder", "x86_64", "--property", "cleanup=full", "--branch", "v24")
    assert results(one) == ["success", "failure", "success", "success", "success"]
    assert (tmp_path / "bin" / "v24" / "x86_64" / "sums-glibc").exists()
