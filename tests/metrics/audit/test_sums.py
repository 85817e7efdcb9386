from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.audit.draws import Assign, draw
from metrics.audit.outcomes import needed_columns, outcomes_of
from metrics.audit.sums import ColumnSums, block_size
from metrics.definitions import Metric, resolve
from metrics.estimates import arm_aggregates, estimate

METRICS = resolve(["ctr", "gmv", "sessions"])


@pytest.mark.parametrize("design", ["fixed", "drawn"])
def test_matrix_product_reads_what_the_rows_say(
    design: str, population: Callable[..., pl.DataFrame], assigning: Callable[..., Assign]
) -> None:
    """Aggregates by one product equal those read from the rows of each experiment to 1e-9, and so do estimates."""
    totals = population(3, 400)
    found = outcomes_of({"a": totals}, METRICS)
    sums = ColumnSums(found.tables["a"], METRICS, np.ones(400, bool))
    draws = [draw(design, found.user, number, assigning([0.6, 0.4]), 9) for number in range(5)]  # type: ignore[arg-type]
    read = [sums.aggregates(np.stack([each.weights(arm, 400) for each in draws])) for arm in (0, 1)]
    for number, each in enumerate(draws):
        rows = totals[each.row].with_columns(arm=pl.Series(np.array(["a", "b"])[each.arm]))
        from_rows = arm_aggregates(rows, ["a", "b"], METRICS, cuped=True)
        for arm, name in enumerate("ab"):
            mine, theirs = read[arm][number], from_rows[name]
            assert mine.count() == theirs.count()
            assert mine.mean_ == pytest.approx(theirs.mean_, rel=1e-9)
            assert mine.var_ == pytest.approx(theirs.var_, rel=1e-9)
            assert mine.cov_ == pytest.approx({pair: theirs.cov_[pair] for pair in mine.cov_}, rel=1e-9, abs=1e-9)
        for metric in METRICS:
            ours = estimate(metric, read[0][number], read[1][number], 0.05, True)
            verdict = estimate(metric, from_rows["a"], from_rows["b"], 0.05, True)
            assert ours.p_value == pytest.approx(verdict.p_value, rel=1e-8)
            assert ours.ci == pytest.approx(verdict.ci, rel=1e-8)
            assert ours.method == verdict.method


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.0, 1e4), min_size=2, max_size=30),
    st.floats(-1e9, 1e9),
    st.data(),
)
def test_large_means_cost_no_digits(values: list[float], shift: float, data: st.DataObject) -> None:
    """A column far from 0 keeps the variance that it has near 0."""
    weights = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)).filter(lambda w: sum(w) > 1)),
        float,
    )
    metric = Metric("x", "x", "", "", "mean", "x")
    column = np.array(values) + shift
    (found,) = ColumnSums({"x": column}, [metric], np.ones(len(values), bool)).aggregates(weights[None])
    rows = np.repeat(column, weights.astype(int))
    # What double precision leaves of the values themselves.
    slack = 1e-9 * max(rows.var(ddof=1), 1e-9) + 1e-6 * np.spacing(abs(shift) + 1e4) * 1e4 + 1e-9
    assert found.var("x") == pytest.approx(rows.var(ddof=1), rel=1e-9, abs=slack)
    assert found.mean("x") == pytest.approx(rows.mean(), rel=1e-12, abs=1e-9)


def test_users_of_whom_nothing_is_known_do_not_count(ratio: Metric) -> None:
    """Rows outside of the mask enter no sum, whatever they hold."""
    table = {"clicks": np.array([1.0, np.nan, 3.0]), "views": np.array([2.0, np.nan, 4.0])}
    (found,) = ColumnSums(table, [ratio], np.array([True, False, True])).aggregates(np.array([[1.0, 5.0, 1.0]]))
    assert found.count() == 2
    assert found.mean_ == {"clicks": 2.0, "views": 3.0}


@pytest.mark.parametrize(("weights", "reason"), [([0.0, 0.0], "0, 2 are needed"), ([1.0, 0.0], "1, 2 are needed")])
def test_thin_arms_are_left_to_the_estimate(weights: list[float], reason: str, mean: Metric) -> None:
    """An arm with no user or one gives aggregates that the verdict's estimate refuses in words."""
    table = {name: np.array([1.0, 2.0]) for name in needed_columns([mean])}
    sums = ColumnSums(table, [mean], np.ones(2, bool))
    thin, whole = sums.aggregates(np.array([weights, [2.0, 2.0]]))
    assert reason in estimate(mean, thin, whole, 0.05, True).method


def test_blocks_shrink_with_users() -> None:
    """Weights in memory stay bounded, and at least one replication is drawn at a time."""
    assert block_size(100) == 32
    assert block_size(100_000) * 100_000 <= 1 << 22
    assert block_size(10**9) == 1
