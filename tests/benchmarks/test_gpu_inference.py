"""The table of a card in one call: what it runs, keeps within its time, writes and prints."""

import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from experiments.loading import load_config
from experiments.timing_config import CardStepTime, LengthsPlan, TimingConfig, WorldPlan
from experiments.timing_plans import stated_plan, world_plans
from policies.language.gpu import campaign
from policies.language.gpu.presets import random_model
from policies.language.steps import Cuts
from simulator.serving.steptime import StepTime
from simulator.serving.transformer import ModelShape

ROOT = Path(__file__).parents[2]
SMALL = ModelShape(layers=2, width=32, heads=4, kv_heads=2, head_dim=16, ffn=48, vocabulary=208, tied=True)
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")


def _loaded(name: str = "gpu_inference") -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script with a small model in the place of the presets, and short prompts."""
    script: Any = _loaded()
    plans = {
        name: [(row, script.JobShape(tuple(tuple(_shorter(script, c) for c in stage) for stage in job.stages)), shares)
               for row, job, shares in rows]
        for name, rows in script.read_plans().items()
    }  # fmt: skip
    monkeypatch.setattr(script, "read_plans", lambda: plans)
    monkeypatch.setattr(script, "FULL", 60)
    monkeypatch.setattr(script, "COMPRESSED", 20)
    monkeypatch.setattr(script, "WINDOW", 0.01)
    monkeypatch.setattr(script, "MODEL_SHAPES", dict.fromkeys(script.MODEL_SHAPES, SMALL))
    monkeypatch.setattr(script, "preset_model", lambda name, device, *_: random_model(SMALL, device, torch.float32, 1))
    monkeypatch.setattr(campaign, "SETTING_UP", 0.0)
    monkeypatch.setattr(script, "CUTS", Cuts(512, 64))
    return script


def _shorter(script: Any, call: Any) -> Any:
    shared = 0 if call.shared == 0 else 8 if call.shared < 10_000 else 16
    return script.CallShape(4, min(call.output, 3), shared)


@without_gpu
def test_without_a_gpu_it_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    """A machine without a card must be told so, and no file may be left that looks like results."""
    file = tmp_path / "gpu.json"
    ended = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, ROOT / "benchmarks" / "gpu_inference.py", "--json", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line == "error: device: cuda:0 (0 CUDA devices are here; use another, or the CPU)"
    assert list(tmp_path.iterdir()) == []


def test_the_calls_are_those_of_the_shipped_config() -> None:
    """The lengths that are stated must be the config's to the token, for the same rows in the same order."""
    config = load_config(ROOT / "experiments" / "configs" / "cost_v1_v2.yaml")
    assert isinstance(config, TimingConfig)
    plans = _loaded().read_plans()
    assert list(plans) == list(config.plans)
    stated = config.plans["paper"]
    assert isinstance(stated, LengthsPlan)
    for (name, job, shares), (row, choice) in zip(plans["paper"], config.rows.items(), strict=True):
        wanted = stated_plan(stated, choice)
        assert (name, job, shares) == (row, wanted.job, wanted.shares)


@pytest.mark.slow
def test_the_worlds_calls_are_what_the_policies_ask_for(silent: Any) -> None:
    """The lengths read off the policies' account must still be about those that were kept."""
    config = load_config(ROOT / "experiments" / "configs" / "cost_v1_v2.yaml")
    assert isinstance(config, TimingConfig)
    world = config.plans["world"]
    assert isinstance(world, WorldPlan)
    found = world_plans(world, config.rows, config.seed, silent)
    for name, job, shares in _loaded().read_plans()["world"]:
        wanted = found[name]
        assert shares == wanted.shares
        assert [len(stage) for stage in job.stages] == [len(stage) for stage in wanted.job.stages]
        for call, again in zip(job.calls, wanted.job.calls, strict=True):
            for kept, now in zip(vars(call).values(), vars(again).values(), strict=True):
                assert kept == now if isinstance(kept, str) else abs(kept - now) <= max(2, 0.1 * now)


@pytest.mark.slow
def test_the_whole_table_runs_and_is_written(
    script: Any,
    processor_card: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every piece leaves rows with raw samples, the file says where from, and the printed table is narrow."""
    file = tmp_path / "deep" / "gpu_inference.json"
    monkeypatch.setattr(script, "ROUNDS", 2)
    monkeypatch.setattr(script, "PLAN_ROUNDS", 2)
    models = ["qwen3-8b", "qwen3-0.6b"]
    code = script.measure(processor_card, file, 1e6, models, time.monotonic())
    data = json.loads(file.read_text(encoding="utf-8"))
    assert (data["failed"], data["dropped"], code) == ([], [], 0)
    assert (data["schema"], data["complete"], data["settings"]["weights"]) == (1, True, "random")
    assert data["device"]["name"] == "processor"
    rows = data["rows"]
    assert {row["why_not"] for row in rows} == {None}
    plans = [row for row in rows if row["kind"] == "plan"]
    assert [row["row"] for row in plans[:4]] == ["V1", "V1 shared prefix", "V2 full text", "V2 hybrid"]
    assert {(row["plan"], row["writing"]) for row in plans} == {
        (plan, writing) for plan in ("paper", "world") for writing in ("graph", "eager")
    }
    assert all(len(row["gpu_seconds"]["raw"]) == script.PLAN_ROUNDS for row in plans)
    steps = [row for row in rows if row["kind"] == "step"]
    assert all(len(row["gpu_seconds"]["raw"]) == script.ROUNDS for row in steps)
    assert {row["dtype"] for row in steps} == {"bf16", "fp8"}
    assert {row["model"] for row in steps} == set(models)
    assert {row["writing"] for row in steps} == {None, "graph", "eager"}
    assert {row["past"] for row in steps if row["phase"] == "decode"} == {20, 60, 12}
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= 100
    assert "processor" in printed[0]
    assert len([line for line in printed if line.startswith("qwen3-8b paper V1,")]) == 3
    assert [path.name for path in file.parent.iterdir()] == ["gpu_inference.json"]
    readme: Any = _loaded("_readme")
    monkeypatch.setattr(readme, "RESULTS", file.parent)
    block = readme.gpu().splitlines()
    assert len([line for line in block if line.startswith("| qwen3-")]) == len(rows)
    first = plans[0]["gpu_seconds"]
    assert f"| qwen3-8b, V1, paper | 1 | graph | {first['median']:.4g} | {first['q25']:.4g} to " in block[2]
    assert block[-1].startswith("processor, driver unknown, torch here, random weights; 0 rows were not measured; ")


def test_the_readme_says_that_nothing_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without results there is one sentence and no number of a card."""
    readme: Any = _loaded("_readme")
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    assert readme.gpu().startswith("Nothing has been measured on a GPU yet")


def test_a_fit_is_printed_as_a_config_wants_it() -> None:
    """The lines that are to be pasted must be read back as the coefficients, to six digits."""
    coefficients = asdict(StepTime(0.612345678, 0.8, per_layer=1.23456e-5, form="sum", error=0.04))
    fit = {
        "coefficients": coefficients,
        "card": "h200",
        "held_out_median_error": 0.04,
        "held_out_steps": 9,
        "steps": [{}] * 36,
    }
    first, *rest = _loaded()._fit_lines(fit)
    assert "median error 4.0% on 9 of 36 steps held out" in first
    found = CardStepTime(**yaml.safe_load("\n".join(rest))["step_time"]["h200"])
    told = asdict(found.step_time())
    assert told.pop("form") == coefficients.pop("form")
    assert told == pytest.approx(coefficients, rel=1e-5)


def test_the_time_is_kept_and_what_is_dropped_is_named(
    script: Any, processor_card: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With hardly any time there is a file, in which each shape has the reason why it was not measured."""
    file = tmp_path / "gpu.json"
    assert script.measure(processor_card, file, 1e-9, ["qwen3-8b", "qwen3-0.6b"], time.monotonic()) == 0
    data = json.loads(file.read_text(encoding="utf-8"))
    assert {row["why_not"] for row in data["rows"]} == {"the time did not suffice"}
    assert all(row["gpu_seconds"] is None for row in data["rows"])
    assert data["fit"]["coefficients"] is None
    printed = capsys.readouterr().out
    assert printed.count("dropped for lack of time: ") == len(data["dropped"])
    assert "no step times are fitted" in printed


def test_a_failure_is_exit_code_1_and_the_rows_are_there(
    script: Any,
    processor_card: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When a model cannot be made the others are measured, the file is written, and the caller learns of it."""
    make = script.preset_model

    def failing(name: str, *given: Any) -> Any:
        if name == "qwen3-8b":
            raise RuntimeError("no kernel image")
        return make(name, *given)

    monkeypatch.setattr(script, "preset_model", failing)
    monkeypatch.setattr(script, "reads", lambda plans, whole: [script.StepShape(6, 0, 1)])
    monkeypatch.setattr(script, "writes", lambda plans, whole: [script.StepShape(1, 6, 1)])
    file = tmp_path / "gpu.json"
    assert script.measure(processor_card, file, 1e6, ["qwen3-8b", "qwen3-0.6b"], time.monotonic()) == 1
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert {row["model"] for row in rows if row["why_not"]} == {"qwen3-8b"}
    assert {row["model"] for row in rows if row["gpu_seconds"]} == {"qwen3-0.6b"}
    assert "failed: qwen3-8b, bf16: the model cannot be made ready" in capsys.readouterr().err
