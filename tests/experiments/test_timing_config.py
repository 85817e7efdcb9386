"""What a timing's config may say, and the one line for what it may not."""

from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.loading import load_config
from experiments.timing_config import TimingConfig

COST = Path(__file__).parents[2] / "experiments" / "configs" / "cost_v1_v2.yaml"


def test_the_shipped_config_has_the_four_designs() -> None:
    """V1 and V2 must stand beside their controls, and no price may be made up."""
    config = load_config(COST)
    assert isinstance(config, TimingConfig)
    assert list(config.rows) == ["V1", "V1 shared prefix", "V2 full text", "V2 hybrid"]
    assert config.serving is not None
    assert config.serving.price == {}
    assert config.serving.step_time == {}
    assert config.serving.rate == pytest.approx(config.serving.users_a_day / 86_400 * 2)
    assert TimingConfig.model_validate(config.resolved) == config


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("serving.hardware=[h300]", "serving.hardware: accelerator: h300; known are a100, h100, h20, h200"),
        ("serving.hardware=[h20, h20]", "serving.hardware: 'h20' comes twice"),
        ("serving.model=qwen9", "serving.model: qwen9; known are qwen3-0.6b"),
        ("serving.slo={}", "serving.slo: nothing is promised; give ttft, tpot or job"),
        ("serving.price={h20: {per_hour: 1}}", "serving.price.h20.currency: missing"),
        ("serving.price={a100: {per_hour: 1, currency: USD, at: 2026-01-01}}", "'a100' is none of serving.hardware"),
        ("serving.plans=[nowhere]", "serving.plans: 'nowhere' is none of world, paper"),
        ("serving=null", "paper: the report's claims are of accelerators"),
        ("rows.V1.policy=utility", "rows.V1.policy: 'utility' asks no language model in a known plan"),
        ("rows.V1.params.rout=1", "rows.V1.params.rout: unknown key (did you mean routes?)"),
        ("rows={V2 hybrid: {policy: recgpt_v2}}", "paper.control: 'V1' is no row of recgpt_v1"),
        ("rows.V1={policy: recgpt_v2, params: {experts: adaptive}}", "'adaptive' has no number in plans.paper"),
        ("plans.world.users=201", "users: 201 of a world of 200; ask for fewer"),
        ("plans.paper.history=0", "plans.paper.history: 0 must be greater than or equal to 1"),
        ("paper.plan=world", "paper.plan: 'world' is none of paper; name one that is served"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(override: str, line: str) -> None:
    """Every mistake must name its field, its value and the remedy, before anything runs."""
    with pytest.raises(UserError) as error:
        load_config(COST, [override])
    assert line in str(error.value)
    assert "\n" not in str(error.value)
