from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.plan import Plan
from experiments.unit_table import read_units

COLUMNS: dict[str, list[Any]] = {
    "user_id": ["a", "b", "c", "d"],
    "arm": ["A", "B", "A", "B"],
    "converted": [0, 1, 1, 0],
    "spend": [1.5, 0.0, 2.25, 0.0],
    "clicks": [1, 2, 3, 0],
    "impressions": [10, 10, 12, 8],
    "day": ["2026-01-01", "2026-01-02", "2026-01-01", "2026-01-03"],
    "city": ["x", "y", "x", "x"],
}


def a_plan(**changes: Any) -> Plan:
    """A plan for the small table."""
    metrics = [
        {"name": "converted", "kind": "proportion", "column": "converted"},
        {"name": "spend", "kind": "mean", "column": "spend"},
        {"name": "ctr", "kind": "ratio", "numerator": "clicks", "denominator": "impressions"},
    ]
    return Plan.model_validate({"unit": "user_id", "variant": "arm", "metrics": metrics} | changes)


def saved(tmp_path: Path, kind: str = "csv", **changes: list[Any] | None) -> Path:
    """The small table as a file, with some columns replaced or taken out."""
    columns = {name: values for name, values in (COLUMNS | changes).items() if values is not None}
    path = tmp_path / f"units.{kind}"
    table = pl.DataFrame(columns, strict=False)
    table.write_parquet(path) if kind == "parquet" else table.write_csv(path)
    return path


def refusal(path: Path, **changes: Any) -> str:
    """The line that the reader refuses with."""
    with pytest.raises(UserError) as error:
        read_units(path, a_plan(**changes))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_both_kinds_of_file_give_the_same_units(tmp_path: Path, kind: str) -> None:
    """Numbers are floats, units and arms words, days dates, whatever the file."""
    units = read_units(saved(tmp_path, kind), a_plan(date="day", segments=["city"]))
    assert units.columns == ["unit", "arm", "day", "city", "converted", "spend", "clicks", "impressions"]
    assert units["unit"].to_list() == COLUMNS["user_id"]
    assert units["converted"].to_list() == [0.0, 1.0, 1.0, 0.0]
    assert units["day"].to_list() == [date(2026, 1, day) for day in (1, 2, 1, 3)]
    assert units.select("spend", "clicks", "impressions").dtypes == [pl.Float64] * 3


@pytest.mark.parametrize("words", [("true", "false"), ("TRUE", "FALSE"), ("True", "False"), ("yes", "no"), ("1", "0")])
def test_yes_and_no_may_be_words(tmp_path: Path, words: tuple[str, str]) -> None:
    """Booleans may be written in any of the usual ways."""
    yes, no = words
    for kind in ("csv", "parquet"):
        path = saved(tmp_path, kind, converted=[no, yes, yes, no])
        assert read_units(path, a_plan())["converted"].to_list() == [0.0, 1.0, 1.0, 0.0]
    assert (
        read_units(saved(tmp_path, "parquet", converted=[False, True, True, False]), a_plan())["converted"].sum() == 2
    )


def test_units_may_be_numbers_and_arms_too(tmp_path: Path) -> None:
    """Names are words, whatever they look like."""
    path = saved(tmp_path, user_id=[1, 2, 3, 4], arm=[0, 1, 0, 1])
    assert read_units(path, a_plan(control="0"))["arm"].to_list() == ["0", "1", "0", "1"]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=4, max_size=4, unique=True))
def test_numbers_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, spend: list[float]) -> None:
    """Reading what was written loses nothing."""
    path = saved(tmp_path_factory.mktemp("table"), spend=spend)
    assert read_units(path, a_plan())["spend"].to_list() == spend


def test_times_are_dates_too(tmp_path: Path) -> None:
    """A time of exposure counts by its day."""
    moments = [datetime(2026, 1, day, 23, 59) for day in (1, 2, 3, 4)]
    for kind in ("csv", "parquet"):
        assert read_units(saved(tmp_path, kind, day=moments), a_plan(date="day"))["day"][3] == date(2026, 1, 4)


def test_empty_values_are_refused_left_out_or_nothing(tmp_path: Path) -> None:
    """What an empty value means is for the plan to say."""
    path = saved(tmp_path, spend=[1.5, None, 2.0, 0.0])
    assert refusal(path).startswith("spend: empty in 1 of 4 rows (25.00%); fill them")
    assert read_units(path, a_plan(missing="drop"))["spend"].to_list() == [1.5, None, 2.0, 0.0]
    assert read_units(path, a_plan(missing="zero"))["spend"].to_list() == [1.5, 0.0, 2.0, 0.0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("changes", "plan", "message"),
    [
        ({"converted": None}, {}, "converted: no such column in the table; it has"),
        ({"converted": None, "conversion": [0, 1, 1, 0]}, {}, "did you mean conversion"),
        ({"arm": ["A", "A", "A", "C"]}, {}, "arm: 'C' has 1 unit, in row 4; every arm needs at least 2"),
        ({"arm": ["A", "A", "B", "a"]}, {"control": "B"}, "arm: 'B' has 1 unit"),
        ({"arm": ["A", "a", "A", "A"]}, {}, "arm: 'a' has 1 unit, in row 2; did you mean A?"),
        ({"arm": ["A"] * 4}, {}, "arm: only 'A'"),
        ({"arm": ["A", "B", None, "B"]}, {}, "arm: empty in 1 of 4 rows, first in row 3"),
        (
            {"user_id": ["a", "a", "b", "b"], "arm": ["A", "A", "B", "B"]},
            {},
            "user_id: 2 of 4 rows repeat a unit, first in row 2",
        ),
        ({"user_id": ["a", "b", "c", "b"], "arm": ["A", "A", "B", "B"]}, {}, "the first is 'b' in 'A' and 'B'; a unit"),
        ({"spend": ["1", "2", "three", "4"]}, {}, "spend: 'three' in row 3 is not a number"),
        ({"spend": [1.0, 2.0, float("inf"), 4.0]}, {}, "spend: holds an infinite value"),
        ({"spend": [3.0] * 4}, {}, "spend: every value is 3"),
        ({"converted": [0, 1, 2, 0]}, {}, "converted: 2 in a proportion"),
        ({"impressions": [10, -1, 5, 5]}, {}, "impressions: -1 in a denominator"),
        ({"day": ["2026-01-01", "soon", "2026-01-01", "2026-01-01"]}, {"date": "day"}, "'soon' in row 2 is not a date"),
        ({"day": ["2026-01-01", None, "2026-01-01", "2026-01-01"]}, {"date": "day"}, "day: empty in 1 of 4 rows"),
        ({}, {"date": "day", "planned_days": 2}, "planned_days: 2 (days go from 2026-01-01 to 2026-01-03, which are 3"),
        (
            {"day": ["1926-01-02", "2026-01-02", "2026-01-01", "2026-01-03"]},
            {"date": "day"},
            "day: 1926-01-02 in row 1 stands apart, with 36,523 of 36,527 days without a unit",
        ),
        ({}, {"control": "a"}, "control: 'a' is no arm of the table; it has A, B"),
        ({}, {"shares": {"A": 0.5}}, "shares: none for 'B'"),
        ({}, {"shares": {"A": 0.5, "B": 0.4, "C": 0.1}}, "shares: 'C' is no arm"),
        ({}, {"segments": ["spend"]}, "spend: another column of the plan needs this name"),
        (
            {"arm": None, "unit": ["A", "B", "A", "B"]},
            {"variant": "unit", "segments": ["unit"]},
            "unit: another column",
        ),
    ],
)
def test_what_a_table_may_not_hold(
    tmp_path: Path, kind: str, changes: dict[str, Any], plan: dict[str, Any], message: str
) -> None:
    """One line names the column, what is in it and what would be right, in both kinds of file."""
    assert message in refusal(saved(tmp_path, kind, **changes), **plan)


def test_too_many_arms_are_another_column(tmp_path: Path) -> None:
    """A column with a value for every unit is no variant."""
    path = tmp_path / "units.csv"
    pl.DataFrame({"user_id": range(60), "arm": range(60), "x": range(60)}).write_csv(path)
    plan = {"metrics": [{"name": "x", "kind": "mean", "column": "x"}]}
    assert "arm: 60 different values" in refusal(path, **plan)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    """A missing file, a folder, noise and a header alone are each answered with a line."""
    assert "no such file" in refusal(tmp_path / "none.csv")
    assert "is not a file" in refusal(tmp_path)
    noise = tmp_path / "noise.parquet"
    noise.write_bytes(b"\x00\x01 not parquet")
    assert "cannot be read as a table" in refusal(noise)
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    assert "cannot be read as a table" in refusal(tmp_path / "empty.csv")
    (tmp_path / "header.csv").write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    assert "holds no rows" in refusal(tmp_path / "header.csv")


def test_a_number_that_breaks_far_down_is_named(tmp_path: Path) -> None:
    """A word beyond the rows that are looked at first is found and shown."""
    rows = 3000
    columns = {name: (values * rows)[:rows] for name, values in COLUMNS.items()}
    columns["user_id"] = list(range(rows))
    columns["spend"] = [*map(str, range(rows - 1)), "n/a"]
    path = tmp_path / "units.csv"
    pl.DataFrame(columns).write_csv(path)
    assert "spend: 'n/a' in row 3,000 is not a number" in refusal(path)


def test_days_far_apart_may_be_planned(tmp_path: Path) -> None:
    """A long stretch without units is taken for a mistake only where nobody planned it, or where it is most of all."""
    far = saved(tmp_path, day=["2026-01-01", "2026-01-01", "2026-03-01", "2026-03-02"])
    assert "stands apart" in refusal(far, date="day")
    assert read_units(far, a_plan(date="day", planned_days=61)).height == 4
    near = saved(tmp_path, day=["2026-01-01", "2026-01-01", "2026-01-10", "2026-01-11"])
    assert read_units(near, a_plan(date="day")).height == 4


def test_lines_that_break_a_file_are_counted(tmp_path: Path) -> None:
    """A letter of another encoding and a field too many are each told by their line."""
    lines = saved(tmp_path).read_bytes().splitlines()
    path = tmp_path / "broken.csv"
    path.write_bytes(b"\n".join([*lines[:3], lines[3].replace(b"x", b"\xe4"), *lines[4:]]))
    assert "line 4 is not UTF-8" in refusal(path, segments=["city"])
    path.write_bytes(b"\n".join([*lines[:2], lines[2] + b",7", *lines[3:]]))
    fields = len(COLUMNS)
    assert f"line 3 has {fields + 1} fields, the header {fields}); mend the line" in refusal(
        path, date="day", segments=["city"]
    )
