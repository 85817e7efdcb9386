import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from experiments.cli import app
from experiments.config import ExperimentConfig
from experiments.errors import UserError
from experiments.progress import SilentProgress
from experiments.provenance import Stopwatch
from experiments.realism import run_realism
from experiments.realism_customers import FEATURES, features_of
from experiments.realism_generated import calibrations
from experiments.realism_log import compare_logs
from experiments.realism_rows import Noise
from experiments.realism_window import window_of
from experiments.report import realism_words as told
from simulator.datasets.interactions import PurchaseLog
from simulator.datasets.online_retail import read_online_retail

HALVINGS = 20


def scorecard(config: dict[str, Any], fit_months: int | None = None, workers: int = 1) -> dict[str, Any]:
    """The scorecard of a config."""
    checked = ExperimentConfig.model_validate(config)
    return run_realism(checked, fit_months, HALVINGS, workers, SilentProgress(), Stopwatch())


def generated(experiment: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A small experiment whose second arm says how likely clicks are."""
    config = copy.deepcopy(experiment)
    config["arms"] = {
        "plain": {"policy": "popularity", "share": 0.5},
        "two": {"policy": "two_channel", "share": 0.5},
    }
    config["analysis"] = {"primary": "ctr", "metrics": ["ctr"]}
    return {**config, "oracle": False, **changes}


@pytest.fixture(scope="module")
def retail(online_retail: Path) -> PurchaseLog:
    """The real log."""
    return read_online_retail(online_retail)


@pytest.fixture(scope="module")
def log_config(online_retail: Path) -> dict[str, Any]:
    """An experiment on the real log."""
    return {
        "name": "shop",
        "seed": 7,
        "world": {"kind": "log", "dataset": "online_retail", "path": str(online_retail)},
        "horizon": {"history_days": 270, "warmup_days": 14, "days": 60},
        "arms": {"a": {"policy": "popularity", "share": 0.5}, "b": {"policy": "utility", "share": 0.5}},
        "analysis": {"primary": "ctr", "metrics": ["ctr"]},
    }


@pytest.fixture(scope="module")
def of_log(log_config: dict[str, Any]) -> dict[str, Any]:
    """Its scorecard."""
    return scorecard(log_config)


@pytest.fixture(scope="module")
def of_world() -> dict[str, Any]:
    """The scorecard of a generated world."""
    world = {"kind": "generated", "users": 300, "items": 500, "cities": ["seattle", "new_york"], "country": "US"}
    horizon = {"start": "2015-10-05", "history_days": 15, "warmup_days": 3, "days": 5}
    return scorecard(generated({"name": "small", "seed": 7, "world": world, "horizon": horizon, "page": {"slots": 8}}))


def test_a_log_is_scored_on_days_that_its_fit_has_not_seen(of_log: dict[str, Any]) -> None:
    """Nine months are fitted to and the rest is scored, row by row, and the log's own visits are said not to be."""
    assert of_log["fitted"] == ["2010-12-01", "2011-08-31"]
    assert of_log["scored"] == ["2011-09-01", "2011-12-09"]
    assert of_log["plays_the_log"]
    names = [row["name"] for row in of_log["rows"]]
    assert names == [
        "hour", "weekday", "gap", "visits", "basket", "popularity", "items", "price", "repeat", "category_month"
    ]  # fmt: skip
    for row in of_log["rows"]:
        assert 0.0 <= row["distance"] <= 1.0
        assert 0.0 < row["floor"] <= row["floor_high"]
        assert row["ratio"] == row["distance"] / row["floor"]
        assert row["times"] == HALVINGS


def test_the_shop_is_near_where_it_can_be(of_log: dict[str, Any]) -> None:
    """When customers come, how soon again and what they pay is within twice the noise; nothing is beyond four times."""
    ratios = {row["name"]: row["ratio"] for row in of_log["rows"]}
    assert max(ratios[name] for name in ("hour", "weekday", "gap", "price")) < 2.0
    assert max(ratios.values()) < 4.0
    assert of_log["two_sample"]["auc"] < 0.85
    assert abs(of_log["two_sample"]["real_halves"] - 0.5) < 0.05


def test_the_worst_rows_are_named(of_log: dict[str, Any], of_world: dict[str, Any]) -> None:
    """The two rows furthest from their floors are named, the worst first."""
    for found in (of_log, of_world):
        by_ratio = sorted(found["rows"], key=lambda row: -row["ratio"])
        assert found["worst"] == [row["name"] for row in by_ratio[:2]]


def test_the_real_log_is_perfect_against_itself(retail: PurchaseLog) -> None:
    """Held against itself a log is at its floor in every row, and a classifier does not tell it apart."""
    found = compare_logs(retail, retail, 274, retail.days, Noise(HALVINGS, 3))
    assert all(row["ratio"] < 1.6 for row in found["rows"])
    assert all(row["ratio"] == 1.0 for row in found["totals"])
    assert found["two_sample"]["auc"] < 0.55


def test_each_row_sees_what_it_is_for(retail: PurchaseLog) -> None:
    """Visits three hours later, or prices that are doubled, are apart in that row and near in the others."""
    late = replace(retail, time=retail.time + 3 * 3600, refund_time=retail.refund_time + 3 * 3600)
    dear = replace(retail, unit_price=retail.unit_price * 2)
    for changed, row in ((late, "hour"), (dear, "price")):
        found = compare_logs(retail, changed, 274, retail.days - 1, Noise(HALVINGS, 3))
        ratios = {each["name"]: each["ratio"] for each in found["rows"]}
        assert ratios.pop(row) > 3.0
        assert max(ratios.values()) < 1.7


def test_features_are_what_they_are_called(retail: PurchaseLog) -> None:
    """A customer's features are those counted by hand."""
    side = window_of(retail, 300, 330)
    features = dict(zip(FEATURES, features_of(retail, side, 300)[17].tolist(), strict=True))
    mine = side.row_user == 17
    assert features["visits"] == (side.visit_user == 17).sum()
    assert features["different items"] == len(np.unique(side.row_item[mine]))
    assert features["share bought before"] == pytest.approx(side.again[mine].mean())
    assert features["mean price paid"] == pytest.approx(np.log(side.price[mine]).mean())
    assert features["largest basket"] == side.size[side.visit_user == 17].max()
    assert features["customer before"] == side.before[17]
    assert side.newcomers + side.before.sum() == side.users


def test_a_generated_world_is_held_against_counts(of_world: dict[str, Any]) -> None:
    """Its rows are those that counts know, with sampling noise; the rest is said to have no counterpart."""
    assert of_world["scored"] == ["2015-10-20", "2015-10-27"]
    rows = {row["name"]: row for row in of_world["rows"]}
    assert {"hour", "order_hour", "weekday", "transitions", "after_view", "before_order", "orders", "buyers"} <= set(
        rows
    )
    assert all(row["floor_from"] == "draws from the real counts" for row in rows.values())
    assert rows["after_view"]["shown"]["real"] == pytest.approx([0.90973, 0.02394, 0.04960, 0.01673], abs=1e-4)
    assert "Gap between visits" in [row["title"] for row in of_world["without_counterpart"]]
    assert of_world["two_sample"] is None


def test_click_probabilities_are_held_against_clicks(of_world: dict[str, Any]) -> None:
    """A policy that says how likely clicks are is held against them in two ways; one that does not says why not.

    Its estimates are of the first place, so they are nearer with the chance that a place is examined than without.
    """
    plain, examined, shown = of_world["calibration"]
    assert (plain["policy"], plain["error"]) == ("popularity", None)
    assert [row["reading"] for row in (examined, shown)] == ["examined", "shown"]
    for row in (examined, shown):
        assert row["policy"] == "two_channel"
        assert 0.0 <= row["error"] < 0.2
        assert 0.0 < row["noise"] <= row["noise_high"]
    assert examined["error"] < shown["error"]
    assert np.mean(examined["predicted"]) < np.mean(shown["predicted"])
    assert np.mean(examined["observed"]) == pytest.approx(np.mean(shown["observed"]), rel=0.02)


def test_workers_change_no_byte(of_world: dict[str, Any]) -> None:
    """Played by two processes, the scorecard is the same."""
    world = {"kind": "generated", "users": 300, "items": 500, "cities": ["seattle", "new_york"], "country": "US"}
    horizon = {"start": "2015-10-05", "history_days": 15, "warmup_days": 3, "days": 5}
    config = generated({"name": "small", "seed": 7, "world": world, "horizon": horizon, "page": {"slots": 8}})
    assert json.dumps(scorecard(config, workers=2)) == json.dumps(of_world)


def test_what_cannot_be_scored_is_refused(log_config: dict[str, Any]) -> None:
    """Months for a world without a log, months beside a day, and days that leave nothing to score are named."""
    world = {"kind": "generated", "users": 60, "items": 100, "cities": ["seattle"], "country": "US"}
    horizon = {"start": "2015-10-05", "history_days": 5, "days": 5}
    small = generated({"name": "small", "seed": 7, "world": world, "horizon": horizon})
    with pytest.raises(UserError, match="--fit-months: 3"):
        scorecard(small, 3)
    with pytest.raises(UserError, match="a week at least"):
        scorecard(small)
    for months in (40, 100_000):
        with pytest.raises(UserError, match=rf"--fit-months: {months} .*leave some to score"):
            scorecard(log_config, months)
    with pytest.raises(UserError, match=r"--fit-months: 1 .*use 60\.\.374"):
        scorecard(log_config, 1)
    fitted = {**log_config, "world": {**log_config["world"], "purchases": {"kind": "fitted", "from_day": 200}}}
    with pytest.raises(UserError, match="give one"):
        scorecard(fitted, 3)


def test_a_world_in_which_little_happens_is_scored_as_far_as_it_goes() -> None:
    """Of one user, who orders nothing, what has values is compared; the rest is listed without a counterpart."""
    world = {"kind": "generated", "users": 1, "items": 100, "cities": ["seattle"], "country": "US"}
    horizon = {"start": "2015-10-05", "history_days": 5, "days": 7}
    found = scorecard(generated({"name": "tiny", "seed": 7, "world": world, "horizon": horizon}))
    alone = {row["title"]: row["why"] for row in found["without_counterpart"]}
    missing = [title for title, why in alone.items() if "too few values" in why]
    assert missing == ["Hour of an order", "What comes before an order"]
    assert len(found["rows"]) == 7
    assert set(found["worst"]) <= {row["name"] for row in found["rows"]}
    assert "Hour of an order: too few values" in " ".join(told.alone(found))


def test_customers_too_few_for_a_comparison_are_said_to_be(retail: PurchaseLog) -> None:
    """With three customers there is no classifier, and with one no row: each is listed with the reason."""
    chosen = np.unique(retail.user[:2000])[:3].tolist()
    few = only(retail, chosen)
    found = compare_logs(few, few, 0, few.days, Noise(HALVINGS, 3))
    assert found["two_sample"] is None
    assert "3 real and 3 simulated customers; it needs 20 and 10" in " ".join(told.alone(found))
    assert "Too few customers" in " ".join(told.two_sample({"kind": "log", **found}))
    one = only(retail, chosen[:1])
    found = compare_logs(one, one, 0, one.days, Noise(HALVINGS, 3))
    assert found["rows"] == []
    assert "Basket size: too few values" in " ".join(told.alone(found))


def test_click_probabilities_need_impressions(experiment_of_two: ExperimentConfig) -> None:
    """With fewer impressions than bins, or none, the calibration says so and holds nothing against anything."""
    arm = experiment_of_two.arms["two"]
    for size in (0, 14):
        listener: Any = SimpleNamespace(
            noted=lambda size=size: (np.full(size, 0.1), np.zeros(size, np.bool_), np.zeros(size, np.int64))
        )
        (row,) = calibrations(experiment_of_two, "two", arm, listener, Noise(HALVINGS, 3))
        assert row["error"] is None
        assert row["why_not"].startswith(f"{size} impressions")


@pytest.fixture
def experiment_of_two() -> ExperimentConfig:
    """An experiment whose second arm says how likely clicks are."""
    world = {"kind": "generated", "users": 60, "items": 100, "cities": ["seattle"], "country": "US"}
    horizon = {"start": "2015-10-05", "history_days": 5, "days": 9}
    return ExperimentConfig.model_validate(generated({"name": "small", "seed": 7, "world": world, "horizon": horizon}))


def only(log: PurchaseLog, users: list[int]) -> PurchaseLog:
    """The log of some customers, all items kept."""
    rows = np.isin(log.user, users)
    none = np.zeros(0, np.int64)
    return replace(
        log,
        user_codes=tuple(log.user_codes[user] for user in users),
        user_country=tuple(log.user_country[user] for user in users),
        user=np.searchsorted(users, log.user[rows]).astype(np.int64),
        **{name: getattr(log, name)[rows] for name in ("item", "time", "quantity", "unit_price")},
        visit=np.unique(log.visit[rows], return_inverse=True)[1],
        refund_row=none,
        refund_time=none,
        refund_quantity=none,
    )


def invoke(*arguments: str) -> Result:
    """What ``testbed realism`` does."""
    return CliRunner().invoke(app, ["realism", *arguments, "--quiet"], terminal_width=100)


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch, of_world: dict[str, Any]) -> None:
    """A scorecard that is there already."""
    monkeypatch.setattr("experiments.realism.run_realism", lambda *_: of_world)


def test_the_command_leaves_a_scorecard_and_a_page(
    canned: None, of_world: dict[str, Any], tmp_path: Path, small_config: Path
) -> None:
    """The terminal ends with the two worst rows; the folder holds JSON, page and manifest, whole, and nothing else."""
    result = invoke(str(small_config), "--out", str(tmp_path / "out"), "--halvings", "20")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out/realism.json").read_text()) == of_world
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json", "realism.html", "realism.json"
    ]  # fmt: skip
    flat = " ".join(result.stdout.split())
    worst, next_worst = (next(row for row in of_world["rows"] if row["name"] == name) for name in of_world["worst"])
    assert f"Worst row: {worst['title']}." in flat
    assert flat.index(f"Next worst: {next_worst['title']}.") > flat.index("Worst row") > flat.index("times floor")


def test_the_command_refuses_in_a_line(canned: None, tmp_path: Path, small_config: Path) -> None:
    """Too few halvings and a config that is no experiment end in one line and exit code 2."""
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"kind": "evaluation", "name": "x"}))
    own = str(small_config)
    for arguments in (
        (own, "--halvings", "3"),
        (str(other),),
        (own, "--workers", "0"),
        (own, "--ray-address", "auto"),
    ):
        result = invoke(*arguments, "--out", str(tmp_path / "out"))
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    """A config file of an experiment."""
    world = {"kind": "generated", "users": 60, "items": 100, "cities": ["seattle"], "country": "US"}
    horizon = {"start": "2015-10-05", "history_days": 5, "days": 9}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(generated({"name": "small", "seed": 7, "world": world, "horizon": horizon})))
    return path
