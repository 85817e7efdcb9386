from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.config import ExperimentConfig
from experiments.pilot import pilot_phases, plan_power, run_pilot
from experiments.playing import Phases
from experiments.progress import SilentProgress
from metrics.power import power_of

CONFIG: dict[str, Any] = {
    "name": "planned",
    "seed": 7,
    "world": {"kind": "generated", "users": 250, "items": 300, "cities": ["seattle"], "country": "US"},
    "horizon": {"start": "2015-10-05", "history_days": 12, "warmup_days": 3, "days": 6},
    "arms": {"a": {"policy": "popularity", "share": 0.5}, "b": {"policy": "utility", "share": 0.5}},
    "analysis": {"metrics": ["ctr", "sessions", "gmv", "retention_7"], "power": {"lift": 0.1, "power": 0.8}},
}
CONFIG["horizon"]["follow_up_days"] = 2


def a_config(**changes: Any) -> ExperimentConfig:
    """The small experiment with some sections replaced."""
    return ExperimentConfig.model_validate(CONFIG | changes)


@pytest.fixture(scope="module")
def pilot() -> tuple[pl.DataFrame, Phases]:
    """The small experiment's pilot."""
    return run_pilot(a_config(), 1, SilentProgress())


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 60), st.integers(0, 30), st.integers(1, 60))
def test_the_pilot_is_the_end_of_the_history(history: int, warmup: int, days: int) -> None:
    """It ends with the history, is as long as planned where that fits, and always has a day to measure."""
    config = a_config(
        horizon={"start": "2015-10-05", "history_days": history, "warmup_days": warmup, "days": days + 8},
    )
    phases = pilot_phases(config)
    assert phases.experiment_end == phases.follow_up_end == history
    assert 0 <= phases.warmup_start <= phases.experiment_start < phases.experiment_end
    if warmup + days + 8 <= history:
        assert phases.experiment_end - phases.experiment_start == days + 8
        assert phases.experiment_start - phases.warmup_start == warmup


def test_the_pilot_plays_its_days_and_no_others(pilot: tuple[pl.DataFrame, Phases]) -> None:
    """Only the last days are recorded, in phases, and visits happen on each."""
    user_days, phases = pilot
    assert (phases.warmup_start, phases.experiment_start, phases.experiment_end) == (3, 6, 12)
    assert sorted(user_days["day"].unique()) == list(range(3, 12))
    assert user_days.filter(pl.col("phase") == "warmup")["day"].max() == 5
    assert user_days["clicks"].sum() > 0


def test_workers_do_not_matter(pilot: tuple[pl.DataFrame, Phases]) -> None:
    """Two workers play the same pilot."""
    again, _ = run_pilot(a_config(), 2, SilentProgress())
    assert again.equals(pilot[0])


def test_power_is_that_of_the_pilots_users(pilot: tuple[pl.DataFrame, Phases]) -> None:
    """The plan's power follows from the variance of one user and the users of the arms, by the definition."""
    found = plan_power(a_config(), *pilot)
    by_name = {row["metric"]: row for row in found["metrics"]}
    for name in ("ctr", "sessions"):
        row = by_name[name]
        error = np.sqrt(4.0 * row["log_variance"] / found["exposed"])
        assert row["power"] == pytest.approx(power_of(np.log(1.1), error, 0.05))
        assert row["users_needed"] == pytest.approx(row["growth_needed"] * found["exposed"], abs=1)
        assert row["smallest_lift"] < row["smallest_lift_corrected"]
    assert found["comparisons"] == 4
    assert by_name["retention_7"]["power"] is None


def test_plans_compare_as_they_should(pilot: tuple[pl.DataFrame, Phases]) -> None:
    """CUPED removes variance; looks, uneven arms and smaller targets need more users."""

    def needed(metric: str = "ctr", **analysis: Any) -> int:
        arms = analysis.pop("arms", CONFIG["arms"])
        config = a_config(arms=arms, analysis=CONFIG["analysis"] | analysis)
        rows = plan_power(config, *pilot)["metrics"]
        return next(row["users_needed"] for row in rows if row["metric"] == metric)

    plain = needed()
    assert needed("sessions") < needed("sessions", cuped=False)
    assert needed(sequential={"looks": 3, "method": "pocock"}) > needed(sequential={"looks": 3}) > plain
    assert needed(power={"lift": 0.05, "power": 0.8}) > plain
    uneven = {"a": {"policy": "popularity", "share": 0.9}, "b": {"policy": "utility", "share": 0.1}}
    assert needed(arms=uneven) > 2 * plain
