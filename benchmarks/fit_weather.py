"""Fit the shipped climates to daily weather series and say how well three years foretell the fourth.

The input is a CSV with the columns location, date, precipitation (mm), temp_max, temp_min (C), wind (m/s).
Without ``--write`` nothing but the figures is written, and they say whether the shipped file is what the fit
gives. Run from the repository's root:

    python benchmarks/fit_weather.py --csv ../shared/data/weather/weather_seattle_newyork.csv --write
"""

import sys
from pathlib import Path

# This folder is first on the path of a script, and its simulator.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Iterable
from datetime import date

import numpy as np
import polars as pl
import yaml

from benchmarks._bench import Case, arguments, finish, machine
from simulator.environment.weather import WET_MM, Climate, fit_climate, load_climates, simulate_weather

CSV = Path("../shared/data/weather/weather_seattle_newyork.csv")
CLIMATES = Path("simulator/environment/climates.yaml")
HELD_OUT_YEAR = 2015
SIMULATED_YEARS = 40
SOURCE = "vega-datasets (weather of Seattle and New York), drawn from NOAA, public domain"


def read_series(path: Path) -> dict[str, pl.DataFrame]:
    """Daily series by city name, ascending by date."""
    frame = pl.read_csv(path, try_parse_dates=True).sort("location", "date")
    return {str(name[0]): rows for name, rows in frame.group_by("location", maintain_order=True)}


def fit(name: str, rows: pl.DataFrame) -> Climate:
    """The climate of one city's rows."""
    readings = (rows[column].to_numpy() for column in ("precipitation", "temp_max", "temp_min", "wind"))
    return fit_climate(rows["date"].to_list(), *readings, name=name)


def year_figures(rain: np.ndarray, high: np.ndarray) -> dict[str, float]:
    """Figures of one year that the generator is not told directly."""
    wet = rain >= WET_MM
    begins, ends = np.sum(np.diff(wet.astype(int)) == 1), np.sum(np.diff(wet.astype(int)) == -1)
    angle = 2.0 * np.pi * np.arange(high.size) / 365.25
    season = np.stack([np.ones_like(angle), *(f(k * angle) for k in (1, 2) for f in (np.cos, np.sin))], axis=1)
    anomaly = high - season @ np.linalg.lstsq(season, high, rcond=None)[0]
    return {
        "wet_day_share": float(wet.mean()),
        "wet_spell_days": float(wet.sum() / (begins + wet[0])),
        "dry_spell_days": float((~wet).sum() / (ends + (not wet[0]))),
        "rain_mm": float(rain.sum()),
        "temp_max_mean": float(high.mean()),
        "temp_max_anomaly_lag1": float(np.corrcoef(anomaly[:-1], anomaly[1:])[0, 1]),
    }


def held_out_report(name: str, rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    """The held-out year beside simulated years of a climate fitted to the other years."""
    years = rows["date"].dt.year()
    climate = fit(name, rows.filter(years != HELD_OUT_YEAR))
    truth = rows.filter(years == HELD_OUT_YEAR)
    real = year_figures(truth["precipitation"].to_numpy(), truth["temp_max"].to_numpy())
    simulated = simulated_figures(climate)
    return {
        figure: {
            "real": real[figure],
            "simulated_low": float(np.quantile(values, 0.025)),
            "simulated_mean": float(np.mean(values)),
            "simulated_high": float(np.quantile(values, 0.975)),
        }
        for figure, values in simulated.items()
    }


UNITS = {
    "wet_day_share": "share of days",
    "wet_spell_days": "days",
    "dry_spell_days": "days",
    "rain_mm": "mm",
    "temp_max_mean": "C",
    "temp_max_anomaly_lag1": "correlation",
}


def cases_of(key: str, report: dict[str, dict[str, float]]) -> list[Case]:
    """A city's report as cases; how many of the real figures lie inside the simulated intervals comes last."""
    cases = [
        Case(f"{key}/{figure}", metric, value, UNITS[figure])
        for figure, values in report.items()
        for metric, value in values.items()
    ]
    inside = sum(v["simulated_low"] <= v["real"] <= v["simulated_high"] for v in report.values())
    return [*cases, Case(f"{key}/figures_inside", "real figures inside the 95% of simulated years", inside, "figures")]


def simulated_figures(climate: Climate) -> dict[str, list[float]]:
    """The figures of ``SIMULATED_YEARS`` independent years."""
    worlds: Iterable[dict[str, float]] = (
        year_figures(weather.precipitation[0], weather.temp_max[0])
        for weather in (
            simulate_weather([climate], date(HELD_OUT_YEAR, 1, 1), 365, seed) for seed in range(SIMULATED_YEARS)
        )
    )
    figures: dict[str, list[float]] = {}
    for world in worlds:
        for figure, value in world.items():
            figures.setdefault(figure, []).append(value)
    return figures


def write_climates(climates: dict[str, Climate], first: date, last: date) -> None:
    """Write ``climates.yaml``."""
    head = (
        f"# Parameters of simulator.environment.weather.Climate, written by benchmarks/fit_weather.py.\n"
        f"# Source of the daily series: {SOURCE}.\n"
        f"# Fitted to {first} - {last}. Months run from January; units are mm, C and m/s.\n"
    )
    body = yaml.safe_dump(
        {
            "source": SOURCE,
            "years": [first.year, last.year],
            "cities": {key: climate.as_dict() for key, climate in climates.items()},
        },
        sort_keys=False,
        width=110,
        default_flow_style=None,
    )
    CLIMATES.write_text(head + body, encoding="utf-8")


def main() -> int:
    """Run the fit from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--csv", type=Path, default=CSV)
    parser.add_argument("--write", action="store_true", help=f"write {CLIMATES}")
    options = parser.parse_args()
    if not options.csv.exists():
        print(f"--csv: {options.csv} (no such file; nothing fitted)")
        return 0 if options.csv == CSV else 2

    series = read_series(options.csv)
    climates = {name.lower().replace(" ", "_"): fit(name, rows) for name, rows in sorted(series.items())}
    if options.write:
        dates: list[date] = pl.concat([rows["date"] for rows in series.values()]).to_list()
        write_climates(climates, min(dates), max(dates))
    cases = [
        Case("shipped_file", "is what this fit gives (1 = yes)", float(climates == load_climates()), "", target=1.0)
    ]
    for key, climate in climates.items():
        cases += cases_of(key, held_out_report(climate.name, series[climate.name]))
    title = f"fit_weather: {HELD_OUT_YEAR} held out, {SIMULATED_YEARS} simulated years"
    finish("fit_weather", cases, machine(), options.json, title)
    return 0


if __name__ == "__main__":
    sys.exit(main())
