import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from allocation.assignment import assign, assign_blocks, assign_cities

MANY = np.arange(100_000)


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.5}, {"a": 0.34, "b": 0.33, "c": 0.33}, {"a": 0.01, "b": 0.99}])
def test_shares_are_respected(shares: dict[str, float]) -> None:
    """Over 100,000 users the arms' sizes are what the shares say (chi-square), in the order of the shares."""
    sizes = np.bincount(assign(MANY, shares, "salt", 7), minlength=len(shares))
    assert len(sizes) == len(shares)
    assert chisquare(sizes, np.array(list(shares.values())) * len(MANY)).pvalue > 1e-4


def test_chance_of_imbalance_is_as_it_should_be() -> None:
    """Over many salts a chi-square test of the sizes rejects about as often as its level says."""
    users = np.arange(2000)
    shares = {"a": 0.5, "b": 0.5}
    sizes = [np.bincount(assign(users, shares, f"experiment-{n}", 7), minlength=2) for n in range(400)]
    rejected = sum(chisquare(size).pvalue < 0.05 for size in sizes)
    assert 6 <= rejected <= 38


@settings(max_examples=30, deadline=None)
@given(
    users=st.lists(st.integers(0, 2**62), unique=True, min_size=1, max_size=50),
    more=st.lists(st.integers(0, 2**62), max_size=50),
    seed=st.integers(0, 2**63 - 1),
)
def test_adding_users_moves_nobody(users: list[int], more: list[int], seed: int) -> None:
    """A user's arm depends on that user alone: others, and the order of all, do not matter."""
    shares = {"a": 0.2, "b": 0.5, "c": 0.3}
    alone = assign(np.array(users), shares, "salt", seed)
    together = assign(np.array(more + users[::-1]), shares, "salt", seed)
    assert together[len(more) :][::-1].tolist() == alone.tolist()


@pytest.mark.parametrize(("other_salt", "other_seed"), [("other", 7), ("salt", 8)])
def test_experiments_split_independently(other_salt: str, other_seed: int) -> None:
    """Another salt, or another seed, splits the same users without regard to the first split."""
    one = assign(MANY, {"a": 0.5, "b": 0.5}, "salt", 7)
    other = assign(MANY, {"a": 0.3, "b": 0.7}, other_salt, other_seed)
    table = np.bincount(one * 2 + other, minlength=4).reshape(2, 2)
    assert chi2_contingency(table).pvalue > 1e-4
    assert np.array_equal(one, assign(MANY, {"a": 0.5, "b": 0.5}, "salt", 7))


def test_arms_are_named_not_keyed() -> None:
    """Renaming arms moves nobody; their order decides who is who."""
    one = assign(MANY[:1000], {"a": 0.4, "b": 0.6}, "salt", 7)
    assert np.array_equal(one, assign(MANY[:1000], {"x": 0.4, "y": 0.6}, "salt", 7))
    assert one.dtype == np.int64
    assert set(one.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"a": 0.7, "b": 0.5}, "sum to 1.2; they must sum to 1"),
        ({"a": 0.4, "b": 0.5}, "sum to 0.9; they must sum to 1"),
        ({"a": 1.0, "b": 0.0}, "every share must be above 0"),
        ({"a": 1.5, "b": -0.5}, "every share must be above 0"),
        ({}, "sum to 0; they must sum to 1"),
    ],
)
def test_shares_that_do_not_add_up_are_refused(shares: dict[str, float], message: str) -> None:
    """Shares must be positive and sum to 1; the message shows them."""
    with pytest.raises(ValueError, match=message) as error:
        assign(MANY[:10], shares, "salt", 7)
    assert str(shares) in str(error.value)


def test_rounding_of_shares_is_forgiven() -> None:
    """Thirds, which do not sum to 1 in floating point, are accepted, and everybody gets an arm."""
    found = assign(MANY, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, "salt", 7)
    assert set(found.tolist()) == {0, 1, 2}


@settings(max_examples=50, deadline=None)
@given(
    cities=st.integers(1, 60),
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 2**63 - 1),
)
def test_cities_are_dealt_out_by_the_shares(cities: int, weights: list[int], seed: int) -> None:
    """Every arm gets its share of the cities, rounded down or up; and of each city's blocks likewise."""
    shares = {f"arm{n}": weight / sum(weights) for n, weight in enumerate(weights)}
    for arms in (assign_cities(cities, shares, "salt", seed), *assign_blocks(3, cities, shares, "salt", seed)):
        sizes = np.bincount(arms, minlength=len(shares))
        assert (np.abs(sizes - cities * np.array(list(shares.values()))) < 1.0 + 1e-9).all()


def test_every_city_and_pair_is_as_likely_as_another() -> None:
    """Over salts a city gets each arm as often as its share says, and no two cities go together or apart."""
    shares = {"a": 0.3, "b": 0.7}
    drawn = np.array([assign_cities(10, shares, f"salt-{n}", 7) for n in range(4000)])
    assert np.abs(drawn.mean(axis=0) - 0.7).max() < 0.03
    same = [(drawn[:, i] == drawn[:, j]).mean() for i in range(10) for j in range(i)]
    assert np.ptp(same) < 0.08


def test_odd_cities_favour_no_arm() -> None:
    """Of eleven cities either half gets the sixth, in half of the salts each."""
    shares = {"a": 0.5, "b": 0.5}
    more = np.mean([assign_cities(11, shares, f"salt-{n}", 7).sum() == 6 for n in range(1000)])
    assert 0.44 < more < 0.56


def test_blocks_of_cities_are_drawn_apart() -> None:
    """Two cities, and two experiments, do not change arms together."""
    shares = {"a": 0.5, "b": 0.5}
    first, second = (assign_blocks(40, 28, shares, salt, 7) for salt in ("one", "two"))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1
    assert np.abs(np.corrcoef(first)[np.triu_indices(40, 1)]).mean() < 0.25
    assert (assign_blocks(10, 28, shares, "one", 7) == first[:10]).all()
