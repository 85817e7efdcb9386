import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from allocation.settings import ExposureAllocation
from experiments.config import Frontier
from experiments.run_directory import COUNTERFACTUALS, RESULTS, USER_DAYS
from experiments.runner import variants_of
from policies.two_channel import TwoChannel
from simulator.shards import ShardPool

Run = Callable[..., SimpleNamespace]
POLICY: dict[str, Any] = {"policy": "two_channel", "params": {"trees": 10}}
QP: dict[str, Any] = {"kind": "exposure_qp", "lambda": 0.03}
ARMS: dict[str, Any] = {
    "utility_only": POLICY | {"share": 0.25},
    "program": POLICY | {"share": 0.25, "allocation": QP},
    "rule": POLICY | {"share": 0.25, "allocation": QP | {"solver": "threshold", "lambda": 0.002, "max": 1}},
    "split": POLICY | {"share": 0.25, "allocation": QP | {"split": {"start": 0.5, "half_life_days": 3}}},
}
LEARN = ("rule", "split")
CHANGES: dict[str, Any] = {
    "arms": ARMS,
    "horizon": {"start": "2015-10-05", "history_days": 12, "warmup_days": 2, "days": 4, "follow_up_days": 1},
    "analysis": {"metrics": ["ctr", "ner", "tv"]},
    "frontier": {"arm": "program", "lambdas": [0.3, 0.01, 0.03]},
}


@pytest.fixture(scope="module")
def allocated(run: Run) -> SimpleNamespace:
    """Four allocations of one policy, with the truth and a frontier; not to be changed."""
    assert TwoChannel.two_channels
    return run(**CHANGES)


def test_processes_do_not_matter_to_allocators(
    allocated: SimpleNamespace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process or two leave the same bytes, also where an arm learns across its users; such an arm begins first."""
    sizes: dict[str, list[int]] = {}
    play = ShardPool.map

    def noted(self: ShardPool, work: Any, tasks: Any, tick: Any, already: Any = None) -> Any:
        sizes[work.__name__] = [task.world.users for task in tasks]
        return play(self, work, tasks, tick, already)

    monkeypatch.setattr(ShardPool, "map", noted)
    by_two = run(workers=2, **CHANGES)
    users = by_two.config.world.users
    assert sizes["play_arm"] == [users] * len(LEARN) + [users // 2] * 2 * (len(variants_of(by_two.config)) - len(LEARN))
    for name in (USER_DAYS, COUNTERFACTUALS, RESULTS):
        assert (allocated.path / name).read_bytes() == (by_two.path / name).read_bytes(), name
    assert by_two.steps.done == by_two.steps.totals


def test_truth_changes_nothing_for_the_experimenter(allocated: SimpleNamespace, run: Run) -> None:
    """Assigned users do the same with others played beside them or not, in arms that learn across users too."""
    alone = run(**(CHANGES | {"oracle": False, "frontier": None}))
    for arm in ARMS:
        assert alone.user_days.filter(pl.col("arm") == arm).equals(allocated.user_days.filter(pl.col("arm") == arm))
    assert (alone.path / USER_DAYS).read_bytes() == (allocated.path / USER_DAYS).read_bytes()
    for arm in LEARN:
        assert not alone.user_days.filter(pl.col("arm") == arm).is_empty()
    split = [found.results["allocation"]["split"]["split"] for found in (alone, allocated)]
    assert split[0] == split[1]
    assert alone.results["frontier"] is None


def test_same_program_twice_has_no_effect(run: Run) -> None:
    """In an A/A test of two programs the exact effect is 0.0 on every metric."""
    arms = {name: POLICY | {"share": 0.5, "allocation": QP} for name in ("control", "treatment")}
    results = run(**(CHANGES | {"arms": arms, "frontier": None})).results
    assert len(results["comparisons"]) == 3
    assert all(comparison["truth"]["effect"] == 0.0 for comparison in results["comparisons"])
    assert all(point["truth"]["effect"] == 0.0 for point in results["daily"] if point["truth"])


def test_cognitive_items_are_novel(allocated: SimpleNamespace) -> None:
    """Exposing the cognitive channel truly raises the novelty exposure rate."""
    found = {c["treatment"]: c["truth"] for c in allocated.results["comparisons"] if c["metric"] == "ner"}
    assert found["program"]["effect"] > 0, found


def test_frontier_is_sorted_and_marks_the_chosen(allocated: SimpleNamespace) -> None:
    """Points rise with lambda, the arm's own is marked and taken from its own play, novelty falls along them."""
    frontier = allocated.results["frontier"]
    assert frontier["arm"] == "program"
    assert [(point["lambda"], point["chosen"]) for point in frontier["points"]] == [
        (0.01, False),
        (0.03, True),
        (0.3, False),
    ]
    assert [other["arm"] for other in frontier["others"]] == ["utility_only", "rule", "split"]
    for point in (*frontier["points"], *frontier["others"]):
        assert 0 < point["ctr"] < 1
        assert 0 < point["ner"] < 1
        assert point["tv"] > 0
    novelty = [point["ner"] for point in frontier["points"]]
    assert novelty[0] > novelty[2]
    truth = {(c["metric"], c["treatment"]): c["truth"]["effect"] for c in allocated.results["comparisons"]}
    difference = frontier["points"][1]["ner"] - frontier["others"][0]["ner"]
    assert difference == pytest.approx(truth["ner", "program"], rel=1e-6)


def test_frontier_leaves_the_test_alone(allocated: SimpleNamespace, run: Run) -> None:
    """Playing a frontier beside the test changes no table and no comparison."""
    without = run(**(CHANGES | {"frontier": None}))
    for name in (USER_DAYS, COUNTERFACTUALS):
        assert (allocated.path / name).read_bytes() == (without.path / name).read_bytes()
    assert allocated.results["comparisons"] == without.results["comparisons"]
    assert allocated.results["allocation"] == without.results["allocation"]
    assert allocated.results["diagnostics"] == without.results["diagnostics"]


def test_allocators_leave_a_diary(allocated: SimpleNamespace) -> None:
    """Each arm tells by date how many cognitive items a page had, at which prices; a split its shares by segment."""
    diaries = allocated.results["allocation"]
    assert list(diaries) == list(ARMS)
    dates = [f"2015-10-{day}" for day in range(19, 24)]
    for arm, diary in diaries.items():
        assert [entry["date"] for entry in diary["days"]] == dates
        for entry in diary["days"]:
            assert entry["pages"] > 0
            assert 0 <= entry["cognitive_a_page"] <= 4
            assert (entry["cognitive_a_page"] > 0) == (arm != "utility_only")
            assert ("mean_alpha" in entry) == (arm != "utility_only")
    assert diaries["program"]["lambda"] == 0.03
    assert diaries["rule"]["solver"] == "threshold"
    first, *others = diaries["rule"]["days"]
    assert (first["mean_alpha"], first["mean_r"]) == (0.0, 0.0)
    assert any(entry["mean_r"] != 0.0 or entry["mean_alpha"] != 0.0 for entry in others)
    split = diaries["split"]["split"]
    assert [day["date"] for day in split["days"]] == dates
    assert len(split["segments"]) == 12
    assert all(len(day["share"]) == 12 for day in split["days"])
    assert split["days"][0]["share"] == [0.5] * 12
    assert split["days"][-1]["share"] != [0.5] * 12
    own = allocated.user_days.filter((pl.col("arm") == "split") & (pl.col("phase") != "warmup"))
    for yesterday, day in zip(range(14, 18), split["days"][1:], strict=True):
        assert sum(day["visits"]) == own.filter(pl.col("day") == yesterday)["sessions"].sum()
    json.dumps(diaries, allow_nan=False)


def test_policies_without_channels_leave_none(finished: SimpleNamespace) -> None:
    """Where no policy has two channels there is no allocation to tell of, nor a frontier."""
    assert finished.results["allocation"] is None
    assert finished.results["frontier"] is None


def test_variants_play_each_lambda_once(allocated: SimpleNamespace) -> None:
    """Arms come first as configured; then the frontier's lambdas, less the arm's own."""
    variants = variants_of(allocated.config)
    assert [variant.name for variant in variants] == [*ARMS, "program@0.3", "program@0.01"]
    for variant in variants[4:]:
        assert variant.arm == "program"
        assert isinstance(variant.allocation, ExposureAllocation)
        assert variant.allocation.penalty == variant.frontier
        assert variant.allocation.most == 4
    assert all(variant.frontier is None for variant in variants[:4])


def test_variants_have_names_of_their_own(allocated: SimpleNamespace) -> None:
    """However near a frontier's lambdas are, each variant that is played has a table of its own."""
    config = allocated.config.model_copy(update={"frontier": Frontier(arm="program", lambdas=(0.1, 0.10000001))})
    names = [variant.name for variant in variants_of(config)]
    assert len(names) == len(set(names))


def test_a_lambda_given_twice_is_refused() -> None:
    """A frontier plays each lambda once, and says so."""
    with pytest.raises(ValueError, match="comes twice"):
        Frontier(arm="program", lambdas=(0.1, 0.1))


@pytest.mark.parametrize("workers", [1, 2])
def test_arm_without_users_is_played(run: Run, workers: int) -> None:
    """An arm that nobody is in is no obstacle, on several processes either, whatever its allocation learns from."""
    world = {"kind": "generated", "users": 1, "items": 60, "cities": ["seattle"], "country": "US"}
    arms = {name: ARMS[name] | {"share": 0.5} for name in ("split", "rule")}
    changes = {"world": world, "arms": arms, "oracle": False, "frontier": None}
    results = run(workers=workers, **(CHANGES | changes)).results
    assert sorted(arm["assigned"] for arm in results["arms"].values()) == [0, 1]
