"""Somebody's table of units, read from CSV or Parquet into columns that the engine understands, or one line of why not.

Knows files, columns and types. Does not know arms or tests.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from experiments.errors import UserError
from experiments.loading import shown
from experiments.plan import Plan

UNIT: Final = "unit"
ARM: Final = "arm"
DAY: Final = "day"
_PARQUET: Final = (".parquet", ".pq")
_YES: Final = ("true", "t", "yes", "1")
_NO: Final = ("false", "f", "no", "0")
_MOST_VARIANTS: Final = 50
_PEEKED: Final = 1000
_WIDE_GAP: Final = 14
"""Days without a unit from which on a gap that takes up half of the span is taken for a date mistyped."""


def read_units(path: Path, plan: Plan) -> pl.DataFrame:
    """The table, one row a unit.

    Args:
        path: a CSV with a header, or a Parquet file.
        plan: which columns are wanted.

    Returns:
        The columns of numbers as floats under their own names, with yes and no as 1 and 0; ``unit`` and ``arm`` as
        text; ``day`` as a date if the plan has one; cluster and segments as text under their own names. Rows in the
        file's order.

    Raises:
        UserError: if the file cannot be read, a column is missing or does not hold what it should, a unit comes twice,
            or an arm has fewer than two units.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "no such file"
        raise UserError(f"{path}: {problem}; give the path of a CSV or Parquet table")
    try:
        known = _columns_of(path)
        for column in (*plan.labels, *plan.columns):
            _check_known(column, known)
        table = _read(path, plan)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path}: cannot be read as a table ({_told(path, reason)}") from error
    if table.height == 0:
        raise UserError(f"{path}: holds no rows; give a table with one row a unit")
    numbers = [_number(table, column, plan) for column in plan.columns]
    labels = [_label(table, column, plan) for column in dict.fromkeys((*plan.segments, *filter(None, [plan.cluster])))]
    words = [_label(table, plan.unit, plan).rename(UNIT), _label(table, plan.variant, plan).rename(ARM)]
    days = [_day(table, plan.date).rename(DAY)] if plan.date else []
    taken = {UNIT, ARM, *([DAY] if plan.date else [])}
    for series in (*labels, *numbers):
        if series.name in taken:
            raise UserError(
                f"{series.name}: another column of the plan needs this name; rename the column in the table"
            )
        taken.add(series.name)
    units = pl.DataFrame([*words, *days, *labels, *numbers])
    _check_units(units, plan)
    if plan.date:
        _check_days(units, plan)
    return units


def _columns_of(path: Path) -> list[str]:
    if path.suffix.lower() in _PARQUET:
        return list(pl.read_parquet_schema(path))
    return pl.read_csv(path, n_rows=0, infer_schema=False).columns


def _read(path: Path, plan: Plan) -> pl.DataFrame:
    wanted = list(dict.fromkeys((*plan.labels, *plan.columns)))
    if path.suffix.lower() in _PARQUET:
        return pl.read_parquet(path, columns=wanted)
    words = pl.read_csv(path, columns=wanted, n_rows=_PEEKED, infer_schema=False)
    numeric = [
        column
        for column in plan.columns
        if column not in plan.labels
        and words[column].cast(pl.Float64, strict=False).null_count() == words[column].null_count()
    ]
    types = {column: pl.Float64 if column in numeric else pl.String for column in wanted}
    try:
        return pl.read_csv(path, columns=wanted, schema_overrides=types)
    except pl.exceptions.ComputeError:
        # Some value further down is no number: read words, so that it can be named.
        return pl.read_csv(path, columns=wanted, infer_schema=False)


def _told(path: Path, reason: str) -> str:
    """Why a file is no table, with the line where that is known, and what to do about it."""
    if path.suffix.lower() not in _PARQUET:
        with path.open("rb") as file:
            header = file.readline().count(b",")
            for number, line in enumerate(file, start=2):
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError:
                    return f"line {number} is not UTF-8); save it in that encoding, or as Parquet"
                if "found more fields" in reason and text.count(",") > header and '"' not in text:
                    return (
                        f"line {number} has {text.count(',') + 1} fields, the header {header + 1}); mend the line, or "
                        "quote values that hold a comma"
                    )
    return f"{reason}); save it as CSV with a header, or Parquet"


def _row(found: pl.Series) -> str:
    """Where the first of the rows is that a mask points at, counted from the first below the header."""
    return f"row {int(found.arg_max() or 0) + 1:,}"


def _check_known(column: str, known: Sequence[str]) -> None:
    if column not in known:
        near = difflib.get_close_matches(column, known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {shown(', '.join(known))}"
        raise UserError(f"{column}: no such column in the table; {hint}")


def _number(table: pl.DataFrame, column: str, plan: Plan) -> pl.Series:
    """A column as floats; yes and no as 1 and 0; empty values as the plan has it."""
    series = table[column]
    if series.dtype == pl.String:
        series = _parsed(series)
    elif not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise UserError(f"{column}: holds {series.dtype}, not numbers; give numbers, or yes and no")
    series = series.cast(pl.Float64)
    if series.is_nan().any():
        series = series.fill_nan(None)
    if series.is_infinite().any():
        raise UserError(f"{column}: holds an infinite value; take it out")
    empty = series.null_count()
    if empty and plan.missing == "refuse":
        raise UserError(
            f"{column}: empty in {empty:,} of {len(series):,} rows ({empty / len(series):.2%}); fill them, or set "
            "missing: zero or missing: drop in the plan"
        )
    return series.fill_null(0.0) if plan.missing == "zero" else series


def _parsed(series: pl.Series) -> pl.Series:
    """Words as numbers: all of them numbers, or all of them yes and no."""
    text = series.str.strip_chars().replace("", None)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return numbers
    lower = text.str.to_lowercase()
    answers = pl.select(
        pl.when(lower.is_in(_YES)).then(1.0).when(lower.is_in(_NO)).then(0.0).otherwise(None)
    ).to_series()
    if answers.null_count() == text.null_count():
        return answers.rename(series.name)
    strange = (numbers if numbers.null_count() < answers.null_count() else answers).is_null() & text.is_not_null()
    raise UserError(
        f"{series.name}: {shown(text.filter(strange)[0])} in {_row(strange)} is not a number; give numbers, or true "
        "and false throughout"
    )


def _label(table: pl.DataFrame, column: str, plan: Plan) -> pl.Series:
    """A column as words; units and arms must have one."""
    series = table[column]
    if series.dtype.is_nested() or series.dtype == pl.Binary:
        raise UserError(f"{column}: holds {series.dtype}, not words; give one word or number a row")
    words = series.cast(pl.String)
    if column in (plan.unit, plan.variant, plan.cluster):
        bare = words.is_null() | (words == "").fill_null(False)
        empty = int(bare.sum())
        if empty:
            raise UserError(
                f"{column}: empty in {empty:,} of {len(words):,} rows, first in {_row(bare)}; every unit needs one, so "
                "take them out"
            )
    return words


def _day(table: pl.DataFrame, column: str) -> pl.Series:
    """A column as dates, from dates, times or their ISO text."""
    series = table[column]
    if series.dtype == pl.String:
        days = series.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    elif series.dtype.is_temporal() and series.dtype != pl.Time and series.dtype != pl.Duration:
        days = series.cast(pl.Date)
    else:
        raise UserError(f"{column}: holds {series.dtype}, not dates; write year, month and day, as in 2015-10-05")
    bare = series.is_null() if series.dtype != pl.String else series.is_null() | (series == "").fill_null(False)
    if bare.any():
        raise UserError(
            f"{column}: empty in {int(bare.sum()):,} of {len(series):,} rows, first in {_row(bare)}; every unit needs "
            "a day of exposure, so fill them or take them out"
        )
    wrong = days.is_null()
    if wrong.any():
        raise UserError(
            f"{column}: {shown(series.filter(wrong)[0])} in {_row(wrong)} is not a date; write year, month and day, as "
            "in 2015-10-05"
        )
    return days


def _check_days(units: pl.DataFrame, plan: Plan) -> None:
    """Refuse dates beyond the plan, and without a planned length those that stand far from all others."""
    days = units[DAY]
    seen = days.unique().sort()
    first, last = seen[0], seen[-1]
    span = (last - first).days + 1
    if plan.planned_days is not None:
        if span > plan.planned_days:
            late = (days - first).dt.total_days() >= plan.planned_days
            raise UserError(
                f"planned_days: {plan.planned_days} (days go from {first} to {last}, which are {span:,}; {last} is in "
                f"{_row(days == last)}); plan {span:,}, or take out the {int(late.sum()):,} rows beyond the plan"
            )
        return
    gaps = seen.diff().dt.total_days().fill_null(1) - 1
    widest = int(gaps.max() or 0)  # type: ignore[arg-type]
    if widest < _WIDE_GAP or 2 * widest < span:
        return
    after = seen[int(gaps.arg_max() or 0)]
    lonely = first if int((days < after).sum()) <= int((days >= after).sum()) else last
    raise UserError(
        f"{plan.date}: {lonely} in {_row(days == lonely)} stands apart, with {widest:,} of {span:,} days without a "
        f"unit; mend it, or set planned_days: {span} if that is so"
    )


def _check_units(units: pl.DataFrame, plan: Plan) -> None:
    arms = units[ARM].value_counts(sort=True)
    names = sorted(units[ARM].unique())
    if len(names) > _MOST_VARIANTS:
        raise UserError(
            f"{plan.variant}: {len(names):,} different values; a variant column names a few arms, give that one"
        )
    if len(names) < 2:
        raise UserError(f"{plan.variant}: only {shown(names[0])}; a comparison needs two arms")
    few = arms.filter(pl.col("count") < 2)
    if few.height:
        name = few[ARM][0]
        others = {other.casefold(): other for other in names if other not in few[ARM]}
        near = difflib.get_close_matches(name.casefold().strip(), list(others), 1)
        remedy = f"did you mean {others[near[0]]}?" if near else "every arm needs at least 2, so take it out or wait"
        raise UserError(f"{plan.variant}: {shown(name)} has 1 unit, in {_row(units[ARM] == name)}; {remedy}")
    _check_named("control", [plan.control] if plan.control else [], names)
    if plan.shares is not None:
        _check_named("shares", plan.shares, names)
        left_out = [name for name in names if name not in plan.shares]
        if left_out:
            raise UserError(f"shares: none for {shown(left_out[0])}; give one for every arm ({', '.join(names)})")
    repeated = units.height - units[UNIT].n_unique()
    if repeated:
        again = units[UNIT].is_duplicated() & ~units[UNIT].is_first_distinct()
        crossed = (
            units.filter(units[UNIT].is_duplicated())
            .group_by(UNIT, maintain_order=True)
            .agg(pl.col(ARM).unique(maintain_order=True))
            .filter(pl.col(ARM).list.len() > 1)
        )
        if crossed.height:
            unit, its = crossed.row(0)
            raise UserError(
                f"{plan.unit}: {crossed.height:,} of {units[UNIT].n_unique():,} units are in several arms, the "
                f"first is {shown(unit)} in {' and '.join(shown(arm) for arm in its)}; a unit meets one arm, so "
                "take them out and ask how they came into both"
            )
        raise UserError(
            f"{plan.unit}: {repeated:,} of {units.height:,} rows repeat a unit, first in {_row(again)}; give one row a "
            "unit, summed over days"
        )
    for metric in plan.metrics:
        of = metric.metric
        values = units[of.numerator]
        if metric.kind == "proportion" and not values.drop_nulls().is_in([0.0, 1.0]).all():
            strange = values.filter(~values.is_in([0.0, 1.0]))[0]
            raise UserError(f"{of.numerator}: {strange:g} in a proportion; give 0 and 1, or kind: mean")
        for column in filter(None, (of.denominator, *(covariate.denominator for covariate in of.covariates))):
            least = units[column].min()
            if isinstance(least, float) and least < 0.0:
                raise UserError(f"{column}: {least:g} in a denominator; counts cannot be negative, mend the rows")
        if of.denominator is None and values.drop_nulls().n_unique() < 2:
            seen = values.drop_nulls()
            value = f"is {seen[0]:g}" if len(seen) else "is empty"
            raise UserError(
                f"{of.numerator}: every value {value}; nothing can be compared, drop the metric {metric.name}"
            )


def _check_named(field: str, given: Iterable[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UserError(f"{field}: {shown(name)} is no arm of the table{hint}; it has {', '.join(names)}")
