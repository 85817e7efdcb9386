"""The story of a sweep: each of its experiments run or found again, and what they say together.

A point's folder is a run directory like any other, named after its config, so that a sweep that was interrupted, or
whose grid has grown, finds what is finished. Worlds, histories and fits that points share are made once. Does not know
how anything is shown.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from experiments.atomic import replacing
from experiments.config import ExperimentConfig, resolved, resolved_hash
from experiments.errors import UserError
from experiments.groundwork import Groundwork
from experiments.progress import Progress
from experiments.report import words, write_report
from experiments.report.sweep_report import render_sweep
from experiments.run_directory import MANIFEST, REPORT, RunDirectory
from experiments.runner import run_experiment
from experiments.sweep_points import Point
from metrics.replicates import mean_of_replicates
from simulator.pools import Engine
from simulator.shards import PROCESSES

SCHEMA: Final = 1
RESULTS_SCHEMA: Final = 2
SWEEP: Final = "sweep.json"
POINTS: Final = "points"
DIGITS: Final = 12
"""Of a config's hash, in the name of a point's folder."""


@dataclass(frozen=True)
class Done:
    """A point that is finished.

    Attributes:
        point: which.
        folder: its run directory.
        results: the contents of its ``results.json``.
        manifest: the contents of its ``manifest.json``.
        found: whether it had been finished before.
    """

    point: Point
    folder: Path
    results: Mapping[str, Any]
    manifest: Mapping[str, Any]
    found: bool


def default_folder(base: ExperimentConfig) -> Path:
    """Where a sweep goes that was not told where: the same for every grid over the same experiment."""
    return Path("runs") / f"{base.name}-sweep-{resolved_hash(resolved(base))[:8]}"


def folder_of(out: Path, point: Point) -> Path:
    """The run directory of a point."""
    return out / POINTS / resolved_hash(resolved(point.config))[:DIGITS]


def finished(out: Path, points: Sequence[Point]) -> int:
    """How many points have been finished in this folder."""
    return sum((folder_of(out, point) / MANIFEST).is_file() for point in points)


def run_sweep(
    base: ExperimentConfig,
    points: Sequence[Point],
    out: Path,
    workers: int,
    progress: Progress,
    tell: Callable[[Done], None],
    *,
    force: bool = False,
    engine: Engine = PROCESSES,
) -> dict[str, Any]:
    """Run what is not there yet, and leave ``sweep.json`` and ``report.html`` beside the points' folders.

    Args:
        base: the experiment with the sweep.
        points: its experiments, those that share a world one after the other.
        out: the sweep's folder.
        workers: shards at once; the outcome does not depend on it.
        progress: is told how far each experiment is.
        tell: is called with each point when it is finished or found.
        force: run every point again.
        engine: where shards are played; the outcome does not depend on it.

    Returns:
        The contents of ``sweep.json``.

    Raises:
        UserError: if the folder holds something else or cannot be written.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / POINTS).is_dir():
        raise UserError(f"{out}: holds files but no sweep; give another --out, empty or new")
    ground = Groundwork(keep=True)
    done = []
    for point in points:
        done.append(_carry_out(point, folder_of(out, point), workers, progress, ground, force, engine))
        tell(done[-1])
    sweep = summary(base, done, out)
    _write(out / SWEEP, json.dumps(sweep, allow_nan=False, ensure_ascii=False, indent=2) + "\n")
    _write(out / REPORT, render_sweep(sweep))
    return sweep


def summary(base: ExperimentConfig, done: Sequence[Done], out: Path) -> dict[str, Any]:
    """What the points of a sweep say together; the contents of ``sweep.json``, schema 1.

    Returns:
        ``axes`` (a key with its values each), ``seeds``, ``metrics``, ``points`` (each with its comparisons) and
        ``curves``: for each metric, treatment and combination of values the mean over seeds.
    """
    assert base.sweep is not None
    first = done[0].results
    return {
        "schema": SCHEMA,
        "name": base.name,
        "setting": words.setting(first),
        "config_hash": resolved_hash(resolved(base)),
        "currency": first["currency"],
        "alpha": base.analysis.alpha,
        "primary": base.analysis.primary,
        "axes": [{"key": key, "values": list(values)} for key, values in base.sweep.grid.items()],
        "seeds": list(base.sweep.seeds or (base.seed,)),
        "metrics": {name: metric for each in done for name, metric in each.results["metrics"].items()},
        "code_versions": sorted({str(each.manifest.get("code_version")) for each in done}),
        "points": [_point(each, out) for each in done],
        "curves": list(_curves(done, base.analysis.alpha)),
    }


def _carry_out(
    point: Point,
    folder: Path,
    workers: int,
    progress: Progress,
    ground: Groundwork,
    force: bool,
    engine: Engine,
) -> Done:
    directory = RunDirectory.open(folder, point.config.name, resolved(point.config), force=force)
    found = directory.complete
    if found:
        results = directory.read_results()
    else:
        results = run_experiment(point.config, directory, workers, progress, ground, engine)
    if results.get("schema") != RESULTS_SCHEMA:
        raise UserError(
            f"{folder}: schema {results.get('schema')!r} (this version reads {RESULTS_SCHEMA}); use --force"
        )
    if not (folder / REPORT).exists():
        write_report(directory)
    return Done(point, folder, results, directory.read_results(MANIFEST), found)


def _point(done: Done, out: Path) -> dict[str, Any]:
    keys = ("metric", "treatment", "control_value", "treatment_value", "effect", "ci", "lift", "lift_ci")
    return {
        "values": done.point.values,
        "seed": done.point.config.seed,
        "run": done.folder.relative_to(out).as_posix(),
        "config_hash": resolved_hash(resolved(done.point.config)),
        "trusted": bool(done.results["srm"]["ok"]),
        "comparisons": [
            {key: row.get(key) for key in (*keys, "p_value", "p_adjusted", "truth")}
            | {"decision": words.decide(done.results, row)}
            for row in done.results["comparisons"]
        ],
    }


def _curves(done: Sequence[Done], alpha: float) -> Iterator[dict[str, Any]]:
    """A row for each metric, treatment and combination of values: the lift, over seeds where there are several.

    Of one seed the interval is the experiment's own; of several it is that of their mean.
    """
    groups: dict[tuple[str, str, str], list[tuple[dict[str, Any], Mapping[str, Any]]]] = {}
    for each in done:
        for row in each.results["comparisons"]:
            key = (row["metric"], row["treatment"], json.dumps(each.point.values, sort_keys=True))
            groups.setdefault(key, []).append((each.point.values, row))
    for (metric, treatment, _), members in groups.items():
        rows = [row for _, row in members]
        lifts = [row["lift"] for row in rows if words.known(row["lift"])]
        truths = [row["truth"]["lift"] for row in rows if row.get("truth") and words.known(row["truth"]["lift"])]
        mean = mean_of_replicates(lifts, alpha) if lifts else None
        alone = rows[0]["lift_ci"] if len(rows) == 1 else None
        yield {
            "metric": metric,
            "treatment": treatment,
            "values": members[0][0],
            "seeds": len(lifts),
            "lift": mean.mean if mean else None,
            "ci": alone if alone else list(mean.ci) if mean and mean.ci else None,
            "truth": mean_of_replicates(truths, alpha).mean if truths and len(truths) == len(rows) else None,
        }


def _write(path: Path, text: str) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another --out") from error
