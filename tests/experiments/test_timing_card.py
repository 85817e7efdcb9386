"""A timing on a card: what is replayed and told, with a processor in the card's place, and never mixed with one's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from experiments import timing, timing_card
from experiments.cli import app
from experiments.timing_card import FITTED
from policies.language.gpu import campaign, fitted
from policies.language.gpu.engine import Sample
from policies.language.gpu.rounds import Outcome
from policies.language.steps import told_seconds
from simulator.serving.errors import ServingError
from simulator.serving.hardware import BF16, H200
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
measure:
  device: auto
  rounds: 3
  gpu: { model: builtin:tiny, prompts: [16, 64], prompt_rows: [1, 4], pasts: [16, 64], rows: [1, 4], energy: false }
serving: { model: qwen3-8b, hardware: [h200], users_a_day: 20000, slo: { job: 20 }, jobs: 20, most: 8, plans: [long] }
paper: { plan: long, control: V1, treatment: V2 }
"""
TRUTH = StepTime(0.6, 0.8, per_step=2e-4, form="sum")


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["time", "small.yaml", *arguments])


MEASURED = campaign.Campaign._measured


@pytest.fixture(autouse=True)
def _card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, processor_card: Any) -> None:
    """A processor stands in the card's place, and takes what a formula says."""

    def told(self: Any, engine: Any, piece: Any, window: float) -> dict[str, Outcome]:
        found = {}
        for row in self._rows(_group(engine), piece, {}, None):
            steps = row.passes if hasattr(row, "passes") else [row.step]
            seconds = sum(told_seconds(engine.shape, TRUTH, list(steps), H200, BF16))
            sample = Sample(
                {"prefill": 0.5 * seconds, "decode": 0.5 * seconds}, 1.25 * seconds, {"prefill": 8, "decode": 9}
            )
            found[getattr(row, "row", "")] = Outcome(1, [sample] * 3, [{}] * 3)
        return found

    monkeypatch.setattr(timing, "open_card", lambda device: None if device == "cpu" else processor_card)
    monkeypatch.setattr(campaign.Campaign, "_measured", told)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("small.yaml").write_text(SMALL, encoding="utf-8")


def _group(engine: Any) -> campaign.Group:
    return campaign.Group("", engine.shape, "bf16", lambda: engine, ())


@pytest.fixture
def found(_card: None) -> Callable[..., dict[str, Any]]:
    """Runs the command and reads what it left."""

    def run(*arguments: str) -> dict[str, Any]:
        result = _run("--out", "run", "--quiet", *arguments)
        assert result.exit_code == 0, result.output
        loaded = json.loads(Path("run/timing.json").read_text(encoding="utf-8"))
        assert isinstance(loaded, dict)
        return loaded

    return run


def test_plans_are_told_in_seconds_of_the_card(found: Callable[..., dict[str, Any]]) -> None:
    """Rows have GPU-seconds, MFU and what a fit tells of them, and no figure of a processor."""
    left = found()
    measured = left["measured"]
    assert (measured["device"], measured["unit"], measured["model"]) == ("cuda", "GPU-seconds", "builtin:tiny")
    assert measured["weights"] == "loaded"
    rows = {(row["plan"], row["row"]): row for row in measured["rows"]}
    assert list(rows) == [("short", "V1"), ("short", "V2"), ("long", "V1"), ("long", "V2")]
    for name in ("V1", "V2"):
        short, long = rows["short", name], rows["long", name]
        assert len(short["gpu_seconds"]["raw"]) == 3
        assert short["gpu_seconds_provisioned"]["median"] == pytest.approx(1.25 * short["gpu_seconds"]["median"])
        assert short["mfu_busy"] > short["mfu_provisioned"] > 0
        assert short["modelled_error"] == pytest.approx(0.0, abs=1e-3)
        assert short["cost_per_1000_refreshes"] is None
        assert long["gpu_seconds"] is None
        assert "is longer than the model's window of 2048" in long["why_not"]
    assert measured["fit"]["coefficients"]["compute_efficiency"] == pytest.approx(0.6, rel=0.01)
    assert "cpu_seconds" not in json.dumps(left)
    assert {each["step_time_source"] for each in left["projected"]} == {"assumed"}


def test_passes_are_really_made(found: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a formula in the stopwatch's place each plan and step that fits in the window is run and has samples."""
    monkeypatch.setattr(campaign.Campaign, "_measured", MEASURED)
    measured = found("--set", "serving=null", "--set", "paper=null")["measured"]
    assert (measured["failed"], measured["dropped"]) == ([], [])
    assert [len(step["gpu_seconds"]["raw"]) for step in measured["steps"]] == [3] * 8
    plans = [row for row in measured["rows"] if row["plan"] == "short"]
    assert [len(row["gpu_seconds"]["raw"]) for row in plans] == [3, 3]
    assert list(plans[1]["phases"]) == ["prefill", "copy", "decode"]
    assert list(plans[0]["phases"]) == ["prefill", "decode"]


def test_a_price_gives_a_cost(found: Callable[..., dict[str, Any]]) -> None:
    """With the user's price of this card, a thousand refreshes cost the seconds that they held it."""
    left = found("--set", "serving.price={h200: {per_hour: 3.6, currency: USD, at: 2026-01-01}}")
    row = left["measured"]["rows"][0]
    assert row["cost_per_1000_refreshes"] == pytest.approx(row["gpu_seconds_provisioned"]["median"])
    assert (row["currency"], row["price_at"]) == ("USD", "2026-01-01")
    shown = CliRunner().invoke(app, ["time", "run/config.yaml", "--out", "run"]).stdout
    assert "USD a 1,000, price of 2026-01-01" in " ".join(shown.split())


def test_fit_models_the_card_by_its_own_steps(found: Callable[..., dict[str, Any]]) -> None:
    """With --fit the projection rests on the fitted coefficients, says so, and carries their error."""
    left = found("--fit")
    assert left["serving"]["fit"] is True
    fitted = left["measured"]["fit"]["coefficients"]
    for each in left["projected"]:
        assert each["step_time_source"] == FITTED
        assert each["step_time"] == fitted
        assert each["step_time_error"] == fitted["error"]
    shown = " ".join(CliRunner().invoke(app, ["time", "run/config.yaml", "--out", "run"]).stdout.split())
    assert shown.count("step times fitted to this card's own, median error") == 3


def test_cards_stand_in_the_order_of_the_config(found: Callable[..., dict[str, Any]]) -> None:
    """The card that is measured is modelled last and stands where the config has it, beside cards that are assumed."""
    left = found("--fit", "--set", "serving.hardware=[h200, h20]")
    assert [(each["hardware"], each["step_time_source"]) for each in left["projected"]] == [
        (card, source) for card, source in (("h200", FITTED), ("h20", "assumed")) for _ in range(2)
    ]
    assert list(left["paper"]["by_hardware"]) == ["h200", "h20"]


@pytest.mark.parametrize("seconds", [0.01, 0.001])
def test_a_promise_beyond_the_peaks_is_refused_before_the_card_is_measured(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """What no step times could keep, whatever will be measured, is refused first, by the data sheet."""
    monkeypatch.setattr(timing, "measure_on_card", None)
    result = _run("--quiet", "--fit", "--set", f"serving.slo.job={seconds}")
    assert result.exit_code == 2, result.output
    assert "serving.slo: kept for 0.0% of jobs" in result.stderr
    assert "these are the fewest seconds that the data sheet of h200 allows" in result.stderr


def test_a_fit_that_fails_loses_nothing(found: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """When no fit tells the steps, what was measured is kept, and the projection says that it assumes."""
    monkeypatch.setattr(fitted, "fit_steps", _no_fit)
    left = found("--fit")
    assert left["measured"]["fit"]["why_not"] == "steps: no fit tells both efficiencies"
    assert left["measured"]["rows"][0]["gpu_seconds"] is not None
    assert {each["step_time_source"] for each in left["projected"]} == {"assumed"}
    shown = " ".join(CliRunner().invoke(app, ["time", "run/config.yaml", "--out", "run"]).stdout.split())
    assert "No step times are fitted (steps: no fit tells both efficiencies)" in shown
    assert "step times assumed, not measured" in shown


def _no_fit(*_: Any) -> Any:
    raise ServingError("steps: no fit tells both efficiencies")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--fit", "--set", "measure.device=cpu"], "serving.fit: true (no card is measured here"),
        (["--fit", "--set", "measure=null"], "serving.fit: true (no card is measured here"),
        (["--fit", "--set", "serving.hardware=[h20]"], "this card is h200, none of serving.hardware; add it there"),
        (
            ["--fit", "--set", "serving.step_time={h200: {compute_efficiency: 0.5, memory_efficiency: 0.8}}"],
            "serving.step_time.h200: given, and serving.fit asks to fit it; leave one out",
        ),
        (
            ["--fit", "--set", "measure.gpu.prompts=[16]", "--set", "measure.gpu.pasts=[16]"],
            "(4 shapes are measured, and a fit needs 8",
        ),
        (
            ["--set", "measure.gpu.prompts=[4000]"],
            "measure.gpu: steps of up to 4000 tokens (the model's window is 2048)",
        ),
        (["--set", "measure.gpu.model=nowhere/at/all"], "language.model: nowhere/at/all"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments: list[str], line: str) -> None:
    """What cannot be measured or fitted is refused with field, value and remedy, and exit code 2."""
    result = _run("--quiet", *arguments)
    assert result.exit_code == 2, result.output
    (said,) = result.stderr.splitlines()
    assert said.startswith("error: ")
    assert line in said


def test_tables_are_ascii_and_fit(
    found: Callable[..., dict[str, Any]], plainly_shown: Callable[[dict[str, Any]], list[str]]
) -> None:
    """A terminal of 80 columns without Unicode shows the card's table, what was left out, and no CPU figure."""
    left = found()
    left["measured"]["steps"][0] |= {"why_not": "it does not fit in the card's memory", "gpu_seconds": None}
    for words in plainly_shown(left):
        assert "Measured on processor: builtin:tiny, bf16, loaded weights" in words
        assert "not measured, it does not fit in the card's memory" in words
        assert "plan long, V1: not measured, a call of" in words
        assert "CPU-seconds" not in words


@pytest.mark.parametrize(("device", "there", "card"), [("auto", False, False), ("cpu", True, False)])
def test_the_processor_is_measured_where_there_is_no_card(
    monkeypatch: pytest.MonkeyPatch, device: str, there: bool, card: bool
) -> None:
    """Auto takes CUDA only where it is, and cpu never does."""
    monkeypatch.setattr(timing_card.torch.cuda, "is_available", lambda: there)
    assert (timing_card.open_card(device) is not None) is card


def test_presets_have_their_published_window() -> None:
    """A preset's steps may be as long as the published model reads, and no longer."""
    result = _run("--quiet", "--set", "measure.gpu.model=qwen3-8b", "--set", "measure.gpu.prompts=[41000]")
    assert result.exit_code == 2
    assert "the model's window is 40960" in result.stderr
