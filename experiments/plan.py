"""What a plan may say: how the columns of somebody's table become metrics, and how they are compared.

A plan is an ``analysis`` block with a mapping of columns. Knows keys and bounds; does not know the table.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from experiments.analysis_config import AnalysisSettings, guardrail_mistakes
from experiments.config import slug
from experiments.errors import refuse
from experiments.loading import checked, read_mapping
from metrics.definitions import Covariate, Metric
from simulator.parameters import Parameters

Missing = Literal["refuse", "drop", "zero"]
Column = Annotated[str, Field(min_length=1)]


class PlanMetric(Parameters):
    """One metric of a table."""

    name: Column = Field(description="its key in the results")
    kind: Literal["mean", "proportion", "ratio"] = Field(
        description="mean of a column, share of a column of yes and no, or a sum over another sum"
    )
    column: Column | None = Field(default=None, description="of a mean or a proportion")
    numerator: Column | None = Field(default=None, description="of a ratio")
    denominator: Column | None = Field(default=None, description="of a ratio")
    title: str | None = Field(default=None, description="its name in the report; the key if left out")
    unit: str = Field(default="", description="what one unit of it is, for the report")
    higher_is_better: bool = Field(default=True, description="whether a rise is good news")
    covariate: Column | tuple[Column, ...] | None = Field(
        default=None, description="columns from before the experiment that CUPED may use"
    )
    covariate_numerator: Column | None = Field(default=None, description="the same for a ratio of two columns")
    covariate_denominator: Column | None = Field(default=None, description="see covariate_numerator")
    cap: float | None = Field(
        default=None,
        gt=0.5,
        lt=1.0,
        description="show a mean also cut at this quantile of its first covariate, or of all its values without one",
    )

    @model_validator(mode="after")
    def _columns_of_its_kind(self) -> "PlanMetric":
        refuse(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[str]:
        """What is wrong between the keys, a line each."""
        ratio = self.kind == "ratio"
        if ratio and not (self.numerator and self.denominator):
            yield f"{self.name}: a ratio needs numerator and denominator; give both columns"
        if not ratio and not self.column:
            yield f"{self.name}: a {self.kind} needs column; give the column it is of"
        if self.column if ratio else (self.numerator or self.denominator):
            yield f"{self.name}: column is for means and proportions, numerator and denominator for ratios"
        if bool(self.covariate_numerator) != bool(self.covariate_denominator):
            yield f"{self.name}: covariate_numerator and covariate_denominator come together; give both"
        if self.cap is not None and self.kind != "mean":
            yield f"{self.name}: cap is for means, this is a {self.kind}; leave it out"

    @property
    def covariates(self) -> tuple[Covariate, ...]:
        """What CUPED may use, in the order of the plan."""
        single = (self.covariate,) if isinstance(self.covariate, str) else self.covariate or ()
        ratio = (
            ((self.covariate_numerator, self.covariate_denominator),)
            if self.covariate_numerator and self.covariate_denominator
            else ()
        )
        return (*(Covariate(*pair) for pair in ratio), *map(Covariate, single))

    @property
    def metric(self) -> Metric:
        """The metric as the engine knows it."""
        of = self.column or self.numerator or ""
        formula = {
            "mean": f"mean of {of}",
            "proportion": f"share of units with {of}",
            "ratio": f"{of} / {self.denominator}, each summed over all units of the arm",
        }[self.kind]
        return Metric(
            name=self.name,
            title=self.title or self.name,
            unit=self.unit or ("share" if self.kind == "proportion" else ""),
            formula=formula,
            kind=self.kind,
            numerator=of,
            denominator=self.denominator,
            covariates=self.covariates,
            higher_is_better=self.higher_is_better,
        )


class Plan(AnalysisSettings):
    """How a table of an experiment is analysed."""

    name: str | None = Field(default=None, description="names the results; the table's name if left out")
    unit: Column = Field(description="column that names the unit that was randomised; one row each")
    variant: Column = Field(description="column that names the unit's arm")
    shares: dict[str, Annotated[float, Field(gt=0.0)]] | None = Field(
        default=None, description="planned proportions of the arms; equal if left out"
    )
    metrics: tuple[PlanMetric, ...] = Field(min_length=1, description="what is compared")
    primary: str | None = Field(default=None, validate_default=True, description="the metric that decides; the first")
    date: Column | None = Field(default=None, description="column with the day on which the unit was exposed")
    planned_days: int | None = Field(default=None, ge=1, description="of the experiment; those seen if left out")
    segments: tuple[Column, ...] = Field(
        default=(), description="columns by which the primary metric's effect is split"
    )
    cluster: Column | None = Field(
        default=None, description="column that names what was randomised, where that is larger than the unit"
    )
    missing: Missing = Field(
        default="refuse", description="empty values of metrics: refuse, leave the unit out of the metric, or take 0"
    )
    currency: str = Field(default="", description="stands for the word currency in units")

    @field_validator("name")
    @classmethod
    def _name_is_slug(cls, name: str | None) -> str | None:
        return None if name is None else slug(name)

    @field_validator("metrics")
    @classmethod
    def _once_each(cls, metrics: tuple[PlanMetric, ...]) -> tuple[PlanMetric, ...]:
        names = [metric.name for metric in metrics]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} comes twice; name each metric once")
        return metrics

    @field_validator("primary")
    @classmethod
    def _primary_listed(cls, primary: str | None, info: ValidationInfo) -> str | None:
        if "metrics" not in info.data:
            return primary
        names = [metric.name for metric in info.data["metrics"]]
        if primary is not None and primary not in names:
            raise ValueError(f"{primary!r} is none of the metrics ({', '.join(names)}); name one of them")
        return primary or names[0]

    @model_validator(mode="after")
    def _parts_fit(self) -> "Plan":
        refuse(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[str]:
        """What is wrong between the parts, a line each."""
        yield from guardrail_mistakes(self.guardrails, str(self.primary), tuple(metric.name for metric in self.metrics))
        if self.sequential.looks not in (None, 1) and self.date is None:
            yield "sequential.looks: needs date, the column with the day of exposure; give it"
        if self.planned_days is not None and self.date is None:
            yield "planned_days: needs date, the column with the day of exposure; give it"
        if self.cluster is not None and (self.date is not None or self.segments):
            yield "cluster: looks, days and segments are for units randomised one by one; leave them out"
        if self.cluster is not None and self.missing == "drop":
            yield "missing: drop leaves units out of sums by cluster; use zero or refuse"
        if self.shares is not None and not math.isfinite(sum(self.shares.values())):
            yield "shares: must be finite"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of numbers: those of metrics and their covariates, each once."""
        found = [
            column
            for metric in self.metrics
            for pair in ((metric.column or metric.numerator, metric.denominator), *metric.covariates)
            for column in pair
            if column
        ]
        return tuple(dict.fromkeys(found))

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of words: unit, variant, date, cluster and segments, each once."""
        found = (self.unit, self.variant, self.date, self.cluster, *self.segments)
        return tuple(dict.fromkeys(column for column in found if column))

    @property
    def resolved(self) -> dict[str, Any]:
        """The plan as plain JSON values with every default filled in."""
        return self.model_dump(mode="json")


def load_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises:
        MistakesError: if it says what a plan may not, all of it.
        UserError: if the file cannot be read or is no safe and valid YAML.
    """
    return checked(Plan, read_mapping(path))
