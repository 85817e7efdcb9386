"""The shipped configs from command to report: what they find, how long they take, how much memory they need.

Each config is run by the ``testbed`` command, into a temporary folder, with as many workers as there are cores. Seconds
are wall-clock time from the start of the command to its end: libraries loaded, kernels read from the cache, the report
written; the quickstart is run before with an empty cache too, as on somebody's first day. CPU-seconds are those of the
process and its workers. Memory is the highest sum of what they held at one moment (resident set sizes, looked at 50
times a second on Linux): pages shared by several count once for each. The system's own ``ru_maxrss`` will not do: a
worker inherits that of the process that started it.

What the experiments find depends on config and code alone; seconds depend on the machine and on who else uses it.
Answers of language models that the prompt cache holds are not computed again: ``testbed cache clear`` before, for what
a first day takes. Configs whose data file is missing are skipped, and said to be. Run from the repository's root:

    python benchmarks/experiments.py --json benchmarks/results/experiments.json
"""

import sys
from pathlib import Path

# This folder is first on the path of a script, and its experiments.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks._bench import Case, arguments, held, machine, number, print_machine, right, verdict, wide_console, write

CONFIGS: Final = Path(__file__).resolve().parent.parent / "experiments/configs"
NAMES: Final = (
    "quickstart",
    "contexts_off",
    "aa",
    "three_arms",
    "feed",
    "allocation",
    "demo",
    "student",
    "compression",
    "expert_count",
    "v1_vs_v2_item",
    "v1_vs_v2_feed",
    "distilled",
    "intent",
    "online_retail",
    "online_retail_replay",
    "online_retail_intent",
)
FIRST: Final = "quickstart"
"""What somebody new runs first: it is run without compiled kernels as well."""

BESIDE_PRIMARY: Final = ("ner", "tv")
TARGETS: Final = {
    "quickstart": (90.0, 2.0),
    "demo": (300.0, None),
    "distilled": (600.0, None),
    "online_retail_intent": (1800.0, None),
}
"""Seconds and GiB at the most, by config."""

GIB: Final = 1 << 30
SAMPLE_SECONDS: Final = 0.02


class Cost(NamedTuple):
    """What a run took: seconds, CPU-seconds, GiB."""

    seconds: float
    cpu: float
    memory: float


def measure(config: Path, command: str, out: Path, workers: int, kernels: Path | None = None) -> Cost:
    """Run a config by the ``testbed`` command and wait for its end.

    Args:
        config: what to run.
        command: "run" or "evaluate".
        out: the run directory.
        workers: processes.
        kernels: where compiled kernels are kept; the usual place if None.

    Raises:
        RuntimeError: if the command fails; it has said why on standard error.
    """
    line: list[str | Path] = [
        Path(sys.executable).with_name("testbed"),
        command,
        config,
        "--out",
        out,
        "--workers",
        str(workers),
    ]
    begun = time.monotonic()
    surroundings = os.environ | ({} if kernels is None else {"NUMBA_CACHE_DIR": str(kernels)})
    process = subprocess.Popen([*line, "--quiet"], stdout=subprocess.DEVNULL, env=surroundings)  # noqa: S603 - ours
    memory, ended = 0, 0
    while not ended:
        memory = max(memory, sum(resident(pid) for pid in family(process.pid)))
        time.sleep(SAMPLE_SECONDS)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{config}: testbed {command} ended with exit code {process.returncode}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, memory / GIB)


def family(pid: int) -> list[int]:
    """A process and all that it started, directly or not; empty once it has ended."""
    try:
        children = [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in _words(file)]
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(child))]


def resident(pid: int) -> int:
    """Bytes of memory that a process holds, 0 once it has ended."""
    try:
        return int(_words(Path(f"/proc/{pid}/statm"))[1]) * resource.getpagesize()
    except OSError:
        return 0


def _words(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").split()


def missing_file(config: Path, world: Mapping[str, Any]) -> str | None:
    """The data file that a config names, if it is neither there from here nor beside the config."""
    named = world.get("path")
    if named is None or Path(named).is_file() or (config.parent / named).is_file():
        return None
    return str(named)


COSTS: Final = ("first_seconds", "seconds", "cpu_seconds", "memory")
"""What a run takes, by the end of its case's name."""


def cost_cases(name: str, cost: Cost) -> list[Case]:
    """Seconds, CPU-seconds and memory of a run."""
    seconds, memory = TARGETS.get(name, (None, None))
    return [
        Case(f"{name}/seconds", "wall-clock time of the command", cost.seconds, "s", seconds, at_most=True),
        Case(f"{name}/cpu_seconds", "CPU time of the command and its workers", cost.cpu, "CPU-s"),
        Case(f"{name}/memory", "peak of resident memory, all processes", cost.memory, "GiB", memory, at_most=True),
    ]


def first_case(name: str, cost: Cost) -> Case:
    """Seconds of a run that has to compile its kernels."""
    metric = "wall-clock time of the first run, kernels compiled"
    return Case(f"{name}/first_seconds", metric, cost.seconds, "s", TARGETS[name][0], at_most=True)


def chosen_comparisons(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The comparisons of the primary metric, and of those that are always looked at beside it."""
    wanted = dict.fromkeys([results["analysis"]["primary"], *BESIDE_PRIMARY])
    return [one for metric in wanted for one in results["comparisons"] if one["metric"] == metric]


def experiment_cases(name: str, results: Mapping[str, Any]) -> list[Case]:
    """Lift, interval, adjusted p-value, true lift and coverage; what could not be tested is left out."""
    several = len(results["arms"]) > 2
    cases = []
    for one in chosen_comparisons(results):
        low, high = one["lift_ci"] or (None, None)
        truth = one["truth"] or {}
        place = "/".join([name, *([one["treatment"]] if several else []), one["metric"]])
        who = f"{one['metric']}, {one['treatment']} against {one['control']}"
        for figure, value, unit in (
            ("lift", one["lift"], "ratio - 1"),
            ("lift_low", low, "ratio - 1"),
            ("lift_high", high, "ratio - 1"),
            ("p_adjusted", one["p_adjusted"], "probability"),
            ("true_lift", truth.get("lift"), "ratio - 1"),
            ("covered", truth.get("covered"), "1 = yes, 0 = no"),
        ):
            if value is not None:
                cases.append(Case(f"{place}/{figure}", f"{figure} of {who}", float(value), unit))
    return cases


def evaluation_cases(name: str, evaluation: Mapping[str, Any]) -> list[Case]:
    """Value and interval of each policy and metric; by stratum for hits only."""
    cases = []
    for policy, metrics in evaluation["policies"].items():
        for metric, found in metrics.items():
            for part in ("", *(evaluation["strata"] if metric.startswith("hr@") else ())):
                here = (found or {}).get(part) if part else found
                if here is None or here["value"] is None:
                    continue
                figures = {"value": here["value"], "low": here["ci"][0], "high": here["ci"][1]}
                place = f"{name}/{policy}/{metric}" + (f"/{part}" if part else "")
                cases += [
                    Case(f"{place}/{figure}", f"{figure} of {metric}", value, "mean over visits")
                    for figure, value in figures.items()
                ]
    return cases


def thinking_cases(name: str, results: Mapping[str, Any]) -> list[Case]:
    """What each arm's plan reads and writes for an executed job: a function of config and code alone."""
    cases = []
    for arm, thinking in (results["thinking"] or {}).items():
        jobs = max(sum(day["executed"] for day in thinking["refreshes"]), 1)
        roles = thinking["ledger"]["roles"].values()
        for key, unit in (
            ("prompt_tokens", "tokens"),
            ("cached_tokens", "tokens"),
            ("generated_tokens", "tokens"),
            ("flops", "FLOP"),
        ):
            value = sum(role[key] for role in roles) / jobs
            cases.append(Case(f"{name}/{arm}/{key}", f"{key} of the plan, for a user refreshed", value, unit))
    return cases


def comparison_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row for each comparison of the closed-loop runs."""
    table = Table("config", "metric", "treatment / control", title="closed loop")
    for heading in ("lift", "interval", "p adj.", "true lift", "covered"):
        table.add_column(heading, justify="right")
    for name, results in found.items():
        for one in chosen_comparisons(results):
            truth = one["truth"] or {}
            p = one["p_adjusted"]
            table.add_row(
                name,
                one["metric"],
                f"{one['treatment']} / {one['control']}",
                percent(one["lift"]),
                " to ".join(percent(end) for end in one["lift_ci"] or ()),
                "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}",
                percent(truth.get("lift")),
                verdict(truth.get("covered")),
            )
        table.add_section()
    return table


def evaluation_table(name: str, evaluation: Mapping[str, Any]) -> Table:
    """One row for each policy of an open-loop run, one column for each metric."""
    policies = evaluation["policies"]
    metrics = list(next(iter(policies.values())))
    table = Table("policy", *(right(metric) for metric in metrics), title=f"open loop: {name}")
    for policy, values in policies.items():
        table.add_row(policy, *(_interval(values[metric]) for metric in metrics))
    return table


def _interval(found: Mapping[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return ""
    return f"{found['value']:.4f} ({found['ci'][0]:.4f} to {found['ci'][1]:.4f})"


def cost_table(cases: Sequence[Case]) -> Table:
    """What the runs took."""
    table = Table("case", right("value"), "unit", right("target"), "met", title="cost")
    for case in cases:
        target = "" if case.target is None else f"≤ {number(case.target)}"
        table.add_row(case.case, number(case.value), case.unit, target, verdict(case.met))
    return table


def percent(value: float | None) -> str:
    """A ratio's distance from 1, with its sign."""
    return "" if value is None else f"{value:+.1%}"


def main() -> None:
    """Run, print, write."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--only", metavar="NAME", choices=NAMES, help=f"one of {', '.join(NAMES)}; FILE keeps the others"
    )
    parser.add_argument(
        "--finished",
        metavar="DIR",
        type=Path,
        help="with --only: a finished run, read in place of one; costs stay as FILE has them",
    )
    options = parser.parse_args()
    if options.finished is not None and options.only is None:
        parser.error("--finished: needs --only NAME")
    where, console, workers = machine(), wide_console(), len(os.sched_getaffinity(0))
    costs: list[Case] = []
    cases: list[Case] = []
    experiments: dict[str, Any] = {}
    evaluations: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES if options.only is None else (options.only,):
            config, out = CONFIGS / f"{name}.yaml", Path(folder) / name
            said = yaml.safe_load(config.read_text(encoding="utf-8"))
            missing = missing_file(config, said["world"])
            if missing is not None:
                console.print(f"{name}: skipped, {missing} is missing", markup=False, highlight=False)
                continue
            open_loop = said.get("kind") == "evaluation"
            command = "evaluate" if open_loop else "run"
            if options.finished is not None:
                out = options.finished
            elif name == FIRST:
                first = measure(config, command, out.with_name("first"), workers, Path(folder) / "kernels")
                costs.append(first_case(name, first))
            if options.finished is None:
                costs += cost_cases(name, measure(config, command, out, workers))
            file = out / ("evaluation.json" if open_loop else "results.json")
            found = json.loads(file.read_text(encoding="utf-8"))
            (evaluations if open_loop else experiments)[name] = found
            cases += evaluation_cases(name, found) if open_loop else experiment_cases(name, found)
            cases += [] if open_loop else thinking_cases(name, found)
    show(console, costs, experiments, evaluations)
    print_machine(console, where)
    if options.json is not None:
        kept = [] if options.only is None else others(options.json, options.only, options.finished is not None)
        write("experiments", kept + costs + cases, where, options.json)


def others(file: Path, name: str, costs: bool) -> list[Case]:
    """What a file holds of the configs that were not run this time, and of that one its ``costs`` where they stay."""
    stay = {f"{name}/{cost}" for cost in COSTS} if costs else set()
    return [case for case in held(file) if case.case.split("/")[0] != name or case.case in stay]


def show(
    console: Console, costs: Sequence[Case], experiments: Mapping[str, Any], evaluations: Mapping[str, Any]
) -> None:
    """Print what there is to print."""
    if experiments:
        console.print(comparison_table(experiments))
    for name, evaluation in evaluations.items():
        console.print(evaluation_table(name, evaluation))
    if costs:
        console.print(cost_table(costs))


if __name__ == "__main__":
    main()
