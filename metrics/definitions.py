"""The metrics by name: what is divided by what, over which days, and with which warm-up covariate.

Knows the column names of a user's totals. Does not know how they are summed, nor how two arms are compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

ADDITIVE_COLUMNS: Final = (
    "sessions",
    "pages",
    "impressions",
    "clicks",
    "ipv",
    "atc",
    "orders",
    "novel_impressions",
    "gmv",
    "tv",
)
"""Columns of ``user_days`` that add up over days."""

ACTIVE_DAYS_BEFORE: Final = "active_days_before"
"""The covariate of the metrics of return: the number of warm-up days on which the user came."""


class Covariate(NamedTuple):
    """What was known of a user before the arms parted: a column, or two whose sums are divided.

    Attributes:
        numerator: a column of the users' totals.
        denominator: a column of the users' totals, ``None`` where the covariate is the numerator alone.
    """

    numerator: str
    denominator: str | None = None


@dataclass(frozen=True)
class Metric:
    """One metric. The unit is the user; ``clusters`` makes others of it where those were randomised.

    Attributes:
        name: its key in a config and in the results.
        title: its name in a report.
        unit: what one unit of its value is.
        formula: the definition in words and signs.
        kind: ``ratio``: sum over users of ``numerator`` divided by the sum over users of ``denominator``;
            ``mean``: mean over users of ``numerator``; ``proportion``: the same of a column of 0 and 1.
        numerator: a column of the users' totals.
        denominator: a column of the users' totals, ``None`` unless it is a ratio.
        covariates: what CUPED may use; empty where nothing is allowed.
        higher_is_better: whether a rise is good news.
        window: for a metric of return, the days after exposure it looks at, first included, last excluded;
            day 0 is the day of exposure.
        window_value: ``days`` counts the active days in the window, ``any`` is 1 if there is one, else 0.
    """

    name: str
    title: str
    unit: str
    formula: str
    kind: Literal["ratio", "mean", "proportion"]
    numerator: str
    denominator: str | None = None
    covariates: tuple[Covariate, ...] = ()
    higher_is_better: bool = True
    window: tuple[int, int] | None = None
    window_value: Literal["days", "any"] = "days"

    @property
    def needs_days(self) -> int:
        """Days, that of exposure included, that must have been observed of a user; 0 if none."""
        return self.window[1] if self.window else 0


def _ratio(name: str, title: str, unit: str, numerator: str, denominator: str) -> Metric:
    return Metric(
        name=name,
        title=title,
        unit=unit,
        formula=f"{numerator} / {denominator}, each summed over all users of the arm",
        kind="ratio",
        numerator=numerator,
        denominator=denominator,
        covariates=(Covariate(f"{numerator}_before", f"{denominator}_before"),),
    )


def _sum(name: str, title: str, unit: str, formula: str) -> Metric:
    return Metric(
        name=name,
        title=title,
        unit=unit,
        formula=f"{formula}, a user over the experiment",
        kind="mean",
        numerator=name,
        covariates=(Covariate(f"{name}_before"),),
    )


def _lifetime(days: int) -> Metric:
    return Metric(
        name=f"lt{days}",
        title=f"LT-{days}",
        unit="days a user",
        formula=f"active days among days 0 to {days - 1} after exposure, a user",
        kind="mean",
        numerator=f"lt{days}",
        covariates=(Covariate(ACTIVE_DAYS_BEFORE),),
        window=(0, days),
    )


def _retention(days: int) -> Metric:
    return Metric(
        name=f"retention_{days}",
        title=f"Retention, day {days}",
        unit="share",
        formula=f"share of users active on any of days {days - 6} to {days} after exposure",
        kind="mean",
        numerator=f"retention_{days}",
        covariates=(Covariate(ACTIVE_DAYS_BEFORE),),
        window=(days - 6, days + 1),
        window_value="any",
    )


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        _ratio("ctr", "Click-through rate", "share", "clicks", "impressions"),
        _sum("ipv", "Item page views", "count a user", "item-detail page views"),
        _sum("atc", "Add-to-carts", "count a user", "add-to-carts"),
        _sum("orders", "Orders", "count a user", "orders"),
        _sum("gmv", "Gross merchandise value", "currency a user", "value of the orders, refunds included"),
        _sum("tv", "Transaction value", "currency a user", "paid value of the orders, net of refunds"),
        _ratio("ner", "Novelty exposure rate", "share", "novel_impressions", "impressions"),
        _ratio("cvr", "Conversion rate", "orders a click", "orders", "clicks"),
        _sum("sessions", "Sessions", "count a user", "sessions"),
        _lifetime(14),
        _lifetime(30),
        _retention(7),
        _retention(14),
        _retention(30),
    )
}
"""Every metric by name.

CTR, IPV, ATC, GMV, TV and NER follow the RecGPT-V2 report (arXiv 2512.14503, online experiments). The report
shows LT-14 and LT-30 without a formula: here they are active days a user, and "active again" is retention.
"""


def resolve(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics with these names, in the order given.

    Raises:
        ValueError: if a name is unknown or comes twice.
    """
    names = list(names)
    for name in names:
        if name not in METRICS:
            raise ValueError(f"metrics: {name!r} is unknown (choose from {', '.join(METRICS)})")
        if names.count(name) > 1:
            raise ValueError(f"metrics: {name!r} comes twice (name each metric once)")
    return tuple(METRICS[name] for name in names)
