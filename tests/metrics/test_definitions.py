import pytest

from metrics.definitions import ADDITIVE_COLUMNS, METRICS, resolve


def test_every_metric_can_be_computed_from_the_totals() -> None:
    """Sums and covariates name additive columns, and only metrics of return name columns of their own."""
    for name, metric in METRICS.items():
        assert metric.name == name
        assert (metric.denominator is None) == (metric.kind == "mean")
        if metric.window is None:
            assert metric.numerator in ADDITIVE_COLUMNS
            whole = f"{metric.denominator}_before" if metric.denominator else None
            assert metric.covariates == ((f"{metric.numerator}_before", whole),)
            assert metric.needs_days == 0
        else:
            assert metric.numerator == name
            assert metric.needs_days == metric.window[1] > metric.window[0] >= 0


def test_windows_of_return_are_those_documented() -> None:
    """LT-14 looks at days 0..13 and retention of day 7 at days 1..7, so they need 14 and 8 observed days."""
    assert (METRICS["lt14"].window, METRICS["lt14"].needs_days) == ((0, 14), 14)
    assert (METRICS["retention_7"].window, METRICS["retention_7"].needs_days) == ((1, 8), 8)
    assert METRICS["retention_30"].window == (24, 31)


def test_resolve_keeps_the_order_given() -> None:
    """Metrics come back in the order of their names."""
    assert [metric.name for metric in resolve(["tv", "ctr", "lt30"])] == ["tv", "ctr", "lt30"]


def test_resolve_lists_the_known_metrics_when_one_is_unknown() -> None:
    """An unknown name is answered with the names to choose from."""
    with pytest.raises(ValueError, match=r"metrics: 'click_rate' is unknown \(choose from ctr, ipv"):
        resolve(["ctr", "click_rate"])


def test_resolve_refuses_a_metric_named_twice() -> None:
    """A metric counted twice would be corrected for twice."""
    with pytest.raises(ValueError, match="'ctr' comes twice"):
        resolve(["ctr", "ctr"])
