from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from metrics.audit import findings
from metrics.audit.draws import Assign, draw
from metrics.audit.outcomes import Outcomes
from metrics.audit.peeking import NEVER, Peeking, Plan, Stops
from metrics.audit.rates import Rate
from metrics.definitions import Metric
from metrics.sequential.path import Design

LOOKS = 5
REPLICATIONS = 300


@pytest.fixture(scope="module")
def stops(tables: Callable[..., Outcomes], assigning: Callable[..., Assign], mean: Metric) -> Stops:
    """A hundred new users a day, each with one normal value far above 0, read after each of five days."""
    rng = np.random.default_rng(8)
    values = rng.normal(100.0, 1.0, 100 * LOOKS)
    looks = [tables(a={"spend": values[: 100 * day]}) for day in range(1, LOOKS + 1)]
    every = tuple(range(LOOKS))
    plans = {
        "obrien_fleming": Plan(Design("obrien_fleming", 0.05), every),
        "pocock": Plan(Design("pocock", 0.05), every),
        "asymptotic_cs": Plan(Design("asymptotic_cs", 0.05), every),
        "configured": Plan(Design("pocock", 0.05), (1, 4)),
    }
    metric = replace(mean, covariates=())
    times = [day / LOOKS for day in range(1, LOOKS + 1)]
    reading = Peeking(looks, times, "a", 2, metric, False, 0.05, plans)
    assign = assigning([0.5, 0.5])
    draws = [draw("fixed", looks[-1].user, number, assign, 3) for number in range(REPLICATIONS)]
    return Stops.joined([reading.stops(draws[:100]), reading.stops(draws[100:])])


def test_published_error_of_peeking(stops: Stops) -> None:
    """Five looks at 5% give 14.2% false alarms (Armitage, McPherson and Rowe 1969, table 2), and bounds at most 5%."""
    first = int((stops.uncorrected == 0).sum())
    assert Rate(first, REPLICATIONS, "equal", 0.05).broken(0.999) is False
    assert Rate(int((stops.uncorrected != NEVER).sum()), REPLICATIONS, "equal", 0.142).broken(0.999) is False
    rates = {
        name: Rate(int((found != NEVER).sum()), REPLICATIONS, "equal", 0.05) for name, found in stops.plans.items()
    }
    assert rates["obrien_fleming"].broken(0.999) is False
    assert rates["pocock"].broken(0.999) is False
    assert rates["configured"].broken(0.999) is False
    assert (rates["asymptotic_cs"].rate or 0.0) < 0.05


def test_plans_look_when_they_say(stops: Stops) -> None:
    """A plan stops at its own looks only, and bounds never stop where no single p-value would have."""
    assert set(np.unique(stops.plans["configured"])) <= {NEVER, 1, 4}
    for found in stops.plans.values():
        assert (stops.uncorrected[found != NEVER] != NEVER).all()
        assert (found[found != NEVER] >= stops.uncorrected[found != NEVER]).all()
    assert (stops.usable == LOOKS).all()


def test_findings_count_by_look(stops: Stops) -> None:
    """Shares by look grow to the rate; bounds promise their level, and nothing is promised without them."""
    plans = {name: Plan(Design("pocock", 0.05), (1, 4)) for name in ("configured",)}
    free, held = findings.peeking("spend", ["b"], stops, plans, range(1, LOOKS + 1), 0.05)
    assert (free.rate.promise, held.rate.promise) == ("none", "equal")
    assert held.more["days"] == [2, 5]
    assert list(free.more["by_look"]) == sorted(free.more["by_look"])
    assert free.more["by_look"][-1] == free.rate.rate
    assert held.more["by_look"][0] == (stops.plans["configured"] == 1).mean()
