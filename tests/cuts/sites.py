"""Masters, real and ours, that run one build again and again, and what is compared of a build."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from slaveproto.testing.peers import Kind, OurBuild, OurBuilds, RealBuilder, RealMaster
from slaveproto.testing.peers.processes import free_port
from tests.interop import compare

HERE: Final = Path(__file__).parent

DIRECT: Final = "own"
CUT: Final = "our"
"""Names of the slave on the direct link and of the one whose link is cut; `tests.interop.compare` sees one in both."""

PASSWORD: Final = "pw"

Facts = Mapping[str, str]
"""All that is compared of a build: its result, its logs, and the files that it brought, by their places."""


class Site(Protocol):
    """A master with a build that can be repeated on either slave.

    A slave logs in at `host` and `port`, with a password of `slaves`.
    """

    host: str
    port: int
    slaves: Mapping[str, str]

    def start_build(self) -> None:
        """Begin a build."""

    def finished(self) -> bool:
        """Whether the build has ended."""

    def take(self) -> Facts:
        """Return the facts of the build that has ended."""

    def lost(self) -> int:
        """Return how many builds have lost their slave."""


class RealSite:
    """A running real master."""

    def __init__(self, master: RealMaster, slave: str) -> None:
        self._master = master
        self._builder = f"{slave}-cuts"
        self._token = ""
        self._results: dict[Path, str] = {}
        self.host, self.port = master.host, master.port
        self.slaves: Mapping[str, str] = master.slaves

    def start_build(self) -> None:
        self._token = self._master.force(self._builder)

    def finished(self) -> bool:
        return self._master.result(self._token) is not None

    def take(self) -> Facts:
        build = self._master.wait(self._token, 0)
        return compare.facts("cuts", build) | tree(self._master.directory / "files" / self._builder)

    def lost(self) -> int:
        for path in (self._master.directory / "results").glob(f"{self._builder}.*.json"):
            if path not in self._results:
                self._results[path] = json.loads(path.read_text(encoding="utf-8"))["result"]
        return list(self._results.values()).count("retry")


def real_master(kind: Kind, folder: Path) -> RealMaster:
    """Return a real master with the build for both slaves."""
    builders = [RealBuilder(f"{slave}-cuts", "cuts", (slave,)) for slave in (DIRECT, CUT)]
    return RealMaster(kind, folder, builders, slaves=dict.fromkeys((DIRECT, CUT), PASSWORD))


class OurSite:
    """``slaveproto build``, which comes and goes with each build, on one port."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, slave: str) -> None:
        self._folder = folder
        self._slave = slave
        self._program: OurBuilds | None = None
        self._lost = 0
        self.port = free_port()
        self.slaves: Mapping[str, str] = {slave: PASSWORD}

    @property
    def _running(self) -> OurBuilds:
        assert self._program is not None, "no build was started"
        return self._program

    def start_build(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        text = (HERE / "cuts.toml").read_text(encoding="utf-8").replace('"SLAVE"', f'"{self._slave}"')
        self._program = program = OurBuilds(self._folder, text)
        program.port = self.port
        program.write(text)
        (self._folder / "large").write_text("".join(f"{number}\n" for number in range(1, 200001)))
        program.start()

    def finished(self) -> bool:
        return not self._running.running

    def take(self) -> Facts:
        _, builds = self._running.wait(0)
        self._lost += self._retried
        self._program = None
        (build,) = builds.values()
        return _our_facts(build) | tree(self._folder / "files")

    def lost(self) -> int:
        return self._lost + self._retried

    @property
    def _retried(self) -> int:
        return 0 if self._program is None else self._program.log().count(": retry")

    def close(self) -> None:
        """End a build that runs."""
        if self._program is not None:
            self._program.stop()


def _our_facts(build: OurBuild) -> dict[str, str]:
    facts = {"result": build.result, "steps": "".join(f"{step.name}\n" for step in build.steps)}
    for step in build.steps:
        facts |= {f"{step.name}/result": step.result, f"{step.name}/rc": str(step.rc)}
        facts |= {f"{step.name}/{log}": text for log, text in step.logs.items()}
    return facts


def tree(folder: Path) -> dict[str, str]:
    """Return the files below a folder: mode, size and digest."""
    facts: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        place = f"files/{path.relative_to(folder)}"
        facts[place] = stat.filemode(path.lstat().st_mode)
        if path.is_file():
            data = path.read_bytes()
            facts[place] += f" {len(data)} bytes {hashlib.sha256(data).hexdigest()[:16]}"
    return facts


def differences(direct: Facts, cut: Facts) -> list[str]:
    """Return the places where two builds differ, in words."""
    return [
        f"{place}: {_shown(direct.get(place), cut.get(place))}"
        for place in sorted({*direct, *cut})
        if direct.get(place) != cut.get(place)
    ]


def _shown(direct: str | None, cut: str | None) -> str:
    if direct is None or cut is None:
        return "missing" if cut is None else "not there without cuts"
    pairs = zip(direct, cut, strict=False)
    at = next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(direct), len(cut)))
    return f"from character {at}: {direct[at : at + 100]!r}, with cuts {cut[at : at + 100]!r}"
