from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config import ExperimentConfig, resolved
from experiments.errors import UserError
from experiments.loading import load_config
from experiments.serving_config import PlatformServing
from simulator.serving.hardware import FP8, H200
from simulator.serving.steptime import ASSUMED

SERVING: dict[str, Any] = {"model": "qwen3-8b", "hardware": "h20", "instances": 2, "users": 1_000_000}
CONFIG: dict[str, Any] = {
    "name": "served",
    "seed": 1,
    "world": {"kind": "generated", "users": 100, "items": 100, "cities": ["seattle"], "country": "US"},
    "horizon": {"start": "2015-10-05", "history_days": 10, "days": 3},
    "arms": {"v1": {"policy": "recgpt_v1", "share": 0.5}, "v2": {"policy": "recgpt_v2", "share": 0.5}},
    "serving": SERVING,
}


def refused(path: Path, **changes: Any) -> str:
    """The one line with which a config is refused."""
    file = path / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIG | changes))
    with pytest.raises(UserError) as error:
        load_config(file)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hardware": "h21"}, "serving.hardware: accelerator: h21; known are a100, h100, h20, h200"),
        ({"model": "qwen3-9b"}, "serving.model: qwen3-9b; known are qwen3-0.6b, qwen3-4b, qwen3-8b, qwen3-14b"),
        ({"precision": "fp4"}, "serving.precision: fp4; known are bf16, fp8"),
        (
            {"hardware": "a100", "precision": "fp8"},
            "serving: precision: fp8; the accelerator a100 has no fp8 products, use bf16",
        ),
        (
            {"model": "qwen3-14b", "usable_memory": 0.2},
            "serving: model: weights of 27.5 GiB in bf16 do not fit the accelerator h20 (17.9 GiB usable): 9.6 GiB are "
            "lacking; take a smaller model, a larger card or fewer bits",
        ),
        ({"price": {"per_hour": 2.0, "currency": "USD"}}, "serving.price.at: missing; this key has no default"),
        ({"price": {"per_hour": 2.0, "at": "2025-06-01"}}, "serving.price.currency: missing; this key has no default"),
        ({"slo": {}}, "serving.slo.job: missing; this key has no default"),
        ({"instances": 0}, "serving.instances: 0 must be greater than or equal to 1"),
        ({"spread_hours": 30}, "serving.spread_hours: 30 must be less than or equal to 24"),
        ({"users": 99}, "serving.users: 99 for 100 simulated users (world.users); a platform has as many at least"),
        ({"instances_by_arm": {"v3": 4}}, "serving.instances_by_arm: 'v3' is none of v1, v2; name an arm"),
        ({"gpus": 4}, "serving.gpus: unknown key"),
    ],
)
def test_what_cannot_be_served_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """A cluster that cannot be, or money without a day, must be refused with field, value and remedy."""
    assert refused(tmp_path, serving=SERVING | changes).startswith(message)


def test_a_cluster_needs_jobs(tmp_path: Path) -> None:
    """A cluster beside arms that do not think, or for a day without jobs, must be refused."""
    arms = {name: {"policy": "popularity", "share": 0.5} for name in ("a", "b")}
    assert refused(tmp_path, arms=arms).startswith("serving: no arm's policy thinks near line")
    assert "horizon.days of 2 or more" in refused(tmp_path, horizon=CONFIG["horizon"] | {"days": 1})


def test_a_budget_needs_costs(tmp_path: Path) -> None:
    """A budget of GPU-seconds must be refused where nobody counts them, and taken where a cluster does."""
    split = {"kind": "fixed", "slots": 2, "split": {"gpu_seconds": 5.0}}
    arms = CONFIG["arms"] | {"v2": CONFIG["arms"]["v2"] | {"allocation": split}}
    message = "arms.v2.allocation.split.gpu_seconds_a_visit: 0 under a budget (gpu_seconds: 5.0); give the cost"
    assert refused(tmp_path, arms=arms, serving=None).startswith(message)
    ExperimentConfig.model_validate(CONFIG | {"arms": arms})
    stated = split | {"split": {"gpu_seconds": 5.0, "gpu_seconds_a_visit": 0.1}}
    arms["v2"] = arms["v2"] | {"allocation": stated}
    ExperimentConfig.model_validate(CONFIG | {"arms": arms, "serving": None})
    blind = {"policy": "two_channel", "share": 0.5, "allocation": split}
    assert refused(tmp_path, arms={"v1": CONFIG["arms"]["v1"], "blind": blind}).startswith("arms.blind.allocation")


def test_the_cluster_is_the_one_asked_for() -> None:
    """Card, precision, size by arm and step times must be those of the block; left out, step times are assumed."""
    block = PlatformServing.model_validate(
        SERVING
        | {
            "hardware": "h200",
            "precision": "fp8",
            "instances_by_arm": {"v2": 7},
            "step_time": {"compute_efficiency": 0.5, "memory_efficiency": 0.7, "error": 0.1},
        }
    )
    cluster = block.cluster("v2")
    assert (cluster.pool.accelerator, cluster.precision, cluster.gpus) == (H200, FP8, 7)
    assert block.cluster("v1").gpus == block.cluster().gpus == 2
    assert cluster.pool.coefficients.error == 0.1
    assert PlatformServing.model_validate(SERVING).cluster().pool.coefficients == ASSUMED


def test_a_run_without_the_block_is_called_as_before() -> None:
    """A resolved config must name the block only where there is one, so that other runs keep their hash."""
    without = ExperimentConfig.model_validate({key: value for key, value in CONFIG.items() if key != "serving"})
    assert "serving" not in resolved(without)
    full = resolved(ExperimentConfig.model_validate(CONFIG))
    assert full["serving"]["spread_hours"] == 24.0
    assert resolved(ExperimentConfig.model_validate(full)) == full
