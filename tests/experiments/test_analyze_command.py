import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from experiments.cli import app

# Student's sleep data (R, ?sleep): extra hours of sleep of ten patients under two drugs.
SLEEP = {
    "A": [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    "B": [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
}
PLAN = "unit: patient\nvariant: drug\nmetrics: [{name: extra, kind: mean, column: extra, unit: hours}]\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The sleep data as a CSV, and a plan for it."""
    rows = [f"{drug}{number},{drug},{hours}" for drug, values in SLEEP.items() for number, hours in enumerate(values)]
    (tmp_path / "sleep.csv").write_text("\n".join(["patient,drug,extra", *rows]) + "\n", encoding="utf-8")
    (tmp_path / "plan.yaml").write_text(PLAN, encoding="utf-8")
    return tmp_path / "sleep.csv", tmp_path / "plan.yaml"


def analyze(*arguments: object) -> Result:
    """``testbed analyze`` with these arguments."""
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


def test_the_sleep_data_from_file_to_report(files: tuple[Path, Path], tmp_path: Path) -> None:
    """R's Welch test of the sleep data comes out of a CSV and five lines of plan, with a page that shows it."""
    out = tmp_path / "out"
    result = analyze(files[0], "--plan", files[1], "--out", out)
    assert result.exit_code == 0, result.output
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    (row,) = results["comparisons"]
    assert row["p_value"] == pytest.approx(0.07939, abs=5e-6)
    assert row["ci"] == pytest.approx((-0.2054832, 3.3654832), abs=1e-7)
    assert results["name"] == "sleep"
    assert "20 units of a table" in result.output
    assert "Decision: test again." in result.output
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")


def test_the_same_table_and_plan_give_the_same_bytes(files: tuple[Path, Path], tmp_path: Path) -> None:
    """An analysis can be repeated, and one that is complete is shown instead."""
    for name in ("one", "two"):
        assert analyze(files[0], "--plan", files[1], "--out", tmp_path / name).exit_code == 0
    assert (tmp_path / "one" / "results.json").read_bytes() == (tmp_path / "two" / "results.json").read_bytes()
    again = analyze(files[0], "--plan", files[1], "--out", tmp_path / "one")
    assert "holds this analysis, complete" in again.output


def test_another_table_does_not_go_into_the_same_folder(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Results of one table are never taken for those of another, even under the same name."""
    assert analyze(files[0], "--plan", files[1], "--out", tmp_path / "out").exit_code == 0
    files[0].write_text(files[0].read_text(encoding="utf-8").replace("4.4", "4.5"), encoding="utf-8")
    result = analyze(files[0], "--plan", files[1], "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "holds a run of another config" in result.output
    assert analyze(files[0], "--plan", files[1], "--out", tmp_path / "out", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("table", "plan", "message"),
    [
        (
            None,
            PLAN.replace("column: extra", "column: extre"),
            "error: extre: no such column in the table; did you mean extra?",
        ),
        ("patient,drug,extra\na,A,1\nb,B,2\n", PLAN, "error: drug: 'A' has 1 unit, in row 1; every arm needs"),
        (None, PLAN.replace("mean", "average"), "error: metrics[0].kind: 'average' must be"),
        (None, PLAN + "control: C\n", "error: control: 'C' is no arm of the table; it has A, B"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    files: tuple[Path, Path], tmp_path: Path, table: str | None, plan: str, message: str
) -> None:
    """What the user can put right comes without a traceback, and leaves no results."""
    if table is not None:
        files[0].write_text(table, encoding="utf-8")
    files[1].write_text(plan, encoding="utf-8")
    result = analyze(files[0], "--plan", files[1], "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_all_mistakes_of_a_plan_are_told(files: tuple[Path, Path]) -> None:
    """A plan has no command of its own that checks it, so each of its mistakes is a line here."""
    files[1].write_text(PLAN + "planned_days: 3\nguardrails: {none: 0.1}\n", encoding="utf-8")
    result = analyze(files[0], "--plan", files[1])
    assert result.exit_code == 2
    assert [line.partition(": ")[2].partition(":")[0] for line in result.stderr.splitlines()] == [
        "guardrails",
        "planned_days",
    ]


def test_a_missing_table_is_said(files: tuple[Path, Path], tmp_path: Path) -> None:
    """The path is named, and what it should be."""
    result = analyze(tmp_path / "none.csv", "--plan", files[1])
    assert result.exit_code == 2
    assert "none.csv: No such file or directory; give the path of a CSV or Parquet table" in result.output


def test_the_keys_of_a_plan_can_be_asked_for() -> None:
    """An editor gets the schema of a plan as it gets that of a config."""
    result = CliRunner().invoke(app, ["schema", "--kind", "plan"])
    assert result.exit_code == 0
    assert {"unit", "variant", "metrics", "sequential", "guardrails"} <= json.loads(result.stdout)["properties"].keys()
