import copy
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from experiments.cli import app
from experiments.comparison import Run, compare_runs, differences, read_runs
from experiments.config import resolved
from experiments.errors import UserError
from experiments.report import pareto
from experiments.terminal_comparison import print_comparison


@pytest.fixture
def again(finished: SimpleNamespace) -> Callable[..., Run]:
    """``again(label, config={...}, results={...})``: the finished run, its config or results changed at dotted keys."""
    manifest = json.loads((finished.path / "manifest.json").read_text(encoding="utf-8"))

    def changed(found: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        for key, value in changes.items():
            *parents, last = key.split(".")
            target = found
            for parent in parents:
                target = target[parent]
            target[last] = value
        return found

    def made(label: str, config: Any = None, results: Any = None, code: str = "") -> Run:
        return Run(
            label,
            changed(copy.deepcopy(resolved(finished.config)), config or {}),
            changed(copy.deepcopy(finished.results), results or {}),
            manifest | ({"code_version": code} if code else {}),
        )

    return made


def cautions(*runs: Run) -> str:
    """All that is said before the table."""
    return " ".join(compare_runs(runs)["cautions"])


def test_rows_say_what_the_runs_say(again: Any, finished: SimpleNamespace) -> None:
    """Each metric of each run and treatment is there once, with the numbers of its run's results."""
    comparison = compare_runs([again("one"), again("two")])
    rows = comparison["rows"]
    assert len(rows) == 2 * len(finished.results["comparisons"])
    for original in finished.results["comparisons"]:
        for label in ("one", "two"):
            [row] = [
                each
                for each in rows
                if (each["run"], each["metric"], each["treatment"])
                == (label, original["metric"], original["treatment"])
            ]
            for key in ("lift", "lift_ci", "effect", "p_adjusted", "truth", "control_value"):
                assert row[key] == original[key]


def test_runs_of_the_same_users_and_draws_are_held_against_each_other(again: Any) -> None:
    """Where world, horizon and seed agree the page says that truths compare, whatever the arms and names are."""
    runs = [again("one"), again("two", {"name": "other", "arms.contextual.policy": "oracle"}, {"name": "other"})]
    comparison = compare_runs(runs)
    assert comparison["same"] == {"population": True, "seed": True, "control": True}
    assert "every run plays the same users on the same draws" in cautions(*runs)
    assert "other users fell on the arms" in cautions(*runs)
    assert pareto.present(comparison)


def test_another_seed_means_other_users(again: Any) -> None:
    """With another seed effects are those of independent experiments, and truths of different users."""
    runs = [again("one"), again("two", {"seed": 8}, {"seed": 8})]
    said = cautions(*runs)
    assert "The seed (7, 8) differs" in said
    assert "independent experiments" in said
    assert "same users" not in said
    assert pareto.present(compare_runs(runs))


def test_another_population_forbids_comparing(again: Any) -> None:
    """Where world or horizon differ, the keys and values are named and no figure holds runs against each other."""
    runs = [again("one"), again("two", {"world.users": 500, "horizon.days": 9, "scenario": "feed", "page.slots": 4})]
    said = cautions(*runs)
    assert "world.users (300, 500), horizon.days (5, 9), scenario (item, feed) and 1 more differ" in said
    also = again("two", {"world.users": 500, "horizon.days": 9, "scenario": "feed", "page.slots": 4, "seed": 8})
    assert "scenario (item, feed) and 2 more differ" in cautions(again("one"), also)
    assert "world.users (300, 500) and seed (7, 8) differ" in cautions(
        again("one"), again("two", {"world.users": 500, "seed": 8})
    )
    assert "cannot be held against each other" in said
    comparison = compare_runs(runs)
    assert not pareto.present(comparison)
    assert comparison["rows"]


def test_another_control_moves_every_lift(again: Any) -> None:
    """Lifts over different controls are told apart, and share no figure; a control's share does not matter."""
    other = again("two", {"arms.popularity.policy": "random"})
    assert "The controls differ (one: popularity; two: random)" in cautions(again("one"), other)
    assert not pareto.comparable(compare_runs([again("one"), other]))
    assert pareto.comparable(compare_runs([again("one"), again("two", {"arms.popularity.share": 0.1})]))


def test_what_else_must_be_known(again: Any) -> None:
    """Other levels and corrections, code, broken assignment and metrics that are missing somewhere are all said."""
    said = cautions(
        again("one", code="0.1.0+aaa"),
        again(
            "two",
            results={"analysis.alpha": 0.1, "analysis.correction": "none", "srm": {"p_value": 1e-9, "ok": False}},
            code="0.1.0+bbb",
        ),
    )
    assert "differ in alpha, correction" in said
    assert "different versions of the code" in said
    assert "two: User counts do not fit" in said
    short = again("two")
    del short.results["metrics"]["ner"]  # type: ignore[attr-defined]
    assert "Not measured by every run: Novelty exposure rate." in cautions(again("one"), short)


def test_what_cannot_be_compared_is_refused(again: Any) -> None:
    """Different currencies, and runs without a common metric, end in one line that says why."""
    with pytest.raises(UserError, match="currency: one in USD, two in GBP; compare runs that count money in one"):
        compare_runs([again("one"), again("two", results={"currency": "GBP"})])
    with pytest.raises(UserError, match=r"metrics: the runs have none in common \(one: ctr, .*; two: none\)"):
        compare_runs([again("one"), again("two", results={"metrics": {"none": {}}})])


def test_differences_name_keys_of_one_side_too(again: Any) -> None:
    """A key that only one config has counts, and nothing counts that all agree on."""
    one, two = again("one"), again("two", {"world": {"kind": "log", "path": "a.csv"}})
    found = differences([one, two], ("world",))
    assert found[0] == "world.kind (generated, log)"
    assert "world.path (–, a.csv)" in found
    assert differences([one, one], ("world", "seed", "horizon")) == []


@pytest.mark.parametrize(("width", "ascii_only"), [(80, False), (120, False), (80, True)])
def test_the_terminal_table(again: Any, width: int, ascii_only: bool) -> None:
    """Every run, arm and metric fits the width, and plain ASCII is enough."""
    file: Any = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii_only else "utf-8")
    print_comparison(Console(width=width, file=file, no_color=True), compare_runs([again("one"), again("a[b]two")]))
    file.seek(0)
    printed = file.read()
    assert max(len(line) for line in printed.splitlines()) <= width
    assert "one, contextual" in printed
    assert "a[b]two, utility" in printed
    assert "Click-through rate" in printed


def test_folders_are_read_and_named_apart(finished: SimpleNamespace, tmp_path: Path) -> None:
    """Runs are called by their folders, by more of the path where names agree, and each may come once."""
    places = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    for place in places:
        shutil.copytree(finished.path, place)
    assert [run.label for run in read_runs(places)] == ["a/run", "b/run"]
    assert [run.label for run in read_runs(places[:1])] == ["run"]
    with pytest.raises(UserError, match="given twice; name each run once"):
        read_runs([places[0], tmp_path / "b" / ".." / "a" / "run"])


def test_folders_without_a_finished_experiment_are_refused(finished: SimpleNamespace, tmp_path: Path) -> None:
    """Nothing there, an unfinished run, another kind and another schema each get their remedy."""
    with pytest.raises(UserError, match="not a run directory"):
        read_runs([tmp_path])
    place = tmp_path / "run"
    shutil.copytree(finished.path, place)
    (place / "results.json").write_text('{"schema": 99}', encoding="utf-8")
    with pytest.raises(UserError, match=r"schema 99 \(this version reads 2\)"):
        read_runs([place])
    (place / "results.json").unlink()
    with pytest.raises(UserError, match="holds no experiment"):
        read_runs([place])
    (place / "manifest.json").unlink()
    with pytest.raises(UserError, match="unfinished"):
        read_runs([place])


def test_the_command_prints_and_writes(finished: SimpleNamespace, tmp_path: Path) -> None:
    """``testbed compare`` prints the table, writes one page where it is asked to, and refuses a folder."""
    runner = CliRunner()
    page = tmp_path / "new" / "page.html"
    done = runner.invoke(app, ["compare", str(finished.path), "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert "Click-through rate" in done.output
    assert "beside each other" in page.read_text(encoding="utf-8")
    assert list(page.parent.iterdir()) == [page]
    kept = runner.invoke(app, ["compare", str(finished.path), "--out", str(page)])
    assert kept.exit_code == 2
    assert "holds a comparison already; give another --out, or --force to replace it" in kept.output
    assert runner.invoke(app, ["compare", str(finished.path), "--out", str(page), "--force"]).exit_code == 0
    other = tmp_path / "other.html"
    other.write_text("<title>mine</title>", encoding="utf-8")
    foreign = runner.invoke(app, ["compare", str(finished.path), "--out", str(other), "--force"])
    assert foreign.exit_code == 2
    assert "holds something other than a comparison; give another --out" in foreign.output
    assert other.read_text(encoding="utf-8") == "<title>mine</title>"
    refused = runner.invoke(app, ["compare", str(finished.path), "--out", str(tmp_path)])
    assert refused.exit_code == 2
    assert "a folder; give the name of a file" in refused.output
    twice = runner.invoke(app, ["compare", str(finished.path), str(finished.path)])
    assert twice.exit_code == 2
    assert twice.output.count("\n") == 1
