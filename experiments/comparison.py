"""Several runs beside each other: their effects in one table, and what forbids comparing them.

Reads run directories and computes no estimate: what a row says is what its run's results say. Does not know how it is
shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from experiments.errors import UserError
from experiments.report import few_units, words
from experiments.run_directory import MANIFEST, RESULTS, RunDirectory

SCHEMA: Final = 1
RESULTS_SCHEMA: Final = 2
POPULATION: Final = ("world", "horizon", "scenario", "page", "traffic")
"""Parts of a config that decide who comes, when, and what they meet; with the seed they fix every draw."""
READING: Final = ("alpha", "cuped", "correction")
"""Keys of ``analysis`` that decide what an interval and an adjusted p mean."""
MOST_SHOWN: Final = 3
_GIGA: Final = 1e9


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        label: what it is called here, different for each.
        config: as it was resolved.
        results: the contents of ``results.json``.
        manifest: the contents of ``manifest.json``.
    """

    label: str
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    manifest: Mapping[str, Any]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in these folders, in this order.

    Raises:
        UserError: if a folder holds no finished experiment that this version can read, or is given twice.
    """
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise UserError(f"{path}: given twice; name each run once")
        seen[path.resolve()] = path
    runs = []
    for path, label in zip(paths, _labels(list(seen)), strict=True):
        directory = RunDirectory.existing(path)
        if not (path / RESULTS).is_file():
            raise UserError(f"{path}: holds no experiment; give folders that `testbed run` has written")
        results = directory.read_results()
        if results.get("schema") != RESULTS_SCHEMA:
            raise UserError(
                f"{path / RESULTS}: schema {results.get('schema')!r} (this version reads {RESULTS_SCHEMA}); run again"
            )
        runs.append(Run(label, directory.config, results, directory.read_results(MANIFEST)))
    return runs


def compare_runs(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything that a comparison shows.

    Returns:
        ``runs`` (what each is), ``metrics`` by name, ``rows`` (a metric of an arm of a run each), ``costs``, what the
        runs ``share``, ``cautions`` in words, and ``chart``: whether effects of all runs may stand in one figure.

    Raises:
        UserError: if the runs have no metric in common, or count money in different currencies.
    """
    currencies = {str(run.results["currency"]): run.label for run in runs}
    if len(currencies) > 1:
        each = ", ".join(f"{label} in {currency}" for currency, label in currencies.items())
        raise UserError(f"currency: {each}; compare runs that count money in one currency")
    common = set.intersection(*(set(run.results["metrics"]) for run in runs))
    if not common:
        each = "; ".join(f"{run.label}: {', '.join(run.results['metrics'])}" for run in runs)
        raise UserError(f"metrics: the runs have none in common ({each}); run again with a shared analysis.metrics")
    names = list(dict.fromkeys(name for run in runs for name in run.results["analysis"]["metrics"]))
    same, cautions = _judge(runs)
    return {
        "schema": SCHEMA,
        "currency": next(iter(currencies)),
        "alpha": [run.results["analysis"]["alpha"] for run in runs],
        "same": same,
        "cautions": cautions,
        "primary": next((name for name in names if name == runs[0].results["analysis"]["primary"]), names[0]),
        "metrics": {
            name: next(run.results["metrics"][name] for run in runs if name in run.results["metrics"]) for name in names
        },
        "runs": [_identity(run) for run in runs],
        "rows": [row for name in names for run in runs for row in _rows(run, name)],
        "costs": {run.label: _costs(run.results) for run in runs},
    }


def differences(runs: Sequence[Run], parts: Sequence[str]) -> list[str]:
    """Keys of these parts of the config that differ between runs, each with its values, as ``world.users (300, 500)``.

    Keys that only one side has, as those of another kind of world, count too.
    """
    flat = [dict(_flatten({part: run.config.get(part) for part in parts})) for run in runs]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    found = []
    for key in keys:
        values = [each.get(key, words.NOTHING) for each in flat]
        if any(value != values[0] for value in values):
            found.append(f"{key} ({', '.join(dict.fromkeys(str(value) for value in values))})")
    return found


def _labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    for depth in range(1, max((len(path.parts) for path in paths), default=1)):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _judge(runs: Sequence[Run]) -> tuple[dict[str, bool], list[str]]:
    """What the runs share, and what a reader must know before comparing them."""
    population, seeds = differences(runs, POPULATION), differences(runs, ("seed",))
    controls = {run.label: _control(run) for run in runs}
    same = {
        "population": not population,
        "seed": not seeds,
        "control": all(each == controls[runs[0].label] for each in controls.values()),
    }
    cautions = []
    if population:
        cautions.append(
            f"The runs play different populations: {_some([*population, *seeds])} differ. Their effects, and their "
            "truths, belong to different worlds and cannot be held against each other; each holds within its own run."
        )
    elif seeds:
        cautions.append(
            f"The {seeds[0]} differs: the same kind of world with other users and draws. Effects compare as those of "
            "independent experiments; truths are those of different users."
        )
    elif len(runs) > 1:
        cautions.append(
            "World, horizon and seed are the same: every run plays the same users on the same draws, so true effects "
            "can be held against each other directly."
        )
    if not same["control"]:
        each = "; ".join(f"{label}: {policy}" for label, (policy, _) in controls.items())
        cautions.append(f"The controls differ ({each}): each effect is over its own run's control.")
    salts = {(run.results["name"], str({a: x["share"] for a, x in run.results["arms"].items()})) for run in runs}
    if len(salts) > 1 and not population and not seeds:
        cautions.append(
            "Names or shares of the runs differ, so other users fell on the arms: estimates rest on different "
            "randomisations of the same users."
        )
    units = {run.label: run.config.get("assignment", {}).get("unit", "user") for run in runs}
    if len(set(units.values())) > 1:
        each = ", ".join(f"{label} by {unit}" for label, unit in units.items())
        cautions.append(f"The runs randomised different units ({each}): their errors and powers are not of one design.")
    reading = [key for key in READING if len({str(run.results["analysis"].get(key)) for run in runs}) > 1]
    if reading:
        cautions.append(
            f"The analyses differ in {', '.join(reading)}: intervals or adjusted p-values are not of one kind."
        )
    if len({str(run.manifest.get("code_version")) for run in runs}) > 1:
        cautions.append("The runs were made by different versions of the code.")
    cautions += [f"{run.label}: {words.srm_sentence(run.results)}" for run in runs if not run.results["srm"]["ok"]]
    cautions += [f"{run.label}: {few}" for run in runs if (few := few_units.sentence(run.results))]
    absent = {
        words.title(run.results, name): None
        for run in runs
        for name in run.results["metrics"]
        if any(name not in other.results["metrics"] for other in runs)
    }
    if absent:
        cautions.append(f"Not measured by every run: {', '.join(absent)}.")
    return same, cautions


def _some(keys: Sequence[str]) -> str:
    shown = keys[:MOST_SHOWN]
    return words.listing([*shown, f"{len(keys) - MOST_SHOWN} more"] if len(keys) > MOST_SHOWN else shown)


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif value is not None:
        yield prefix, value


def _control(run: Run) -> tuple[str, str]:
    """The control's policy, and all that decides what it shows."""
    name = run.results["analysis"]["control"]
    arm = (run.config.get("arms") or run.results["arms"])[name]
    return str(arm["policy"]), str(
        {key: value for key, value in arm.items() if key in ("policy", "params", "allocation")}
    )


def _identity(run: Run) -> dict[str, Any]:
    results = run.results
    return {
        "label": run.label,
        "name": results["name"],
        "seed": results["seed"],
        "setting": words.setting(results),
        "control": results["analysis"]["control"],
        "primary": results["analysis"]["primary"],
        "trusted": bool(results["srm"]["ok"]),
        "arms": {
            name: {key: arm[key] for key in ("policy", "params", "users")} for name, arm in results["arms"].items()
        },
        "headlines": [verdict.headline for verdict in words.verdicts(results)],
        "created": run.manifest.get("created"),
        "code_version": run.manifest.get("code_version"),
        "config_hash": run.manifest.get("config_hash"),
    }


def _rows(run: Run, metric: str) -> Iterator[dict[str, Any]]:
    keys = ("effect", "ci", "lift", "lift_ci", "p_value", "p_adjusted", "control_value", "treatment_value", "method")
    for row in run.results["comparisons"]:
        if row["metric"] == metric:
            yield {
                "run": run.label,
                "metric": metric,
                "treatment": row["treatment"],
                "control": row["control"],
                **{key: row.get(key) for key in keys},
                "decision": words.decide(run.results, row),
                "truth": row.get("truth"),
            }


def _costs(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What an arm's thinking took, by arm, where the run counted it: operations, and projected hours of cards."""
    found: dict[str, dict[str, Any]] = {}
    for arm in results["arms"]:
        account = (results.get("thinking") or {}).get(arm)
        if account and account["users"]:
            flops = sum(role["flops"] for role in account["ledger"]["roles"].values())
            found.setdefault(arm, {})["gflop_a_user"] = flops / _GIGA / account["users"]
        served = ((results.get("serving") or {}).get("arms") or {}).get(arm) or {}
        hours = (served.get("projected") or {}).get("projected_gpu_hours_work_a_day")
        if hours:
            found.setdefault(arm, {})["projected_gpu_hours_a_day"] = dict(hours)
    return found
