"""Fit the shipped profiles of visits and the shares of actions to the Taobao counts, and say whether they are shipped.

The input is a folder with hourly_metrics.csv, daily_metrics.csv and behavior_transition_matrix.csv, counts over the
Tianchi "User Behavior Data from Taobao". Without ``--write`` nothing but the figures is written, and they say whether
the shipped files are what the fit gives. Run from the repository's root:

    python benchmarks/fit_profiles.py --tables ../shared/data/taobao_tables --write
"""

import sys
from pathlib import Path

# This folder is first on the path of a script, and its simulator.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import textwrap

import numpy as np
import polars as pl

from benchmarks._bench import Case, arguments, finish, machine
from simulator.datasets.taobao_shares import ACTIONS, TaobaoShares, load_taobao_shares, shares_of_tables

TABLES = Path("../shared/data/taobao_tables")
PROFILES = Path("simulator/profiles.yaml")
SHARES = Path("simulator/datasets/taobao_shares.yaml")
SOURCE = 'Tianchi, "User Behavior Data from Taobao" (100,095,182 actions of 987,991 users, 25 Nov - 3 Dec 2017)'


def read_tables(folder: Path) -> TaobaoShares:
    """The shares of the tables of a folder."""
    hourly, daily, pairs = (
        pl.read_csv(folder / f"{name}.csv")
        for name in ("hourly_metrics", "daily_metrics", "behavior_transition_matrix")
    )
    return shares_of_tables(
        hourly.sort("event_hour").to_dict(as_series=False),
        daily.sort("event_date").drop("event_date").to_dict(as_series=False),
        {(one, other): count for one, other, count in pairs.iter_rows()},
    )


def profiles_file(shares: TaobaoShares) -> str:
    """What ``profiles.yaml`` holds: intensities with mean 1, to three decimals."""
    hour, weekday = shares.views_by_hour * 24, shares.views_by_weekday * 7
    return (
        "# Relative intensity of visits by hour of day and by weekday (Monday first).\n"
        f"# Source: {SOURCE};\n"
        "# page views, by hour over all days and by weekday over the week 25 Nov - 1 Dec, divided by their means.\n"
        "# The two last days of that log (a weekend, 27% above the other) precede a festival and are not in the week.\n"
        "# Written by benchmarks/fit_profiles.py.\n"
        f"hour: {_list(hour, 3, 7)}\n"
        f"weekday: {_list(weekday, 3, 10)}\n"
    )


def shares_file(shares: TaobaoShares) -> str:
    """What ``taobao_shares.yaml`` holds."""
    rows = "\n".join(
        f"  {one}: {{ " + ", ".join(f"{other}: {value:.8f}" for other, value in zip(ACTIONS, row, strict=True)) + " }"
        for one, row in zip(ACTIONS, shares.transitions, strict=True)
    )
    return (
        f"# Shares of actions. Source: {SOURCE}.\n"
        "# Written by benchmarks/fit_profiles.py; simulator/datasets/taobao_shares.py says what each is.\n"
        f"views_by_hour: {_list(shares.views_by_hour, 6, 16)}\n"
        f"orders_by_hour: {_list(shares.orders_by_hour, 6, 17)}\n"
        f"views_by_weekday: {_list(shares.views_by_weekday, 6, 19)}\n"
        f"transitions: # of two actions in a row; a sample of 991,937 pairs\n{rows}\n"
        f"orders_a_view: {shares.orders_a_view:.6f}\n"
        f"buyers: {shares.buyers:.6f}\n"
    )


def _list(values: np.ndarray, decimals: int, indent: int) -> str:
    words = ", ".join(f"{value:.{decimals}f}" for value in values)
    return "[" + textwrap.fill(words, 112 - indent, subsequent_indent=" " * indent).strip() + "]"


def cases_of(shares: TaobaoShares) -> list[Case]:
    """Whether each file is what the fit gives, and what follows an action."""
    shipped = load_taobao_shares()
    apart = max(float(np.abs(a - b).max()) for a, b in zip(shares, shipped, strict=True))
    cases = [
        Case("profiles.yaml", "is what this fit gives (1 = yes)", _same(PROFILES, profiles_file(shares)), "", 1.0),
        Case("taobao_shares.yaml", "is what this fit gives (1 = yes)", _same(SHARES, shares_file(shares)), "", 1.0),
        Case("taobao_shares.yaml", "largest gap to the counts", apart, "share", 1e-6, at_most=True),
    ]
    for one, row in zip(ACTIONS, shares.transitions, strict=True):
        cases += [
            Case(f"after {one}", other, float(value / row.sum()), "share")
            for other, value in zip(ACTIONS, row, strict=True)
        ]
    return [
        *cases,
        Case("orders", "for one page view", shares.orders_a_view, "ratio"),
        Case("buyers", "of the users active on a day", shares.buyers, "share"),
    ]


def _same(path: Path, text: str) -> float:
    return float(path.exists() and path.read_text(encoding="utf-8") == text)


def main() -> int:
    """Run the fit from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--write", action="store_true", help=f"write {PROFILES} and {SHARES}")
    options = parser.parse_args()
    if not options.tables.is_dir():
        print(f"--tables: {options.tables} (no such folder; nothing fitted)")
        return 0 if options.tables == TABLES else 2
    shares = read_tables(options.tables)
    if options.write:
        PROFILES.write_text(profiles_file(shares), encoding="utf-8")
        SHARES.write_text(shares_file(shares), encoding="utf-8")
    finish("fit_profiles", cases_of(shares), machine(), options.json, "fit_profiles: Taobao, late 2017")
    return 0


if __name__ == "__main__":
    sys.exit(main())
