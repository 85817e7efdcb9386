"""Climates of cities that are not shipped: fitted to a CSV of daily weather, written to a file that configs name.

Knows tables and YAML. How a climate is fitted, ``simulator.environment.weather`` knows.
"""

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import yaml

from experiments.atomic import replacing
from experiments.errors import UserError
from experiments.loading import read_mapping
from simulator.environment.weather import WET_MM, Climate, fit_climate, load_climates, simulate_weather

COLUMNS: Final = ("location", "date", "precipitation", "temp_max", "temp_min", "wind")
_NUMBERS: Final = COLUMNS[2:]
_YEARS: Final = 30
_FORM: Final = f"give a CSV with the columns {', '.join(COLUMNS)} (mm, C, C, m/s), one row a day"


def fit_climates(path: Path) -> dict[str, tuple[Climate, pl.DataFrame]]:
    """The climate of every place of a CSV, by key, with the rows it was fitted to.

    Args:
        path: a CSV with the columns ``COLUMNS``, one row for each place and day, at least a year for each place.

    Raises:
        UserError: the file cannot be read or fitted to, or two places would have one key.
    """
    try:
        rows = pl.read_csv(path, schema_overrides={"location": pl.String, "date": pl.String})
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_FORM}") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]}); {_FORM}") from error
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; {_FORM}")
    typed = rows.select(
        "location",
        pl.col("date").str.slice(0, 10).str.to_date(strict=False),
        *(pl.col(name).cast(pl.Float64, strict=False) for name in _NUMBERS),
    )
    bad = typed.select(pl.any_horizontal(pl.all().is_null())).to_series()
    if bad.any():
        place = int(bad.arg_max() or 0)
        raise UserError(f"{path}:{place + 2}: a value is missing or no number or date; leave the row out, or mend it")
    found: dict[str, tuple[Climate, pl.DataFrame]] = {}
    for (name,), series in typed.sort("location", "date").group_by("location", maintain_order=True):
        key = key_of(str(name))
        if not key or key in found:
            raise UserError(f"{path}: the place {name!r} has no name of its own as a key ({key!r}); rename it")
        readings = (series[column].to_numpy() for column in _NUMBERS)
        try:
            climate = fit_climate(series["date"].to_list(), *readings, name=str(name))
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
        found[key] = (climate, series)
    if not found:
        raise UserError(f"{path}: no rows; {_FORM}")
    return found


def key_of(name: str) -> str:
    """What configs call a place: small letters, digits and underscores, as ``new_york`` for New York."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def write_climates(out: Path, climates: Mapping[str, Climate], source: Path) -> None:
    """Write a file that ``world.climates`` can name, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    head = (
        f"# Climates fitted by `testbed climate` to {source.name!r}. In a config:  world.climates: {out.name}\n"
        "# Months run from January; units are mm, C and m/s.\n"
    )
    body = yaml.safe_dump(
        {"climates": {key: climate.as_dict() for key, climate in climates.items()}},
        sort_keys=False,
        width=110,
        default_flow_style=None,
        allow_unicode=True,
    )
    try:
        with replacing(out) as temporary:
            temporary.write_text(head + body, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror}); choose another file") from error


def holds_climates(path: Path) -> bool:
    """Whether a file is such as ``write_climates`` writes."""
    try:
        return list(read_mapping(path)) == ["climates"]
    except UserError:
        return False


def told_of(key: str, climate: Climate, series: pl.DataFrame) -> str:
    """A line on a fit: its days, and real years beside simulated ones."""
    first, last = (str(series["date"].min()), str(series["date"].max()))
    weather = simulate_weather([climate], date.fromisoformat(first), _YEARS * 365, seed=0)
    wet, drawn_wet = (series["precipitation"].to_numpy() >= WET_MM).mean(), (weather.precipitation >= WET_MM).mean()
    warm, drawn_warm = float(series["temp_max"].to_numpy().mean()), float(np.mean(weather.temp_max))
    taken = " (shipped under the same name: rename the place)" if key in load_climates() else ""
    return (
        f"{key}: {climate.name}, {len(series):,} days of {first} to {last}{taken}; wet days {wet:.1%}, of {_YEARS} "
        f"simulated years {drawn_wet:.1%}; mean maximum {warm:.1f} C, simulated {drawn_warm:.1f} C"
    )
