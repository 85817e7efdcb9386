from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.plan import Plan, load_plan
from metrics.definitions import Covariate

# The plan of the README.
PLAN = """
unit: user_id
variant: arm
control: A
alpha: 0.05
metrics:
  - {name: converted, kind: proportion, column: converted}
  - {name: spend, kind: mean, column: spend, cap: 0.999, covariate: spend_before}
  - {name: ctr, kind: ratio, numerator: clicks, denominator: impressions}
"""


def plan_of(tmp_path: Path, text: str) -> Plan:
    """The plan in this text."""
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return load_plan(path)


def test_the_plan_of_the_readme(tmp_path: Path) -> None:
    """Metrics become those of the engine; the first decides unless another is named."""
    plan = plan_of(tmp_path, PLAN)
    assert plan.primary == "converted"
    assert plan.columns == ("converted", "spend", "spend_before", "clicks", "impressions")
    assert plan.labels == ("user_id", "arm")
    converted, spend, ctr = (metric.metric for metric in plan.metrics)
    assert (converted.kind, converted.unit, converted.covariates) == ("proportion", "share", ())
    assert (spend.numerator, spend.covariates) == ("spend", (Covariate("spend_before"),))
    assert (ctr.numerator, ctr.denominator) == ("clicks", "impressions")
    assert Plan.model_validate(plan.resolved) == plan


def test_a_metric_may_have_several_covariates(tmp_path: Path) -> None:
    """Single columns come as a list, and a ratio of two under its own keys."""
    text = PLAN.replace(
        "denominator: impressions}",
        "denominator: impressions, covariate: [a, b], covariate_numerator: c, covariate_denominator: d}",
    )
    assert plan_of(tmp_path, text).metrics[2].covariates == (Covariate("c", "d"), Covariate("a"), Covariate("b"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("unit: user_id\n", "", "unit: missing"),
        ("column: spend,", "colum: spend,", "metrics[1].colum: unknown key (did you mean column?)"),
        ("kind: mean", "kind: median", "metrics[1].kind: 'median' must be"),
        ("kind: mean", "kind: ratio", "a ratio needs numerator and denominator"),
        ("kind: ratio", "kind: mean", "a mean needs column"),
        ("column: converted}", "column: converted, numerator: x}", "column is for means and proportions"),
        ("column: converted}", "column: converted, cap: 0.9}", "cap is for means, this is a proportion"),
        ("cap: 0.999", "cap: 2", "metrics[1].cap: 2 must be less than 1"),
        ("name: spend", "name: ctr", "'ctr' comes twice"),
        ("control: A", "primary: revenue", "primary: 'revenue' is none of the metrics (converted, spend, ctr)"),
        ("control: A", "guardrails: {converted: 0.1}", "guardrails: 'converted' is the primary metric"),
        ("control: A", "guardrails: {revenue: 0.1}", "guardrails: 'revenue' is not among the metrics"),
        ("control: A", "sequential: {looks: 4}", "sequential.looks: needs date"),
        ("control: A", "planned_days: 4", "planned_days: needs date"),
        ("alpha: 0.05", "alpha: 0.7", "alpha: 0.7 must be less than 0.5"),
        ("denominator: impressions}", "denominator: impressions, covariate_numerator: x}", "come together"),
    ],
)
def test_what_a_plan_may_not_say(tmp_path: Path, old: str, new: str, message: str) -> None:
    """One line names the key, the value and what would be right."""
    assert PLAN.count(old) == 1
    with pytest.raises(UserError) as refusal:
        plan_of(tmp_path, PLAN.replace(old, new))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
