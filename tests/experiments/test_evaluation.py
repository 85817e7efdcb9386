import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.config import GeneratedWorld, config_hash
from experiments.evaluation import (
    WIDTH,
    RankingTask,
    Visits,
    held_out_visits,
    metric_values,
    rank_visits,
)
from experiments.history import play_or_read_history
from experiments.report import write_report
from experiments.run_directory import CONFIG, EVALUATION, MANIFEST, REPORT
from experiments.worlds import build_world
from policies.registry import NoParams, RegisteredPolicy
from simulator.batches import DAY_SECONDS, UTILITY, Candidates, InteractionLog, ObservedHistory, Requests
from simulator.datasets.interactions import DatasetError
from simulator.environment.context import ObservedContext
from simulator.shards import ShardPool
from simulator.world import World

Evaluate = Callable[..., SimpleNamespace]
SPLIT = 10 * DAY_SECONDS


def log_of(*rows: tuple[int, int, int, int]) -> InteractionLog:
    """A ledger of (user, item, time, kind) in time order."""
    user, item, time, kind = np.array(sorted(rows, key=lambda row: row[2]), np.int64).reshape(-1, 4).T
    return InteractionLog(0, 20, user, item.astype(np.int32), time, kind.astype(np.int8), None)


def listed(visits: Visits) -> list[tuple[int, int, list[int], list[int]]]:
    """User, time, targets and kinds of each visit."""
    offsets = visits.targets.offsets.tolist()
    return [
        (user, time, visits.targets.items[a:b].tolist(), visits.kind[a:b].tolist())
        for user, time, a, b in zip(visits.user.tolist(), visits.time.tolist(), offsets[:-1], offsets[1:], strict=True)
    ]


def test_held_out_visits_by_hand() -> None:
    """Later interactions of returning users become visits in time order, half an hour apart, each item once."""
    log = log_of(
        (0, 5, 100, 1),  # before the split: user 0 returns
        (2, 5, SPLIT - 1, 3),  # so does user 2
        (1, 5, SPLIT, 1),  # user 1 is new: left out
        (2, 9, SPLIT + 50, 2),
        (0, 7, SPLIT, 1),
        (0, 6, SPLIT + 60, 3),  # a later page of the same visit
        (0, 7, SPLIT + 60, 2),  # an item again: one target, as it was first met
        (0, 8, SPLIT + 60 + 1799, 1),  # within half an hour of the last interaction
        (0, 8, SPLIT + 60 + 1799 + 1800, 2),  # half an hour later: another visit
    )
    assert listed(held_out_visits(log, SPLIT)) == [
        (0, SPLIT, [7, 6, 8], [1, 3, 1]),
        (2, SPLIT + 50, [9], [2]),
        (0, SPLIT + 60 + 1799 + 1800, [8], [2]),
    ]


@pytest.mark.parametrize("rows", [[], [(0, 5, 100, 1)], [(0, 5, SPLIT, 1)]])
def test_nobody_to_hold_out_is_no_visit(rows: list[tuple[int, int, int, int]]) -> None:
    """An empty log, a log without later days, and a log of strangers have no visits."""
    visits = held_out_visits(log_of(*rows), SPLIT)
    assert listed(visits) == []
    assert visits.targets.offsets.tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(SPLIT - 40_000, SPLIT + 40_000), st.integers(1, 3)),
        max_size=40,
    )
)
def test_held_out_visits_lose_and_invent_nothing(rows: list[tuple[int, int, int, int]]) -> None:
    """Visits are in time order; their (user, item) pairs are those of returning users after the split."""
    log = log_of(*rows)
    visits = held_out_visits(log, SPLIT)
    known = {row[0] for row in rows if row[2] < SPLIT}
    expected = {(row[0], row[1]) for row in rows if row[2] >= SPLIT and row[0] in known}
    assert {(user, item) for user, _, items, _ in listed(visits) for item in items} == expected
    assert (np.diff(visits.time) >= 0).all()
    for user, time, items, _ in listed(visits):
        assert items
        assert len(set(items)) == len(items)
        assert any(row[:3] == (user, items[0], time) for row in rows) or time in {r[2] for r in rows if r[0] == user}
    for user in known:
        assert (np.diff(visits.time[visits.user == user]) >= 1800).all()


def test_before_cuts_interactions_and_impressions() -> None:
    """The part of a log before a day holds nothing of that day, shown or clicked."""
    world = tiny_world()
    log, _ = play_or_read_history(world, 8, 5, ShardPool(1), _Silent())
    cut = log.before(5)
    assert log.impressions is not None
    assert cut.impressions is not None
    assert cut.end_day == 5
    assert cut.time.max() < 5 * DAY_SECONDS <= log.time.max()
    assert cut.impressions.time.max() < 5 * DAY_SECONDS
    assert len(cut.impressions.user) == (log.impressions.time < 5 * DAY_SECONDS).sum()
    assert replace(log, impressions=None).before(5).impressions is None


class _Silent:
    """Progress that nobody follows."""

    def stage(self, name: str, total: int) -> "_Silent":
        return self

    def advance(self, steps: int = 1) -> None:
        pass

    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def tiny_world(users: int = 150) -> Any:
    """A world of 8 days."""
    config = GeneratedWorld(kind="generated", users=users, items=80, cities=("seattle",), country="US")
    return build_world(config, start=date(2015, 10, 5), days=8, scenario="item", slots=5, seed=5)


def known_items(history: ObservedHistory, row: int) -> dict[int, int]:
    """Latest time at which a user is known to have met each item."""
    found: dict[int, int] = {}
    for item, time in zip(history.item[row].tolist(), history.time[row].tolist(), strict=True):
        if item >= 0:
            found[item] = max(time, found.get(item, time))
    return found


class Spy(RegisteredPolicy):
    """Keeps what it could see at each request, and ranks the catalogue as it stands."""

    def begin(self, rows: int) -> None:
        """Nothing seen yet."""
        self.seen: list[tuple[int, int, dict[int, int]]] = []
        self.days: list[int] = []

    def refresh(self, day: int, context: ObservedContext) -> None:
        """The context ends with the day."""
        assert context.days == day + 1
        self.days.append(day)

    def candidates(self, requests: Requests) -> Candidates:
        """Items 0, 1, 2, ..."""
        assert requests.context.days == self.days[-1] + 1
        assert (requests.day == self.days[-1]).all()
        assert len(np.unique(requests.user)) == len(requests)
        for row, time in zip(requests.row.tolist(), requests.time.tolist(), strict=True):
            self.seen.append((row, time, known_items(requests.history, row)))
        items = np.tile(np.arange(requests.slots, dtype=np.int32), (len(requests), 1))
        return Candidates(items, -items.astype(float), np.full(items.shape, UTILITY, np.int8))


@pytest.fixture(scope="module")
def replayed() -> tuple[Spy, InteractionLog, Visits, Any, World, list[int]]:
    """A spy taken through the last three days of a small simulated log."""
    built = tiny_world()
    log, _ = play_or_read_history(built, 8, 5, ShardPool(1), _Silent())
    visits = held_out_visits(log, 5 * DAY_SECONDS)
    spy = Spy(NoParams(), 1)
    ticks: list[int] = []
    found = rank_visits(RankingTask(built.world, spy, log.before(5), visits), lambda: ticks.append(1))
    return spy, log, visits, found, built.world, ticks


def test_no_policy_sees_the_held_out_future(replayed: Any) -> None:
    """At a request the history holds all that the user did before it, and nothing of that moment or later."""
    spy, log, visits, _, _, _ = replayed
    assert len(spy.seen) == len(visits.user) > 20
    held_out = 0
    for user, time, known in spy.seen:
        assert all(then < time for then in known.values())
        past = (log.user == user) & (log.time < time)
        assert known.keys() == set(log.item[past].tolist())
        held_out += bool((log.time[past] >= 5 * DAY_SECONDS).any())
    assert held_out > 3  # earlier held-out visits are part of the past


def test_days_pass_in_order(replayed: Any) -> None:
    """The policy is refreshed once for each day with visits, in order, and progress is told."""
    spy, _, visits, _, _, ticks = replayed
    assert spy.days == sorted(set((visits.time // DAY_SECONDS).tolist()))
    assert len(ticks) == len(spy.days)


def test_rankings_stand_beside_what_was_known(replayed: Any) -> None:
    """Each visit has its ranking, and the items that its user had met before."""
    spy, _, visits, found, world, _ = replayed
    assert found.ranked.shape == (len(visits.user), min(WIDTH, world.catalog.items))
    assert (found.ranked == np.arange(found.ranked.shape[1])).all()
    known = {(user, time): set(items) for user, time, items in spy.seen}
    for n, (user, time) in enumerate(zip(visits.user.tolist(), visits.time.tolist(), strict=True)):
        start, end = found.seen.offsets[n : n + 2]
        assert set(found.seen.items[start:end].tolist()) == known[user, time]


def test_metrics_of_a_known_ranking(replayed: Any) -> None:
    """Of the catalogue in order, recall@k is the share of targets below k, and every metric is a share."""
    _, _, visits, found, world, _ = replayed
    category = world.catalog.observed.category
    recall = metric_values("recall@20", found, visits, category)
    offsets = visits.targets.offsets
    low = np.add.reduceat(visits.targets.items < 20, offsets[:-1]) / np.minimum(np.diff(offsets), 20)
    assert recall == pytest.approx(low)
    novelty = metric_values("novelty@10", found, visits, category)
    for n in range(len(visits.user)):
        met = found.seen.items[found.seen.offsets[n] : found.seen.offsets[n + 1]]
        assert novelty[n] == pytest.approx(1 - (met < 10).sum() / 10)
    for name in ("ndcg@20", "hr@30"):
        values = metric_values(name, found, visits, category)
        assert ((values >= 0) & (values <= 1)).all()
        assert values.any()


@pytest.fixture(scope="module")
def evaluated(evaluate: Evaluate) -> SimpleNamespace:
    """Three policies on a small simulated log."""
    return evaluate()


def check_schema(found: SimpleNamespace) -> None:
    """Version 1: a value and an interval for each policy and metric, and each pair of policies compared once."""
    evaluation, config = found.evaluation, found.config
    assert evaluation["schema"] == 1
    assert evaluation["config_hash"] == config_hash(config)
    assert evaluation["control"] == config.control_name
    assert set(evaluation["policies"]) == set(config.policies)
    for metrics in evaluation["policies"].values():
        assert list(metrics) == list(config.metrics)
        for value in metrics.values():
            assert set(value) == {"value", "ci"}
            assert value["ci"][0] <= value["value"] <= value["ci"][1]
            assert 0 <= value["value"] <= 1
    pairs = [(c["metric"], frozenset((c["a"], c["b"]))) for c in evaluation["comparisons"]]
    assert len(pairs) == len(set(pairs)) == math.comb(len(config.policies), 2) * len(config.metrics)
    for comparison in evaluation["comparisons"]:
        values = [evaluation["policies"][comparison[side]][comparison["metric"]]["value"] for side in "ab"]
        assert comparison["effect"] == pytest.approx(values[1] - values[0])
        assert comparison["ci"][0] <= comparison["effect"] <= comparison["ci"][1]
    assert evaluation["requests"] >= evaluation["users"] > 0
    assert json.loads((found.path / EVALUATION).read_text(encoding="utf-8")) == evaluation


def test_evaluation_has_the_schema(evaluated: SimpleNamespace) -> None:
    """What other programs read is there under its name."""
    check_schema(evaluated)
    assert sorted(file.name for file in evaluated.path.iterdir() if file.name != REPORT) == sorted(
        [CONFIG, EVALUATION, MANIFEST]
    )
    assert evaluated.directory.complete
    assert evaluated.steps.done == evaluated.steps.totals


def test_learning_pays_offline(evaluated: SimpleNamespace) -> None:
    """On a simulated log the personal policy finds more of what was clicked than popularity, and that than chance."""
    recall = {name: metrics["recall@20"]["value"] for name, metrics in evaluated.evaluation["policies"].items()}
    assert recall["utility"] > 1.5 * recall["popularity"] > 1.5 * recall["random"]


def test_processes_do_not_matter(evaluate: Evaluate, evaluated: SimpleNamespace) -> None:
    """One process or two leave the same bytes."""
    by_two = evaluate(workers=2)
    assert (evaluated.path / EVALUATION).read_bytes() == (by_two.path / EVALUATION).read_bytes()
    assert by_two.steps.done == by_two.steps.totals


def test_control_can_be_named(evaluate: Evaluate, evaluated: SimpleNamespace) -> None:
    """The named policy comes first and is what the others are held against; values stay what they are."""
    other = evaluate(control="random", metrics=["recall@20"])
    assert next(iter(other.evaluation["policies"])) == "random"
    for name, metrics in other.evaluation["policies"].items():
        assert metrics["recall@20"]["value"] == evaluated.evaluation["policies"][name]["recall@20"]["value"]


def test_report_is_written_from_the_evaluation(evaluated: SimpleNamespace) -> None:
    """What an evaluation leaves is what the report reads."""
    text = write_report(evaluated.directory).read_text(encoding="utf-8")
    assert all(name in text for name in evaluated.config.policies)


def test_nobody_returning_is_said(evaluate: Evaluate) -> None:
    """Held-out days without a returning user are an error with the remedy."""
    world = {"kind": "generated", "users": 1, "items": 60, "cities": ["seattle"], "country": "US"}
    with pytest.raises(DatasetError, match="no returning user comes in these days; hold out more"):
        evaluate(world=world, horizon={"start": "2015-10-05", "history_days": 3}, holdout_days=1)


def test_oracle_is_refused(evaluate: Evaluate) -> None:
    """A policy that needs the truth of a simulation has no place where nobody responds: a ValueError names it."""
    with pytest.raises(ValueError, match="oracle"):
        evaluate(policies={"oracle": {"policy": "oracle"}, "random": {"policy": "random"}})


def test_what_was_shown_in_vain_is_part_of_the_past() -> None:
    """Where the log has impressions, a policy that discounts them sees them at a held-out visit too."""
    built = tiny_world()
    log, _ = play_or_read_history(built, 8, 5, ShardPool(1), _Silent())
    shown: list[int] = []

    class Looking(Spy):
        """Counts what is known to have been shown in vain."""

        def candidates(self, requests: Requests) -> Candidates:
            shown.extend(requests.history.shown_count[requests.row].tolist())
            return super().candidates(requests)

    visits = held_out_visits(log, 5 * DAY_SECONDS)
    rank_visits(RankingTask(built.world, Looking(NoParams(), 1), log.before(5), visits), lambda: None)
    assert np.mean(np.array(shown) > 0) > 0.9


@pytest.fixture(scope="module")
def real(evaluate: Evaluate, online_retail: Path) -> SimpleNamespace:
    """Three policies on a hundred days of the real log, the last fourteen held out."""
    return evaluate(**real_config(online_retail))


def real_config(path: Path) -> dict[str, Any]:
    """A hundred days of the real log."""
    return {
        "world": {"kind": "log", "dataset": "online_retail", "path": str(path)},
        "horizon": {"start": "2011-05-01", "history_days": 100},
        "holdout_days": 14,
    }


def test_order_of_policies_on_real_customers(real: SimpleNamespace) -> None:
    """Of what real customers bought next, utility finds more than popularity, and that more than chance."""
    check_schema(real)
    policies = real.evaluation["policies"]
    for metric in ("recall@20", "ndcg@20", "hr@30"):
        utility, popularity, random = (policies[name][metric] for name in ("utility", "popularity", "random"))
        assert utility["ci"][0] > popularity["ci"][1]
        assert popularity["ci"][0] > random["ci"][1]
    assert policies["random"]["novelty@20"]["value"] > policies["utility"]["novelty@20"]["value"]


def test_processes_do_not_matter_on_real_customers(
    real: SimpleNamespace, evaluate: Evaluate, online_retail: Path
) -> None:
    """One process or two leave the same bytes on the real log too, and say what became of its rows."""
    by_two = evaluate(workers=2, **real_config(online_retail))
    assert (real.path / EVALUATION).read_bytes() == (by_two.path / EVALUATION).read_bytes()
    assert json.loads((by_two.path / MANIFEST).read_text())["data"]["kept"] > 300_000


def test_everything_held_out_is_refused(evaluate: Evaluate, ledger: Path) -> None:
    """A log shorter than the days to hold out leaves nothing to learn from, and that is said."""
    world = {"kind": "log", "dataset": "online_retail", "path": str(ledger)}
    with pytest.raises(DatasetError, match=r"holdout_days: 400 \(the log has 30 days; hold out fewer\)"):
        evaluate(world=world, horizon=None, holdout_days=400)


def test_ledger_of_a_few_customers_is_evaluated(evaluate: Evaluate, ledger: Path) -> None:
    """A log of a dozen customers is enough, from its first to its last day where no horizon is given."""
    world = {"kind": "log", "dataset": "online_retail", "path": str(ledger)}
    found = evaluate(world=world, horizon=None, holdout_days=10)
    check_schema(found)
    assert found.evaluation["users"] == 12
    assert found.evaluation["requests"] == 12 * 10
