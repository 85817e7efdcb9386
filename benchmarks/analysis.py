"""How long a table of a million units takes to analyse, and how much memory.

Five metrics: a proportion, two means with CUPED, two ratios; of the two means quantiles too. Each case runs in a fresh
process, so that its peak memory is its own: reading and analysing alone, as CPU-seconds of all threads and as elapsed
seconds, and the whole command with its imports, the report and the manifest. The table is drawn from a fixed seed. Run
from the repository's root:

    python benchmarks/analysis.py --json benchmarks/results/analysis.json
"""

import sys
from pathlib import Path

# This folder is first on the path of a script, and its simulator.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
import os
import subprocess
import tempfile

import numpy as np
import polars as pl

from benchmarks._bench import Case, arguments, finish, machine

ROOT = Path(__file__).resolve().parent.parent
ROWS = 1_000_000
RUNS = 3
SECONDS, GIBIBYTE = 2.0, 1.0
PLAN = """
unit: user
variant: variant
control: A
metrics:
  - {name: ctr, kind: ratio, numerator: clicks, denominator: impressions}
  - {name: cvr, kind: ratio, numerator: orders, denominator: clicks}
  - {name: spend, kind: mean, column: spend, covariate: spend_before, cap: 0.999}
  - {name: sessions, kind: mean, column: sessions, covariate: sessions_before}
  - {name: converted, kind: proportion, column: converted}
"""
ALONE = """
import json, resource, sys, time
from pathlib import Path
from experiments.plan import load_plan
from experiments.table_analysis import table_results
from experiments.unit_table import read_units
plan = load_plan(Path(sys.argv[2]))
cpu, wall = time.process_time(), time.perf_counter()
results = table_results(read_units(Path(sys.argv[1]), plan), plan, "bench", "")
spent = time.process_time() - cpu, time.perf_counter() - wall
assert len(results["comparisons"]) == 5 and all(row["p_value"] is not None for row in results["comparisons"])
print(json.dumps([*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""
WHOLE = """
import json, os, resource, sys, time
sys.argv = ["testbed", "analyze", sys.argv[1], "--plan", sys.argv[2], "--out", sys.argv[3], "--quiet"]
from experiments.cli import app
wall = time.perf_counter()
app(standalone_mode=False)
spent = time.process_time(), time.perf_counter() - wall
print(json.dumps([*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""


def units(rows: int) -> pl.DataFrame:
    """Users who differ in activity and taste, half of them with 1% more clicks."""
    rng = np.random.default_rng(20_260)
    activity, taste = rng.gamma(2.0, 2.0, rows), rng.beta(2.0, 20.0, rows)
    treated = rng.random(rows) < 0.5
    sessions, sessions_before = (1 + rng.poisson(activity) for _ in range(2))
    impressions = 10 * sessions
    clicks = rng.binomial(impressions, np.minimum(taste * (1.0 + 0.01 * treated), 1.0))
    orders = rng.binomial(clicks, 0.1)
    amount = rng.lognormal(3.0, 1.0, (2, rows))
    return pl.DataFrame(
        {
            "user": [f"u{number:07d}" for number in range(rows)],
            "variant": np.where(treated, "B", "A"),
            "clicks": clicks,
            "impressions": impressions,
            "orders": orders,
            "spend": np.round(orders * amount[0], 2),
            "spend_before": np.round(rng.binomial(10 * sessions_before, 0.1 * taste) * amount[1], 2),
            "sessions": sessions,
            "sessions_before": sessions_before,
            "converted": orders > 0,
        }
    )


def measured(script: str, *places: Path) -> tuple[float, float, float]:
    """CPU-seconds, elapsed seconds and peak GiB of a script in a process of its own: the quickest of several."""
    runs = []
    for _ in range(RUNS):
        answer = subprocess.run(  # noqa: S603 - this interpreter on our own text
            [sys.executable, "-c", script, *map(str, places)],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        runs.append(json.loads(answer.stdout.strip().splitlines()[-1]))
    cpu, wall, memory = min(runs)
    return cpu, wall, memory


def main() -> None:
    """Measure, print, and write if asked to."""
    options = arguments(__doc__).parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        table, plan = units(ROWS), Path(folder, "plan.yaml")
        plan.write_text(PLAN, encoding="utf-8")
        table.write_parquet(Path(folder, "units.parquet"))
        table.write_csv(Path(folder, "units.csv"))
        del table
        for kind in ("parquet", "csv"):
            file = Path(folder, f"units.{kind}")
            cpu, wall, memory = measured(ALONE, file, plan)
            cases += [
                Case(f"{kind}, reading and analysing", "CPU-seconds", cpu, "s", SECONDS, at_most=True),
                Case(f"{kind}, reading and analysing", "elapsed", wall, "s"),
                Case(
                    f"{kind}, reading and analysing",
                    "peak memory of the process",
                    memory,
                    "GiB",
                    GIBIBYTE,
                    at_most=True,
                ),
            ]
            out = Path(folder, kind)
            cpu, wall, memory = measured(WHOLE + "import shutil; shutil.rmtree(sys.argv[-2])", file, plan, out)
            cases += [
                Case(f"{kind}, whole command", "CPU-seconds", cpu, "s"),
                Case(f"{kind}, whole command", "peak memory of the process", memory, "GiB", GIBIBYTE, at_most=True),
            ]
    finish("analysis", cases, machine(), options.json, f"A table of {ROWS:,} units, 5 metrics")


if __name__ == "__main__":
    main()
