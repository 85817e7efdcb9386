from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from metrics.audit.outcomes import needed_columns, observed, outcomes_of
from metrics.definitions import resolve


def test_columns_of_metrics_and_covariates() -> None:
    """Every column of a metric and of its covariates is kept, each once, in one order."""
    assert needed_columns(resolve(["ctr", "ner"])) == (
        "clicks",
        "clicks_before",
        "impressions",
        "impressions_before",
        "novel_impressions",
        "novel_impressions_before",
    )


def test_rows_are_in_the_order_of_users(population: Callable[..., pl.DataFrame]) -> None:
    """However totals are ordered, a row is the same user in every arm."""
    totals = population(1, 50)
    found = outcomes_of({"a": totals, "b": totals.reverse()}, resolve(["gmv"]))
    assert np.array_equal(found.tables["a"]["gmv"], found.tables["b"]["gmv"])
    assert np.array_equal(found.rows_in(np.arange(-5, 60)), found.user + 5)


def test_arms_must_hold_the_same_users(population: Callable[..., pl.DataFrame]) -> None:
    """Tables of different users are no potential outcomes."""
    totals = population(1, 50)
    with pytest.raises(ValueError, match=r"totals_by_arm\.b: users differ"):
        outcomes_of({"a": totals, "b": totals.head(49)}, resolve(["gmv"]))


def test_windows_must_not_depend_on_the_arm(population: Callable[..., pl.DataFrame]) -> None:
    """A metric of return is known of the same users in every arm, and unknown ones are told apart from zeros."""
    (metric,) = resolve(["lt14"])
    totals = population(1, 50).with_columns(lt14=pl.when(pl.col("user") < 30).then(pl.lit(0)))
    found = outcomes_of({"a": totals}, [metric])
    assert observed(metric, found.tables["a"]).sum() == 30
    other = totals.with_columns(lt14=pl.when(pl.col("user") < 31).then(pl.lit(0)))
    with pytest.raises(ValueError, match="exposure must not depend on the arm"):
        outcomes_of({"a": totals, "b": other}, [metric])
