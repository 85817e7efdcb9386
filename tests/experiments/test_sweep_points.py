from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config import resolved
from experiments.errors import MistakesError, UserError
from experiments.loading import load_config
from experiments.sweep_points import load_points

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "seed": 7,
    "world": {"kind": "generated", "users": 300, "items": 500, "cities": ["seattle"], "country": "US"},
    "horizon": {"start": "2015-10-05", "history_days": 15, "warmup_days": 3, "days": 5},
    "arms": {"a": {"policy": "popularity", "share": 0.5}, "b": {"policy": "contextual", "share": 0.5}},
}
GRID = {"arms.b.params.trees": [10, 20], "world.users": [200, 300]}


def written(folder: Path, sweep: Any, **changes: Any) -> Path:
    """A config file with this sweep."""
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({**EXPERIMENT, "sweep": sweep, **changes}, sort_keys=False), encoding="utf-8")
    return path


def test_every_combination_with_every_seed(tmp_path: Path) -> None:
    """Points are all combinations of values and seeds, each once, and those of one world stand together."""
    base, points = load_points(written(tmp_path, {"grid": GRID, "seeds": [7, 8]}))
    assert len(points) == 8
    found = [(p.config.seed, p.config.world.users, p.config.arms["b"].params["trees"]) for p in points]
    assert sorted(found) == sorted((s, u, t) for s in (7, 8) for u in (200, 300) for t in (10, 20))
    worlds = [each[:2] for each in found]
    assert [worlds.index(each) for each in worlds] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert points[0].words == "trees 10, users 200, seed 7"
    assert base.sweep is not None


def test_every_point_that_is_no_experiment_is_told_once(tmp_path: Path) -> None:
    """What is wrong with a value is a line of its own, whatever the seed, and hides no other value's mistakes."""
    path = written(tmp_path, {"grid": {"world.users": [0, 200, -1], "arms.b.params.trees": [10, 0]}, "seeds": [7, 8]})
    with pytest.raises(MistakesError) as caught:
        load_points(path)
    at = [line.partition(": ") for line in caught.value.lines]
    assert [where for where, _, _ in at] == [
        "sweep, at world.users=0, arms.b.params.trees=10",
        *["sweep, at world.users=0, arms.b.params.trees=0"] * 2,
        "sweep, at world.users=200, arms.b.params.trees=0",
        "sweep, at world.users=-1, arms.b.params.trees=10",
        *["sweep, at world.users=-1, arms.b.params.trees=0"] * 2,
    ]


def test_a_point_is_the_run_with_its_values_set(tmp_path: Path) -> None:
    """A point's config is that of ``testbed run`` on the file without the block, with the values set."""
    path = written(tmp_path, {"grid": {**GRID, "arms.b.policy": ["contextual", "utility"]}})
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False), encoding="utf-8")
    with pytest.raises(UserError, match=r"at .*arms\.b\.policy=utility: arms\.b\.params\.trees: unknown key"):
        load_points(path)
    _, points = load_points(written(tmp_path, {"grid": GRID}), ["analysis.alpha=0.1"])
    for point in points:
        values = [f"{key}={value}" for key, value in point.values.items()]
        assert resolved(point.config) == resolved(load_config(plain, ["analysis.alpha=0.1", *values]))


def test_values_may_be_lists_and_mappings(tmp_path: Path) -> None:
    """A value is any YAML, and changing one point changes no other."""
    grid = {"world.cities": [["seattle"], ["seattle", "new_york"]], "arms.b.params": [{"trees": 5}, {}]}
    _, points = load_points(written(tmp_path, {"grid": grid}))
    assert [p.config.world.cities for p in points] == [("seattle",)] * 2 + [("seattle", "new_york")] * 2
    assert points[0].words == "cities seattle, params trees 5, seed 7"


def test_seeds_alone_are_a_sweep(tmp_path: Path) -> None:
    """Without a grid an experiment is run with each seed; without seeds with its own."""
    _, points = load_points(written(tmp_path, {"seeds": [1, 2, 3]}))
    assert [point.config.seed for point in points] == [1, 2, 3]
    _, points = load_points(written(tmp_path, {"grid": {"world.users": [100]}}))
    assert [point.config.seed for point in points] == [7]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({}, "sweep: nothing varies; give a grid, or two seeds or more"),
        ({"grid": {"world.users": []}}, r"sweep\.grid\.world\.users: "),
        ({"grid": {"world.users": [10, 10]}}, r"sweep\.grid: world\.users: 10 comes twice; name each value once"),
        ({"grid": {"seed": [1, 2]}}, "sweep.grid: 'seed' cannot be varied; list seeds under sweep.seeds"),
        ({"grid": {"name": ["x"]}}, "'name' cannot be varied; leave it to the experiment"),
        ({"grid": {"sweep.seeds": [[1]]}}, "'sweep.seeds' cannot be varied"),
        ({"grid": {"world..users": [1]}}, "'world..users' is no dotted key"),
        ({"grid": {"world": [{}], "world.users": [1]}}, "'world' holds 'world.users', so they overwrite each other"),
        ({"seeds": [3, 3]}, "sweep.seeds: 3 comes twice"),
        ({"gird": {}}, r"sweep\.gird: unknown key \(did you mean grid\?\)"),
        ({"grid": {"world.user": [1]}}, r"sweep, at world\.user=1: world\.user: unknown key \(did you mean users\?\)"),
        ({"grid": {"world.users": [0]}}, r"sweep, at world\.users=0: world\.users: 0 must be"),
        ({"grid": {"name.x": [1]}}, "'name.x' cannot be varied"),
        ({"grid": {"scenario.x": [1]}}, "sweep.grid scenario.x: scenario is 'item', not a mapping"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path: Path, sweep: Any, message: str) -> None:
    """Each mistake ends in one line that names the key, the value and the remedy."""
    with pytest.raises(UserError, match=message):
        load_points(written(tmp_path, sweep, scenario="item"))


def test_files_without_a_sweep_are_refused(tmp_path: Path) -> None:
    """An experiment without the block, and another kind of config, say what is missing."""
    with pytest.raises(UserError, match=r"holds no sweep; say under sweep\.grid"):
        load_points(written(tmp_path, None))
    training = Path(__file__).parents[2] / "experiments" / "configs" / "train_tiny.yaml"
    with pytest.raises(UserError, match="its kind is training; a sweep is made of experiments"):
        load_points(training)


def test_the_shipped_sweep_is_valid() -> None:
    """The config that teaches describes twelve experiments in four worlds."""
    _, points = load_points(Path(__file__).parents[2] / "experiments" / "configs" / "sweep.yaml")
    assert len(points) == 12
