import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy import stats

from simulator.streams import Stream, mix, stream_key, to_unit

MOST = np.uint64(2**64 - 1)
IDS = st.integers(-(2**63), 2**63 - 1)


@njit
def _mixed(key: np.uint64, first: int, second: int) -> tuple[np.uint64, float]:
    state = mix(mix(key, first), second)
    return state, to_unit(state)


@given(st.integers(0, 2**63), st.text(max_size=8), st.lists(st.tuples(IDS, IDS), min_size=1, max_size=30), st.data())
@settings(max_examples=50, deadline=None)
def test_a_draw_depends_on_its_ids_alone(seed: int, name: str, ids: list[tuple[int, int]], data: st.DataObject) -> None:
    """A draw is the same alone, in a batch, and in the batch in any other order."""
    user, visit = (np.array(column, dtype=np.int64) for column in zip(*ids, strict=True))
    batch = Stream(seed, name).uniform(user, visit)
    order = np.array(data.draw(st.permutations(range(len(ids)))))
    assert np.array_equal(Stream(seed, name).uniform(user[order], visit[order]), batch[order])
    assert [float(Stream(seed, name).uniform(*pair)) for pair in ids] == batch.tolist()


def test_draws_broadcast_over_their_ids() -> None:
    """A table drawn at once holds in every cell what the cell's ids give alone."""
    stream = Stream(3, "table")
    table = stream.uniform(np.arange(5)[:, None], np.arange(7)[None, :])
    assert table.shape == (5, 7)
    assert table[2, 3] == stream.uniform(2, 3)
    assert stream.uniform().shape == ()


@given(IDS, IDS, st.integers(0, 2**63))
@settings(max_examples=100, deadline=None)
def test_the_kernel_agrees_with_the_stream(first: int, second: int, seed: int) -> None:
    """Mixing inside a compiled kernel gives the very draw that the stream gives outside."""
    _, drawn = _mixed(stream_key(seed, "kernel"), first, second)
    assert drawn == Stream(seed, "kernel").uniform(first, second)


def test_draws_are_never_zero_or_one() -> None:
    """The least and the greatest state fall strictly inside (0, 1), and no integer draw reaches its bound."""
    least, most = to_unit(np.uint64(0)), to_unit(MOST)
    assert 0.0 < least < most < 1.0
    for high in (1, 2, 3, 5, 7, 10, 1000, 2**31 - 1, 2**31 + 1):
        assert int(most * high) == high - 1


def test_known_draws_do_not_move() -> None:
    """The mixing function is SplitMix64 as published, and a stream's draws are those of every run before."""
    assert int(mix(np.uint64(0), 0)) == 0xE220A8397B1DCDAF  # the generator's first two outputs for seed 0
    assert int(mix(np.uint64(0), 1)) == 0x6E789E6AA1B965F4
    assert int(stream_key(1, "golden")) == 0x2772C23A55601E50
    assert float(Stream(1, "golden").uniform(0)) == 0.5798936819750765


@pytest.mark.parametrize("high", [2, 10, 300])
def test_integers_are_uniform(high: int) -> None:
    """Integer draws fall on all values equally often (chi-square)."""
    drawn = Stream(5, "integers").integers(high, np.arange(60_000))
    assert (drawn.min(), drawn.max()) == (0, high - 1)
    assert stats.chisquare(np.bincount(drawn, minlength=high)).pvalue > 1e-4


@pytest.mark.parametrize("ids", [1, 64, 86_400, 2**32])
def test_draws_are_uniform(ids: int) -> None:
    """Draws of neighbouring and of regularly spaced ids are uniform (Kolmogorov-Smirnov), last id or first."""
    spaced = np.arange(40_000) * ids
    stream = Stream(9, "uniform")
    assert stats.kstest(stream.uniform(spaced), "uniform").pvalue > 1e-4
    assert stats.kstest(stream.uniform(spaced, 3), "uniform").pvalue > 1e-4
    assert stats.kstest(stream.uniform(3, spaced), "uniform").pvalue > 1e-4


def test_neighbours_are_uncorrelated() -> None:
    """Neighbouring ids, visits, streams and seeds give draws that have nothing to do with each other."""
    n = np.arange(100_000)
    base = Stream(4, "one").uniform(n, 5)
    others = [
        Stream(4, "one").uniform(n + 1, 5),
        Stream(4, "one").uniform(n, 6),
        Stream(4, "one").uniform(5, n),
        Stream(4, "one").uniform(n, 5, 0),
        Stream(4, "one").uniform(-1 - n, 5),
        Stream(4, "two").uniform(n, 5),
        Stream(5, "one").uniform(n, 5),
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 4.5 / np.sqrt(len(n))


def test_pairs_fill_the_square() -> None:
    """Pairs of a user's draws on two visits fall into all cells of a grid equally often (chi-square)."""
    n = np.arange(100_000)
    stream = Stream(6, "pairs")
    cell = (stream.uniform(n, 0) * 16).astype(int) * 16 + (stream.uniform(n, 1) * 16).astype(int)
    assert stats.chisquare(np.bincount(cell, minlength=256)).pvalue > 1e-4


def test_normal_and_exponential_have_their_moments() -> None:
    """Normal draws are standard normal and exponential draws have mean 1 (moments and Kolmogorov-Smirnov)."""
    n = np.arange(100_000)
    normal, exponential = Stream(2, "normal").normal(n), Stream(2, "exponential").exponential(n)
    assert abs(normal.mean()) < 0.015
    assert abs(normal.std() - 1.0) < 0.01
    assert abs(stats.kurtosis(normal)) < 0.08
    assert abs(exponential.mean() - 1.0) < 0.015
    assert abs(exponential.var() - 1.0) < 0.05
    assert exponential.min() > 0.0
    assert stats.kstest(normal, "norm").pvalue > 1e-4
    assert stats.kstest(exponential, "expon").pvalue > 1e-4


def test_names_and_seeds_give_keys_of_their_own() -> None:
    """No two of many (seed, name) pairs share a key, not even where their digits run together."""
    pairs = [(seed, name) for seed in range(200) for name in ("a", "b", "1/a", "0/a", "")]
    assert len({int(stream_key(seed, name)) for seed, name in pairs}) == len(pairs)
