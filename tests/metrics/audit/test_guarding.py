from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from metrics.audit.draws import Assign, draw
from metrics.audit.guarding import at_margin, scaled
from metrics.audit.outcomes import outcomes_of
from metrics.audit.rates import Rate
from metrics.audit.sums import ColumnSums
from metrics.definitions import resolve
from metrics.estimates import arm_aggregates


def test_scaled_aggregates_are_those_of_scaled_rows(population: Callable[..., pl.DataFrame]) -> None:
    """Multiplying a column in the aggregates is multiplying it in every row."""
    metrics = resolve(["ctr", "gmv"])
    totals = population(2, 300).with_columns(arm=pl.lit("a"))
    worse = totals.with_columns(pl.col("clicks") * 0.9)
    mine = scaled(arm_aggregates(totals, ["a"], metrics, True)["a"], "clicks", 0.9)
    theirs = arm_aggregates(worse, ["a"], metrics, True)["a"]
    assert mine.mean_ == pytest.approx(theirs.mean_)
    assert mine.var_ == pytest.approx(theirs.var_)
    assert mine.cov_ == pytest.approx(theirs.cov_)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_loss_of_the_margin_passes_seldom(
    higher_is_better: bool, population: Callable[..., pl.DataFrame], assigning: Callable[..., Assign]
) -> None:
    """Where the loss is exactly the margin a guardrail passes in half of alpha, and fails in as many."""
    metric = replace(resolve(["ctr"])[0], higher_is_better=higher_is_better)
    outcomes = outcomes_of({"a": population(6, 800)}, [metric])
    sums = ColumnSums(outcomes.tables["a"], [metric], np.ones(800, bool))
    draws = [draw("fixed", outcomes.user, number, assigning([0.5, 0.5]), 1) for number in range(300)]
    read = [sums.aggregates(np.stack([each.weights(arm, 800) for each in draws])) for arm in (0, 1)]
    states = [at_margin(metric, *pair, 0.05, 0.2, cuped=True) for pair in zip(*read, strict=True)]
    for state in ("passed", "failed"):
        assert Rate(states.count(state), 300, "equal", 0.1).broken(0.999) is False
