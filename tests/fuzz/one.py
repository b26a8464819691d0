"""One target in the hands of the fuzzer: `python -m tests.fuzz.one TARGET [OPTION OF LIBFUZZER ...] FOLDER ...`."""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["slaveproto"]):
    from tests.fuzz.mutations import mutate
    from tests.fuzz.targets import TARGETS


def _mutator(data: bytes, most: int, seed: int) -> bytes:
    chance = random.Random(seed)
    if chance.random() < 0.3:
        return bytes(atheris.Mutate(data, most))
    return mutate(bytes(data), chance)[:most]


def main() -> None:
    """Run the fuzzer, which ends the process."""
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], lambda data: target(bytes(data)), custom_mutator=_mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
