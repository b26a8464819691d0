"""More output than a comparison with the own slaves can take, complete at real masters.

`benchmarks/output.py` does the same with up to a gigabyte.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from slaveproto.testing.peers import BuildResult, Kind, OurSlave, RealBuilder, RealMaster
from tests.interop.compare import OURS

pytestmark = pytest.mark.peers

RANDOM = random.Random(1)
LETTERS = base64.b64encode(RANDOM.randbytes(90_000))

# What the steps of the catalogue's entry `much` print. Of the line, 4.3 stores some megabytes a second.
PIECES = {"old": 20_000, "new": 4_000}
LINE = {kind: b"".join(b"%020d" % number + b"." * 980 for number in range(pieces)) for kind, pieces in PIECES.items()}
# Nearly every read cuts a character, and so does the end.
CHARACTERS = ("ä€☃\N{GRINNING FACE}" * 50_000).encode()[:-1]
# Without an escape, for 4.3 makes newlines of some sequences that begin with one.
NOISE = RANDOM.randbytes(200_000).replace(b"\033", b"")
# Compressed it has more than 64 KiB; in one piece 4.3 would cut it off there.
LETTERS_LINE = LETTERS + b"\n"


def printed(kind: Kind) -> tuple[bytes, ...]:
    """Return the output of each step."""
    return LINE[kind], CHARACTERS, NOISE, LETTERS_LINE


@pytest.fixture(scope="module")
def builds(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, BuildResult]:
    """The build of `much` on our slave with each runner, by its name."""
    root = tmp_path_factory.mktemp(f"{kind}-much")
    slaves = dict.fromkeys(OURS, "pw")
    builders = [RealBuilder(f"{name}-much", "much", (name,)) for name in OURS]
    with ExitStack() as stack:
        master = stack.enter_context(RealMaster(kind, root / "master", builders, slaves=slaves))
        for name, runner in OURS.items():
            slave = stack.enter_context(OurSlave(root / name, master, name, runner=runner))
            folder = slave.directory / f"{name}-much" / "build"
            folder.mkdir(parents=True)
            files = {"line": LINE[kind], "characters": CHARACTERS, "noise": NOISE}
            files |= {"half": LETTERS_LINE[:60_000], "rest": LETTERS_LINE[60_000:]}
            for file, data in files.items():
                (folder / file).write_bytes(data)
        for name in OURS:
            master.wait_attached(name)
        return master.build_all([b.name for b in builders], at_once=2, timeout=60)


@pytest.mark.parametrize("number", range(4), ids=["line", "characters", "noise", "letters"])
@pytest.mark.parametrize("our", list(OURS), ids=list(OURS.values()))
def test_everything_arrives(kind: Kind, our: str, number: int, builds: Mapping[str, BuildResult]) -> None:
    build = builds[f"{our}-much"]
    assert (build.slave, build.result) == (our, "success")
    step = [step for step in build.steps if step.name.startswith("shell")][number]
    # Not compared in the assertion itself: the difference would be shown, in minutes.
    complete = stored(kind, step.logs["stdio"]["stdout"]) == expected(kind, printed(kind)[number])
    assert complete


def stored(kind: Kind, text: str) -> str:
    """Return what a log tells. 4.3 breaks up lines and makes newlines of other things."""
    return text if kind == "old" else text.translate(dict.fromkeys(b"\n\r\b"))


def expected(kind: Kind, data: bytes) -> str:
    """Return what a log is to tell of `data`; of the old master it is bytes, in Latin-1 if they are no UTF-8."""
    if kind == "new":
        return stored(kind, data.decode("utf-8", "replace"))
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
