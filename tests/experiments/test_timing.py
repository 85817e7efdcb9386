"""The story of a timing, its command, and what is printed: measured and modelled figures never mixed."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from experiments import timing, timing_card, timing_processor
from experiments.cli import app
from experiments.timing_card import FITTED
from experiments.timing_tables import error_words
from policies.language.steps import StepShape, Timed, told_seconds
from policies.language.timing import CPU
from simulator.serving.hardware import FP32
from simulator.serving.steptime import StepTime

SMALL = """
kind: timing
name: small
seed: 7
rows:
  V1: { policy: recgpt_v1 }
  V2: { policy: recgpt_v2 }
plans:
  short:
    kind: lengths
    history: 60
    compressed: 20
    route: { prompt: 8, answer: 3 }
    planner: { prompt: 8, answer: 3 }
    expert: { prompt: 8, answer: 3 }
    arbiter: { prompt: 8, answer: 3 }
  long:
    kind: lengths
    history: 6000
    compressed: 3000
    route: { prompt: 80, answer: 30 }
    planner: { prompt: 80, answer: 30 }
    expert: { prompt: 80, answer: 30 }
    arbiter: { prompt: 80, answer: 30 }
measure: { rounds: 3, refreshes: 2 }
serving: { model: qwen3-8b, hardware: [h20], users_a_day: 20000, slo: { job: 20 }, jobs: 20, most: 8, plans: [long] }
paper: { plan: long, control: V1, treatment: V2 }
"""
TRUTH = StepTime(0.7, 0.4, per_request=1e-5, per_step=1e-3, form="sum")


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["time", *arguments])


@pytest.fixture(autouse=True)
def _steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Steps take what a formula says, since a busy machine's would not always do for a fit."""

    def told(language: Any, shapes: Sequence[StepShape], rounds: int, *_: Any, **__: Any) -> dict[StepShape, Timed]:
        seconds = told_seconds(language.shape, TRUTH, shapes, CPU, FP32)
        return {shape: Timed((each,) * rounds) for shape, each in zip(shapes, seconds, strict=True)}

    monkeypatch.setattr(timing_processor, "time_steps", told)
    monkeypatch.setattr(timing_card.torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("small.yaml").write_text(SMALL, encoding="utf-8")


@pytest.fixture
def found(_steps: None) -> Callable[..., dict[str, Any]]:
    """Runs the command and reads what it left."""

    def run(*arguments: str) -> dict[str, Any]:
        result = _run("small.yaml", "--out", "run", "--quiet", *arguments)
        assert result.exit_code == 0, result.output
        loaded = json.loads(Path("run/timing.json").read_text(encoding="utf-8"))
        assert isinstance(loaded, dict)
        return loaded

    return run


def _keys(value: Any) -> list[str]:
    """All keys under a value that leads to a number."""
    if isinstance(value, Mapping):
        return [key for key, part in value.items() for key in (_keys(part) or [key])]
    return [key for part in value for key in _keys(part)] if isinstance(value, list) else []


def test_a_run_leaves_everything_with_its_origin(found: Callable[..., dict[str, Any]]) -> None:
    """Raw samples, the fit's error, the machine and versions are there, and no GPU figure comes from a processor."""
    left = found()
    assert left["schema"] == 2
    assert {"processor", "cpus", "load_average"} <= set(left["machine"])
    assert {"python", "torch"} <= set(left["versions"])
    measured = left["measured"]
    assert measured["fit"]["held_out_median_error"] == pytest.approx(0.0, abs=1e-6)
    assert all(len(step["cpu_seconds"]["raw"]) == 3 for step in measured["steps"])
    rows = {(row["plan"], row["row"]): row for row in measured["rows"]}
    for row in rows.values():
        assert (row["gpu_seconds"], row["mfu"], row["cost"]) == (None, None, None)
    short = rows["short", "V1"]["cpu_seconds_per_refresh"]
    assert 0 < short["q25"] <= short["median"] <= short["q75"]
    assert len(short["raw"]) == 3
    assert rows["long", "V1"]["cpu_seconds_per_refresh"] is None
    assert rows["long", "V1"]["modelled_cpu_seconds_per_refresh"] is None
    assert "window of 2048" in rows["long", "V1"]["why_not"]
    assert [(each["plan"], each["row"]) for each in left["projected"]] == [("long", "V1"), ("long", "V2")]
    assert not [key for key in _keys(left["projected"]) if key.startswith(("gpu", "mfu", "cost"))]
    assert (Path("run") / "manifest.json").is_file()


def test_a_complete_run_is_shown_again(found: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time nothing is measured, and the same is printed."""
    found()
    monkeypatch.setattr(timing, "run_timing", None)
    shown = _run("small.yaml", "--out", "run")
    assert shown.exit_code == 0
    assert "complete" in shown.stderr
    assert "Modelled, not measured: qwen3-8b on h20" in shown.stdout
    assert "step times assumed, not measured, so their error is unknown" in shown.stdout
    words = " ".join(shown.stdout.split())
    assert "no cost, since no price is given" in words
    assert "plan long is not measured" in words
    assert "No CUDA device is here: CPU-seconds of a small model, from which no GPU figure follows." in words


def test_a_timing_has_no_report_but_is_shown(found: Callable[..., dict[str, Any]]) -> None:
    """The command for reports must say how a timing is shown, and its own config shows it."""
    found()
    refused = CliRunner().invoke(app, ["report", "run"])
    assert refused.exit_code == 2
    assert "`testbed time run/config.yaml --out run`" in refused.stderr
    assert "Modelled, not measured" in _run("run/config.yaml", "--out", "run").stdout


def test_parts_may_be_left_out(found: Callable[..., dict[str, Any]]) -> None:
    """Without measuring, modelling or the report there are plans alone, and they are printed."""
    left = found("--set", "measure=null", "--set", "serving=null", "--set", "paper=null")
    assert (left["measured"], left["projected"], left["paper"]) == (None, [], None)
    assert "Modelled" not in _run("run/config.yaml", "--out", "run").stdout


def test_tables_are_ascii_and_fit(
    found: Callable[..., dict[str, Any]], plainly_shown: Callable[[dict[str, Any]], list[str]]
) -> None:
    """A terminal of 80 columns without Unicode shows every number whole and what is left out, and a wide one too."""
    price = "{h20: {per_hour: 2.5, currency: USD, at: 2026-01-01}}"
    for words in plainly_shown(found("--set", f"serving.price={price}")):
        assert "USD" in words
        assert "price of 2026-01-01" in words
        assert "the explanations that V2's model writes are in no figure here." in words


def test_what_is_known_of_an_error_is_said() -> None:
    """A measured error is a percentage, an unknown one is called unknown, and assumed is called assumed."""
    words = [
        error_words({"step_time_error": error, "step_time_source": source})
        for error, source in ((0.04, "given"), (None, "given"), (None, "assumed"), (0.03, FITTED))
    ]
    assert "4.0%" in words[0]
    assert "unknown" in words[1]
    assert "assumed, not measured" in words[2]
    assert words[3] == "step times fitted to this card's own, median error 3.0% held out"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "measure.device=cuda",
            "no CUDA device is here; use cpu or auto, which measure the small model in CPU-seconds",
        ),
        ("serving.fit=true", "a processor's steps stand for none; measure on a CUDA device"),
        ("serving.usable_memory=0.1", "GiB are lacking"),
        ("serving.slo.job=0.01", "serving.slo: kept for 0.0% of jobs"),
        ("serving.hardware=[h300]", "known are a100, h100, h20, h200"),
        ("measure.prompts=[4000]", "the model's window is 2048"),
        ("measure.prompts=[8]", "measure.steps: "),
        ("measure.model=nowhere/at/all", "language.model: nowhere/at/all"),
        ("kind=training", "unknown key"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(override: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user can put right is said in one line, without a traceback."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    few = ["--set", "measure.behind=[0]", "--set", "measure.prompt_rows=[1]", "--set", "measure.pasts=[8]"]
    result = _run("small.yaml", "--quiet", "--set", override, *(few if override == "measure.prompts=[8]" else []))
    assert result.exit_code == 2, result.output
    (said,) = result.stderr.splitlines()
    assert said.startswith("error: ")
    assert line in said


def test_a_promise_that_no_cluster_keeps_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clusters of a processor's timing rest on no measurement, so they are sized before it begins."""
    monkeypatch.setattr(timing, "measure_on_processor", _not_yet)
    assert "serving.slo: kept for 0.0% of jobs" in _run("small.yaml", "--quiet", "--set", "serving.slo.job=0.01").stderr
    with pytest.raises(AssertionError, match="measuring"):
        CliRunner().invoke(app, ["time", "small.yaml", "--quiet"], catch_exceptions=False)


def _not_yet(*_: Any) -> Any:
    raise AssertionError("measuring")


def test_other_kinds_are_sent_to_their_commands() -> None:
    """A config of another kind is refused, and a timing is refused by the others, with the right command."""
    Path("train.yaml").write_text("kind: training\n", encoding="utf-8")
    assert "a timing needs kind: timing" in _run("train.yaml").stderr
    assert "use `testbed time small.yaml`" in CliRunner().invoke(app, ["run", "small.yaml"]).stderr
    said = CliRunner().invoke(app, ["validate", "small.yaml"]).stdout
    assert said.startswith("small.yaml: valid; `testbed time` would write runs/small-")
    assert "serving" in json.loads(CliRunner().invoke(app, ["schema", "--kind", "timing"]).stdout)["properties"]
