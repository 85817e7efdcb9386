import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from experiments.cli import app
from experiments.power_command import print_power

TEXT = """
name: small
seed: 7
world: {kind: generated, users: 150, items: 200, cities: [seattle], country: US}
horizon: {start: 2015-10-05, history_days: 8, warmup_days: 2, days: 4}
arms:
  control: {policy: popularity, share: 0.5}
  treatment: {policy: utility, share: 0.5}
analysis: {metrics: [ctr, gmv]}
"""


def test_a_config_becomes_a_table(tmp_path: Path) -> None:
    """Every metric has its row, and a sentence says what the test needs."""
    config = tmp_path / "small.yaml"
    config.write_text(TEXT, encoding="utf-8")
    found = CliRunner().invoke(app, ["power", str(config), "--workers", "1", "--json", "--quiet"])
    assert found.exit_code == 0, found.output
    plan = json.loads(found.stdout)
    assert [row["metric"] for row in plan["metrics"]] == ["ctr", "gmv"]
    console = Console(file=io.StringIO(), width=80)
    print_power(console, plan)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Click-through" in shown
    assert "A chance of 80% needs" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


def test_a_metric_the_pilot_cannot_tell_is_a_dash() -> None:
    """Nothing is made up where the pilot saw nothing."""
    keys = ("value", "variance_reduction", "users", "power", "smallest_lift", "smallest_lift_corrected")
    row = {"metric": "lt30", "title": "LT-30", "unit": "days a user"}
    row |= dict.fromkeys((*keys, "users_needed", "growth_needed", "days_needed"))
    console = Console(file=io.StringIO(), width=100)
    common = {"name": "x", "days": 14, "pilot_days": 5, "alpha": 0.05, "looks": 4, "exposed": 10, "comparisons": 1}
    common |= {"randomised": "users", "clusters": None}
    print_power(console, {**common, "target_lift": 0.05, "wanted": 0.8, "primary": "lt30", "metrics": [row]})
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "LT-30 – – – – – – –" in shown
    assert "cannot tell what the test would notice on LT-30" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--workers", "0"], "--workers: 0"), (["--set", "analysis.sequential.looks=9"], "9 looks in 4 days")],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    """What cannot be planned is said before anything is played."""
    config = tmp_path / "small.yaml"
    config.write_text(TEXT, encoding="utf-8")
    found = CliRunner().invoke(app, ["power", str(config), *arguments])
    assert found.exit_code == 2
    assert message in found.output
