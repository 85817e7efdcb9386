"""What every benchmark shares: its command line, its clock, the table it prints and the JSON it leaves.

A benchmark leaves ``{"schema": 1, "name", "machine", "cases"}``; each case is one number with its unit, and with a
target where there is one. Times are CPU-seconds of the process where that is possible, since machines are shared.
This module knows nothing of what is measured.
"""

import argparse
import gc
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

from benchmarks._files import write_whole

SCHEMA: Final = 1
PACKAGES: Final = ("numpy", "numba", "scipy", "polars", "lightgbm", "implicit", "simpy")


@dataclass(frozen=True)
class Case:
    """One number.

    Attributes:
        case: what was run.
        metric: what of it was measured.
        value: the number, in ``unit``.
        unit: of value and target.
        target: what is wanted, if anything is.
        at_most: whether the value should stay under the target instead of reaching it.
    """

    case: str
    metric: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def to_json(self) -> dict[str, Any]:
        """The case as ``cases`` of the JSON file hold it."""
        return {
            "case": self.case,
            "metric": self.metric,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "met": self.met,
        }


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows ``--json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    return parser


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU-seconds of all threads of this process for one call, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        begun = time.process_time()
        work()
        return time.process_time() - begun
    finally:
        gc.enable()


def machine() -> dict[str, Any]:
    """Where the figures come from: processor, system, versions, and how busy the machine was with anything."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def finish(
    name: str, cases: Sequence[Case], where: dict[str, Any], file: Path | None, title: str | None = None
) -> None:
    """Print the cases as a table, and write them if a file is wanted."""
    console = wide_console()
    table = Table("case", "metric", right("value"), "unit", right("target"), "met", title=title or name)
    for case in cases:
        target = "" if case.target is None else f"{'≤' if case.at_most else '≥'} {number(case.target)}"
        table.add_row(case.case, case.metric, number(case.value), case.unit, target, verdict(case.met))
    console.print(table)
    print_machine(console, where)
    if file is not None:
        write(name, cases, where, file)


def wide_console() -> Console:
    """As wide as the terminal; into a file or pipe, wide enough for a table."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def right(heading: str) -> Column:
    """A column of numbers."""
    return Column(heading, justify="right")


def print_machine(console: Console, where: dict[str, Any]) -> None:
    """One line saying where the figures come from."""
    console.print(", ".join(f"{key} {value}" for key, value in where.items()), markup=False, highlight=False)


def write(name: str, cases: Sequence[Case], where: dict[str, Any], file: Path) -> None:
    """Write the JSON file whole, or not at all."""
    cases_of = [case.to_json() for case in cases]
    write_whole(file, {"schema": SCHEMA, "name": name, "machine": where, "cases": cases_of})


def held(file: Path) -> list[Case]:
    """The cases that a file holds; none if it is not there."""
    if not file.exists():
        return []
    cases = []
    for case in json.loads(file.read_text(encoding="utf-8"))["cases"]:
        value, target = case["value"], case["target"]
        at_most = target is not None and case["met"] == (value <= target)
        cases.append(Case(case["case"], case["metric"], value, case["unit"], target, at_most))
    return cases


def number(value: float) -> str:
    """A number with four significant digits and no exponent where that reads well."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def verdict(met: bool | None) -> str:
    """Yes, no or nothing."""
    return "" if met is None else "yes" if met else "no"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
