import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.language.ledger import Ledger
from simulator.serving.transformer import ModelShape, causal_flops

SHAPE = ModelShape(layers=2, width=32, heads=4, kv_heads=1, head_dim=8, ffn=64, vocabulary=100)
CALLS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 60)), max_size=8)


@given(CALLS)
def test_calls_at_once_are_calls_one_by_one(calls: list[tuple[int, int, int]]) -> None:
    """Entering an array of calls must give the book that entering each gives."""
    together, apart = Ledger(SHAPE), Ledger(SHAPE)
    prompt, cached, generated = np.array(calls, np.int64).reshape(-1, 3).T
    flops = together.count("route", prompt + cached, cached, generated)
    one_by_one = [apart.count("route", p + c, c, g).tolist() for p, c, g in calls]
    assert [[each] for each in flops.tolist()] == one_by_one
    if calls:
        assert together.as_dict() == apart.as_dict()


def test_operations_are_those_of_reading_and_writing() -> None:
    """A call must cost its uncached prompt and each token written, with one evaluation of the head more than those."""
    ledger = Ledger(SHAPE)
    ledger.count("planner", 100, 60, 9)
    read = causal_flops(SHAPE, 40, 60, 1)
    written = sum(causal_flops(SHAPE, 1, 100 + step, 1) for step in range(9))
    assert ledger.as_dict()["roles"]["planner"]["flops"] == read + written


def test_a_book_tells_the_plan_apart_from_what_ran() -> None:
    """What goes into results must not change with caches, seconds or machines."""
    plain, busy = Ledger(SHAPE), Ledger(SHAPE)
    for ledger in (plain, busy):
        ledger.count("expert", 10, 0, 3)
        ledger.job("refresh", 3, 50)
    busy.execute("expert", computed=1, hits=4, seconds=2.5)
    assert plain.as_dict() == busy.as_dict()
    assert busy.executed() == {"expert": {"computed_calls": 1, "cache_hits": 4, "seconds": 2.5}}
    assert json.loads(json.dumps(busy.as_dict())) == busy.as_dict()


def test_books_of_shards_add_up() -> None:
    """Adding another shard's book must give the sums of both, and leave the other as it was."""
    one, other = Ledger(SHAPE), Ledger(SHAPE)
    one.count("route", 10, 2, 3)
    one.job("refresh", 1, 3)
    other.count("route", 20, 0, 1)
    other.count("style", 5, 5, 1)
    other.job("refresh", 2, 4)
    other.truncated = 2
    other.execute("style", 1, 0, 0.5)
    before = other.as_dict()
    one.add(pickle.loads(pickle.dumps(other)))  # noqa: S301 - as a worker process hands it over
    total = one.as_dict()
    assert total["roles"]["route"]["prompt_tokens"] == 30
    assert total["roles"]["route"]["calls"] == 2
    assert total["roles"]["style"] == before["roles"]["style"]
    assert total["jobs"]["refresh"] == {"jobs": 2, "depth_calls": 3, "depth_tokens": 7}
    assert total["truncated"] == 2
    assert one.executed()["style"]["seconds"] == 0.5
    assert other.as_dict() == before


@pytest.mark.parametrize(("prompt", "cached", "generated"), [(5, 6, 0), (5, -1, 0), (5, 0, -1)])
def test_impossible_counts_are_refused(prompt: int, cached: int, generated: int) -> None:
    """More cached than read, or a negative count, must be refused."""
    with pytest.raises(ValueError, match=r"^ledger\.route: [^\n]*$"):
        Ledger(SHAPE).count("route", prompt, cached, generated)
