"""What an ``analysis`` block may say: how arms are compared, for a simulated experiment and for a table alike.

Knows keys, bounds and defaults. Does not know arms, worlds or columns.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from experiments.errors import refuse
from metrics.definitions import ADDITIVE_COLUMNS, resolve
from metrics.multiplicity import Correction
from metrics.sequential.path import Method
from simulator.parameters import Parameters

ALWAYS_VALID: Final = ("asymptotic_cs", "msprt")
SegmentBy = Literal["rain", "cold", "holiday", "trend", "activity", "newcomer", "city"]


class Sequential(Parameters):
    """How the primary metric is read before the end."""

    method: Method = Field(
        default="obrien_fleming",
        description="alpha spending as obrien_fleming, pocock or power; always valid: asymptotic_cs or msprt",
    )
    looks: int | tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None,
        description="how many looks, evenly spread over the days, or the days after which one looks, the last at the "
        "end; one look at the end if left out, every day for methods that are always valid",
    )
    exponent: float = Field(default=1.0, gt=0.0, le=10.0, description="of the method power: alpha t^exponent is spent")
    expected_lift: float = Field(default=0.05, gt=0.0, le=10.0, description="of the method msprt: spread of lifts")

    @field_validator("looks", mode="before")
    @classmethod
    def _number_or_days(cls, looks: Any) -> Any:
        days = looks if isinstance(looks, list | tuple) else [looks]
        if looks is not None and not all(isinstance(day, int) and not isinstance(day, bool) for day in days):
            raise ValueError(f"{looks!r} is neither a number of looks nor a list of days; write 3, or [7, 14, 21]")
        return looks

    @field_validator("looks")
    @classmethod
    def _looks_grow(cls, looks: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if isinstance(looks, int) and looks < 1:
            raise ValueError(f"{looks} (at least 1)")
        if isinstance(looks, tuple) and (not looks or list(looks) != sorted(set(looks))):
            raise ValueError(f"{list(looks)} do not grow; give days in order, each once")
        return looks

    def days_of(self, days: int) -> tuple[int, ...]:
        """The days after which one looks, in order; the last is the end.

        Args:
            days: planned days.

        Raises:
            ValueError: if there are more looks than days, or a look lies beyond the end.
        """
        if isinstance(self.looks, tuple):
            if self.looks[-1] > days:
                raise ValueError(f"{list(self.looks)} go beyond the {days} days; look within them")
            return self.looks if self.looks[-1] == days else (*self.looks, days)
        count = self.looks or (days if self.method in ALWAYS_VALID else 1)
        if count > days:
            raise ValueError(f"{count} looks in {days} days; one a day is the most")
        return tuple(round(days * look / count) for look in range(1, count + 1))


class PowerTarget(Parameters):
    """What the test should notice."""

    lift: float = Field(default=0.05, gt=0.0, le=10.0, description="smallest relative effect worth noticing")
    power: float = Field(default=0.8, ge=0.5, lt=1.0, description="wanted chance to notice it")


class AnalysisSettings(Parameters):
    """What simulated experiments and tables share."""

    control: str | None = Field(default=None, description="the arm the others are held against; the first if left out")
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5, description="two-sided level of the tests")
    cuped: bool = Field(default=True, description="adjust for what was known before (Deng et al. 2013)")
    correction: Correction = Field(default="holm", description="for several metrics and arms tested at once")
    guardrails: dict[str, Annotated[float, Field(gt=0.0, lt=1.0)]] = Field(
        default_factory=dict, description="metrics that must not get worse, each with the relative loss put up with"
    )
    sequential: Sequential = Field(default=Sequential(), description="looks before the end, at the primary metric")
    quantiles: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = Field(
        default=(0.5, 0.9), description="quantiles of users' sums that are compared; empty for none"
    )
    power: PowerTarget = Field(default=PowerTarget(), description="what the test should notice")


class Analysis(AnalysisSettings):
    """How the arms of a simulated experiment are compared."""

    metrics: tuple[str, ...] = Field(
        default=("ctr", "ipv", "atc", "gmv", "tv"), min_length=1, description="metrics of the scorecard"
    )
    primary: str = Field(default="ctr", validate_default=True, description="the metric that decides; one of `metrics`")
    covariates: tuple[str, ...] = Field(
        default=(),
        description="what CUPED uses beside a metric's own warm-up: columns of user days, or active_days",
    )
    capping: float | None = Field(
        default=0.999,
        gt=0.5,
        lt=1.0,
        description="GMV and TV are also shown with each day cut at this quantile of the warm-up's days; null: not",
    )
    segments: tuple[SegmentBy, ...] = Field(
        default=("rain", "cold", "holiday", "trend", "activity", "newcomer", "city"),
        description="by what the primary metric's effect is split; empty for nothing",
    )
    churn_days: int = Field(default=7, ge=1, description="days without a visit after which a user counts as gone")

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        resolve(names)
        return names

    @field_validator("primary")
    @classmethod
    def _primary_listed(cls, primary: str, info: ValidationInfo) -> str:
        metrics = info.data.get("metrics")
        if metrics is not None and primary not in metrics:
            raise ValueError(f"{primary!r} is not among analysis.metrics ({', '.join(metrics)}); add it there")
        return primary

    @field_validator("covariates")
    @classmethod
    def _known_covariates(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = (*ADDITIVE_COLUMNS, "active_days")
        for name in names:
            if name not in known:
                raise ValueError(f"{name!r} is no column of user days; choose from {', '.join(known)}")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} comes twice; name each covariate once")
        return names

    @model_validator(mode="after")
    def _guardrails_listed(self) -> "Analysis":
        refuse(guardrail_mistakes(self.guardrails, self.primary, self.metrics))
        return self


def guardrail_mistakes(guardrails: dict[str, float], primary: str, metrics: tuple[str, ...]) -> Iterator[str]:
    """Guardrails that are no metrics of the scorecard, or the metric that decides, a line each."""
    for name in guardrails:
        if name not in metrics:
            yield f"guardrails: {name!r} is not among the metrics ({', '.join(metrics)}); add it there"
        elif name == primary:
            yield f"guardrails: {name!r} is the primary metric; a metric either decides or guards"
