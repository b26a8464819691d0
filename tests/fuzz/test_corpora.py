"""What campaigns found is read again; and mutations keep conversations readable."""

from __future__ import annotations

import random

import pytest

from slaveproto.wire.banana import Expression
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import corpus, seeds
from tests.fuzz.targets import TARGETS, FuzzedMaster, feed
from tests.wire.support import expressions

pytestmark = pytest.mark.campaigns


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_keeps_every_promise(target: str) -> None:
    found = corpus(target)
    assert found, "there is no corpus"
    for data in [*seeds(target)[:10], *found]:
        TARGETS[target](data)


@pytest.mark.parametrize("lasting", [False, True])
def test_what_a_scripted_slave_says_leads_to_the_last_step(lasting: bool) -> None:
    master = FuzzedMaster(lasting=lasting)
    feed(master, seeds("lasting_master" if lasting else "master")[0])
    assert master.finished > 4


def test_mutations_keep_most_of_a_conversation() -> None:
    chance = random.Random(1)
    (seed, *_) = seeds("master")
    whole: list[Expression] = expressions(seed[1:])
    for _ in range(100):
        assert abs(len(expressions(mutate(seed, chance)[1:])) - len(whole)) <= 8
