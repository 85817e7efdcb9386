"""The methods that the verdict offers, as a table: what each is asked, what it answers, and what it promises.

A new method is a new entry of ``METHODS``. Each calls the function that the verdict itself calls, on what a drawn
experiment shows of the arms. Knows no design, no replication and no rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from tea_tasting.aggr import Aggregates

from metrics.audit.outcomes import Table, observed
from metrics.audit.rates import Promise
from metrics.definitions import Metric
from metrics.estimates import estimate
from metrics.quantiles import quantile_effects

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

_QUANTILES_EVERY: Final = 4


@dataclass(frozen=True)
class Sample:
    """What a drawn experiment shows of one arm.

    Attributes:
        aggregates: of the columns of the metrics.
        values: from a column to the values of the arm's units, each [units].
    """

    aggregates: Aggregates
    values: Callable[[str], Floats]


class Answer(NamedTuple):
    """What a method says of two arms; ``None`` where it says nothing.

    Attributes:
        p_value: two-sided, of no effect.
        ci: interval of treatment minus control.
        lift_ci: interval of treatment over control, minus 1.
        std_error: standard error of the effect.
        as_asked: false where the method gave way to a simpler one, as CUPED does without a usable covariate.
    """

    p_value: float | None
    ci: Interval | None
    lift_ci: Interval | None
    std_error: float | None
    as_asked: bool


class Truth(NamedTuple):
    """The true effect of a table: the difference, and the relative one where the control's value is above 0."""

    effect: float | None
    lift: float | None


@dataclass(frozen=True)
class Method:
    """One way to compare two arms.

    Attributes:
        name: its key in the results.
        title: what a reader calls it.
        ask: from metric, control, treatment and alpha to an answer.
        truth: from metric and the tables of control and treatment to the effect that its interval should hold.
        false_alarms: what it promises of the share of p-values at or below alpha where nothing differs.
        coverage: what it promises of the share of intervals that hold the truth.
        every: it is asked in one of so many replications: more than 1 for what takes long.
    """

    name: str
    title: str
    ask: Callable[[Metric, Sample, Sample, float], Answer]
    truth: Callable[[Metric, Table, Table], Truth]
    false_alarms: Promise = "equal"
    coverage: Promise = "equal"
    every: int = 1


@dataclass(frozen=True)
class Question:
    """One method asked about one metric.

    Attributes:
        name: of the metric as the config calls it.
        metric: its columns, which are others where amounts are cut.
        method: how arms are compared.
    """

    name: str
    metric: Metric
    method: Method


def true_value(metric: Metric, table: Table) -> float | None:
    """The metric's value over all users of a table; ``None`` where there is nothing to divide by."""
    rows = observed(metric, table)
    whole = float(table[metric.denominator][rows].sum()) if metric.denominator else float(rows.sum())
    return float(table[metric.numerator][rows].sum()) / whole if whole else None


def _estimated(metric: Metric, control: Sample, treatment: Sample, alpha: float, *, cuped: bool) -> Answer:
    found = estimate(metric, control.aggregates, treatment.aggregates, alpha, cuped)
    as_asked = not cuped or found.variance_reduction is not None
    return Answer(found.p_value, found.ci, found.lift_ci, found.std_error, as_asked)


def _ratio_truth(metric: Metric, control: Table, treatment: Table) -> Truth:
    return _difference(true_value(metric, control), true_value(metric, treatment))


def _of_quantile(metric: Metric, control: Sample, treatment: Sample, alpha: float, *, quantile: float) -> Answer:
    before, after = control.values(metric.numerator), treatment.values(metric.numerator)
    if min(len(before), len(after)) < 2:
        return Answer(None, None, None, None, True)
    (found,) = quantile_effects(before, after, [quantile], alpha)
    return Answer(found.p_value, found.ci, None, None, True)


def _quantile_truth(metric: Metric, control: Table, treatment: Table, *, quantile: float) -> Truth:
    values = [table[metric.numerator][observed(metric, table)] for table in (control, treatment)]
    if min(map(len, values)) == 0:
        return Truth(None, None)
    return _difference(*(float(np.quantile(each, quantile)) for each in values))


def _difference(control: float | None, treatment: float | None) -> Truth:
    if control is None or treatment is None:
        return Truth(None, None)
    return Truth(treatment - control, treatment / control - 1.0 if control > 0.0 else None)


PLAIN: Final = Method("plain", "Welch t", partial(_estimated, cuped=False), _ratio_truth)
CUPED: Final = Method("cuped", "CUPED, Welch t", partial(_estimated, cuped=True), _ratio_truth)
METHODS: Final = (PLAIN, CUPED)
"""Methods of means and ratios; those of quantiles are made by ``quantile_method``."""


def quantile_method(quantile: float) -> Method:
    """The bootstrap of a quantile; many users share a value such as 0, so that it promises bounds and no equality."""
    return Method(
        f"p{100.0 * quantile:g}",
        f"quantile {quantile:g}, bootstrap",
        partial(_of_quantile, quantile=quantile),
        partial(_quantile_truth, quantile=quantile),
        "at most",
        "at least",
        every=_QUANTILES_EVERY,
    )


def capped_method(method: Method) -> Method:
    """The same method on amounts that are cut."""
    return replace(method, name=f"capped_{method.name}", title=f"capped, {method.title}")


def questions_of(
    metrics: Sequence[Metric], capped: Sequence[tuple[str, Metric]] = (), quantiles: Sequence[float] = ()
) -> tuple[Question, ...]:
    """Every metric by every method that applies to it.

    Args:
        metrics: of the scorecard. CUPED is asked where there are covariates, quantiles of sums without a window.
        capped: metrics on columns that are cut, each with the name of the uncut one.
        quantiles: that are compared.
    """
    found = []
    for metric in metrics:
        found += [Question(metric.name, metric, method) for method in METHODS if method is PLAIN or metric.covariates]
        found += [
            Question(metric.name, cut, capped_method(method))
            for name, cut in capped
            if name == metric.name
            for method in METHODS
            if method is PLAIN or cut.covariates
        ]
        if metric.kind == "mean" and metric.window is None:
            found += [Question(metric.name, metric, quantile_method(quantile)) for quantile in quantiles]
    return tuple(found)
