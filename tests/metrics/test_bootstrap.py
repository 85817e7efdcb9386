import math
from typing import Any

import numpy as np
import pytest

from metrics.bootstrap import complete_requests, finest_p_value, paired_bootstrap, replicates_for
from metrics.multiplicity import adjusted


def test_equal_policies_differ_by_exactly_nothing() -> None:
    """The same values under two names have an effect and an interval of 0 and a p-value of 1."""
    values = np.random.default_rng(1).random(500)
    cluster = np.repeat(np.arange(100), 5)
    found = paired_bootstrap({"a": values, "b": values.copy()}, cluster, replicates=200, seed=4)
    assert found["comparisons"] == [{"a": "a", "b": "b", "effect": 0.0, "ci": [0.0, 0.0], "p_value": 1.0}]
    assert found["policies"]["a"]["value"] == pytest.approx(values.mean())
    assert found["policies"]["a"] == found["policies"]["b"]


def test_bootstrap_resamples_users_and_not_requests() -> None:
    """When users are constant the interval has the width for that many users, not for all their requests."""
    rng = np.random.default_rng(2)
    of_user = rng.normal(size=200)
    cluster = np.repeat(np.arange(200), 10)
    found = paired_bootstrap({"a": of_user[cluster], "b": np.zeros(2000)}, cluster, replicates=2000, seed=0)
    lower, upper = found["comparisons"][0]["ci"]
    assert upper - lower == pytest.approx(2 * 1.96 * of_user.std() / math.sqrt(200), rel=0.1)
    assert found["comparisons"][0]["effect"] == pytest.approx(-of_user.mean())


def test_bootstrap_finds_a_constant_gain_and_is_reproducible() -> None:
    """Pairing removes what policies share: a constant gain is certain, with a p-value at its floor."""
    values = np.random.default_rng(3).random(300)
    arguments: dict[str, Any] = {"cluster": np.arange(300) // 3, "replicates": 99, "seed": 8, "alpha": 0.1}
    policies = {"base": values, "better": values + 0.25, "worse": values - 0.25}
    found = paired_bootstrap(policies, **arguments)
    gain = found["comparisons"][0]
    assert (gain["a"], gain["b"]) == ("base", "better")
    assert gain["ci"] == pytest.approx([0.25, 0.25])
    assert gain["p_value"] == pytest.approx(2 / 100)
    assert [(row["a"], row["b"]) for row in found["comparisons"]] == [
        ("base", "better"),
        ("base", "worse"),
        ("better", "worse"),
    ]
    assert found == paired_bootstrap(policies, **arguments)


def test_more_replicates_for_p_values_leave_the_intervals_as_they_are() -> None:
    """Intervals are those of so many replicates; p-values are those that all of them together would give."""
    rng = np.random.default_rng(6)
    cluster = np.repeat(np.arange(120), 3)
    policies = {"base": rng.normal(size=360), "same": rng.normal(size=360), "better": rng.normal(1.0, size=360)}
    few, many = (paired_bootstrap(policies, cluster, replicates, 4) for replicates in (200, 3000))
    mixed = paired_bootstrap(policies, cluster, 200, 4, p_replicates=3000)
    assert mixed["policies"] == few["policies"]
    for row, coarse, fine in zip(mixed["comparisons"], few["comparisons"], many["comparisons"], strict=True):
        assert row == coarse | {"p_value": fine["p_value"]}
    assert mixed["comparisons"][1]["p_value"] == finest_p_value(3000) < few["comparisons"][1]["p_value"]


@pytest.mark.parametrize("comparisons", [1, 12, 26, 400, 1249])
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_replicates_are_fine_enough_for_the_whole_family(comparisons: int, alpha: float) -> None:
    """With the replicates asked for, even p-values that three replicates contradict fall below alpha after Holm."""
    replicates = replicates_for(comparisons, alpha, 1000)
    clear = (3 + 1) * finest_p_value(replicates)
    smallest = min(p for p in adjusted([clear] + [1.0] * (comparisons - 1), "holm") if p is not None)
    assert smallest <= alpha or replicates == 100_000
    assert comparisons * finest_p_value(replicates) <= alpha
    assert 1000 <= replicates <= 100_000


def test_equal_policies_seldom_raise_an_alarm_together() -> None:
    """Of fifteen comparisons of equal policies some plain p-value is often below 5%, after Holm one seldom is."""
    rng, users, plain, corrected = np.random.default_rng(9), np.arange(100), 0, 0
    replicates = replicates_for(15, 0.05, 1000)
    for seed in range(60):
        policies = {str(policy): rng.normal(size=100) for policy in range(6)}
        rows = paired_bootstrap(policies, users, 10, seed, p_replicates=replicates)["comparisons"]
        p_values = [row["p_value"] for row in rows]
        plain += min(p_values) <= 0.05
        corrected += any(p is not None and p <= 0.05 for p in adjusted(p_values, "holm"))
    assert plain > 15
    assert corrected <= 9  # more by chance: once in 1,300 such tests


def test_no_fewer_replicates_than_are_wanted_and_no_end_of_them() -> None:
    """A small family takes what is wanted; a huge one takes no more than a hundred thousand unless more are wanted."""
    assert replicates_for(0, 0.05, 1000) == replicates_for(6, 0.05, 1000) == 1000
    assert replicates_for(10**6, 0.05, 1000) == 100_000
    assert replicates_for(10**6, 0.05, 200_000) == 200_000
    assert finest_p_value(1) == 1.0


def test_requests_count_where_every_policy_has_a_value() -> None:
    """One policy without a value takes a request out for all."""
    values = {"a": np.array([0.0, np.nan, 1.0, 2.0]), "b": np.array([0.0, 1.0, np.nan, 2.0])}
    assert complete_requests(values).tolist() == [True, False, False, True]


def test_wrong_values_are_refused() -> None:
    """Values that are not finite, other lengths and arguments out of range raise with the field's name."""
    values, cluster = np.ones(3), np.arange(3)
    with pytest.raises(ValueError, match=r"values_by_policy\.a: holds NaN"):
        paired_bootstrap({"a": values * np.nan}, cluster)
    with pytest.raises(ValueError, match=r"values_by_policy\.a: shape"):
        paired_bootstrap({"a": values}, np.arange(2))
    with pytest.raises(ValueError, match="replicates: 0"):
        paired_bootstrap({"a": values}, cluster, replicates=0)
    with pytest.raises(ValueError, match="alpha: 0"):
        paired_bootstrap({"a": values}, cluster, alpha=0.0)
    with pytest.raises(ValueError, match="cluster: no request"):
        paired_bootstrap({}, np.array([]))
