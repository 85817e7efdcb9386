from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.audit import SCHEMA, assign_again, plans_of, run_audit, setting_of
from experiments.errors import UserError
from experiments.progress import SilentProgress
from experiments.run_directory import COUNTERFACTUALS, RunDirectory
from metrics.audit.replications import blocks

REPLICATIONS = 40


def audited(
    directory: RunDirectory, workers: int = 1, seed: int | None = None, replications: int = REPLICATIONS
) -> dict[str, Any]:
    """A short audit of a finished run."""
    return run_audit(directory, replications, seed, workers, SilentProgress())


@pytest.fixture(scope="module")
def audit(finished: SimpleNamespace) -> dict[str, Any]:
    """An audit of the three arms; not to be changed."""
    return audited(finished.directory)


def test_truth_is_that_of_the_results(finished: SimpleNamespace, audit: dict[str, Any]) -> None:
    """The tables read back from a run hold the truth that its results show, cut amounts and quantiles included."""
    rows = {(row["metric"], row["treatment"]): row for row in finished.results["comparisons"]}
    seen = set()
    for each in audit["findings"]:
        if each["check"] != "coverage" or each["method"] not in ("plain", "cuped", "capped_plain"):
            continue
        row = rows[each["metric"], each["treatment"]]
        truth = row["capped"]["truth"] if each["method"] == "capped_plain" else row["truth"]
        assert each["truth"] == pytest.approx(truth["effect"], rel=1e-9, abs=1e-12)
        seen.add(each["method"])
    for row in finished.results["quantiles"]:
        name = f"p{100 * row['quantile']:g}"
        key = ("coverage", row["metric"], row["treatment"], name, "drawn")
        (each,) = (
            each
            for each in audit["findings"]
            if (each["check"], each.get("metric"), each.get("treatment"), each.get("method"), each.get("design")) == key
        )
        assert each["truth"] == pytest.approx(row["truth"]["effect"])
        seen.add(name)
    assert seen == {"plain", "cuped", "capped_plain", "p50", "p90"}


def test_every_metric_by_every_method(finished: SimpleNamespace, audit: dict[str, Any]) -> None:
    """Each metric and treatment of the scorecard is audited plain and with CUPED, as in the verdict."""
    found = {
        (row["metric"], row["treatment"], row["method"]) for row in audit["findings"] if row["check"] == "false_alarms"
    }
    for metric in finished.config.analysis.metrics:
        for treatment in ("utility", "contextual"):
            assert {(metric, treatment, "plain"), (metric, treatment, "cuped")} <= found
    assert audit["schema"] == SCHEMA
    assert audit["null_table"] == "popularity"
    assert list(audit["shares"]) == ["popularity", "utility", "contextual"]
    assert audit["analysis"]["of_verdict"]["ctr"] == "cuped"
    assert {row["check"] for row in audit["findings"]} == {
        "false_alarms",
        "coverage",
        "lift_coverage",
        "peeking",
        "family",
        "sample_ratio",
        "trend",
        "log_rank",
    }


def test_defects_are_counted(audit: dict[str, Any]) -> None:
    """The number of defects is that of the findings called one, and every defect is outside its 95% interval too."""
    assert audit["defects"] == sum(row["defect"] is True for row in audit["findings"])
    assert all(row["outside"] for row in audit["findings"] if row["defect"])
    assert all("defect" not in row for row in audit["power"])


def test_last_look_is_the_end(finished: SimpleNamespace) -> None:
    """The table of the last look is that of the experiment's end, and users of earlier looks are among its users."""
    setting = setting_of(finished.directory, finished.config, 7)
    last = setting.looks[-1]
    for column, values in last.tables["popularity"].items():
        assert np.array_equal(values, setting.outcomes.tables["popularity"][column])
    for look in setting.looks:
        assert np.isin(look.user, last.user).all()
        assert np.array_equal(last.user[look.rows_in(last.user)], look.user)
    users = [len(look.user) for look in setting.looks]
    assert users == sorted(users)
    assert list(setting.times) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_guardrails_and_looks_of_the_config(finished: SimpleNamespace) -> None:
    """Guardrails are held at their margins, and a config with looks of its own adds its plan to the daily ones."""
    analysis = finished.config.analysis.model_copy(
        update={
            "guardrails": {"ipv": 0.1},
            "sequential": finished.config.analysis.sequential.model_copy(update={"looks": 2}),
        }
    )
    config = finished.config.model_copy(update={"analysis": analysis})
    setting = setting_of(finished.directory, config, 7)
    assert [(metric.name, margin) for metric, margin in setting.guardrails] == [("ipv", 0.1)]
    assert plans_of(config)["configured"].looks == (1, 4)
    assert "configured" not in plans_of(finished.config)


def test_same_bytes_for_any_workers(finished: SimpleNamespace, audit: dict[str, Any]) -> None:
    """An audit is a function of run, seed and replications: workers do not matter, a seed does."""
    assert len(blocks(REPLICATIONS, audit["users"])) > 1
    assert audited(finished.directory, workers=2) == audit
    other = audited(finished.directory, seed=8, replications=20)
    again = audited(finished.directory, replications=20)
    assert other["seed"] == 8
    assert other["findings"] != again["findings"]


def test_assignment_is_the_experiments_own(finished: SimpleNamespace) -> None:
    """Replications share nothing with each other or the experiment, and keep its shares."""
    shares = {"a": 0.2, "b": 0.8}
    user = np.arange(20_000)
    first, second = (assign_again(user, number, shares=shares, salt="s", seed=1) for number in (0, 1))
    assert abs((first == 0).mean() - 0.2) < 0.01
    assert abs(((first == 0) & (second == 0)).mean() - 0.04) < 0.006


def test_without_the_truth_alarms_alone(run: Callable[..., SimpleNamespace]) -> None:
    """A run that played each user once is audited on its users as observed: false alarms, no coverage, no power."""
    once = run(
        oracle=False,
        world={"kind": "generated", "users": 120, "items": 300, "cities": ["seattle"], "country": "US"},
        analysis={"metrics": ["ctr", "gmv"], "cuped": False, "quantiles": [], "guardrails": {"gmv": 0.2}},
    )
    assert not (once.path / COUNTERFACTUALS).exists()
    found = audited(once.directory, replications=20)
    assert (found["null_table"], found["effects_known"], found["power"]) == ("observed", False, [])
    assert {row["check"] for row in found["findings"]} == {
        "false_alarms",
        "peeking",
        "family",
        "sample_ratio",
        "trend",
        "log_rank",
        "guardrails",
    }
    (family, _) = (row for row in found["findings"] if row["check"] == "family")
    assert family["metrics"] == ["ctr"]
    assert found["analysis"]["of_verdict"] == {"ctr": "plain", "gmv": "plain"}


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    """A run of another kind, or of a config that this version does not know, is refused in one line."""
    with pytest.raises(UserError, match="kind evaluation; audit an experiment"):
        audited(RunDirectory(tmp_path, {"kind": "evaluation"}))
    with pytest.raises(UserError, match="another version"):
        audited(RunDirectory(tmp_path, {"name": "old"}))
