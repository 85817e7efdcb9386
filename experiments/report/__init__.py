"""The report of a run: one HTML file that needs no network and no other file.

Made only from what the run left: ``results.json`` or ``evaluation.json``, and ``manifest.json``. Says which sections a
report has and in which order; what stands in a section is a room of its own.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from experiments.report import (
    checks,
    daily,
    designs,
    examples,
    open_loop,
    open_loop_figures,
    retention,
    scorecard,
    segments,
    sequential,
    serving,
    surroundings,
    thinking,
    traffic,
    words,
)
from experiments.report.page import Section, render_page

if TYPE_CHECKING:
    from experiments.run_directory import RunDirectory

__all__ = ["SECTIONS", "render_evaluation", "render_report", "write_report"]

SCHEMAS: Final = {"manifest.json": 1, "results.json": 2, "evaluation.json": 3}
"""What this version reads of each file."""


SECTIONS: Final = (
    Section("scorecard", "Every metric", scorecard),
    Section("daily", "Day by day", daily),
    Section("sequential", "Look by look", sequential),
    Section("segments", "In parts", segments),
    Section("retention", "Who stays", retention),
    Section("context", "What the world was like", surroundings),
    Section("traffic", "Traffic allocation", traffic),
    Section("thinking", "Thinking", thinking),
    Section("serving", "Serving", serving),
    Section("pages", "Pages shown", examples),
    Section("checks", "Can the numbers be trusted?", checks),
)
"""The sections of an experiment's report."""
EVALUATION_SECTIONS: Final = (
    Section("policies", "Every policy", open_loop_figures),
    Section("pairs", "Two at a time"),
)
PROVENANCE: Final = Section("provenance", "Where this comes from")


def write_report(directory: "RunDirectory") -> Path:
    """Write ``report.html`` into a run directory.

    Args:
        directory: a run directory with ``manifest.json`` and either ``results.json`` (an experiment) or
            ``evaluation.json`` (an open-loop evaluation).

    Returns:
        The path of the report.

    Raises:
        ValueError: if one of these files is missing or has another schema.
    """
    manifest = _read(directory.path / "manifest.json")
    if (directory.path / "results.json").exists():
        html = render_report(_read(directory.path / "results.json"), manifest)
    elif (directory.path / "evaluation.json").exists():
        html = render_evaluation(_read(directory.path / "evaluation.json"), manifest)
    else:
        raise ValueError(f"{directory.path}: holds neither results.json nor evaluation.json (finish the run first)")
    directory.write_text("report.html", html)
    return directory.path / "report.html"


def render_report(results: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The HTML report of an experiment, from ``results.json`` and ``manifest.json`` as dictionaries."""
    world = results["world"]
    parts = [words.setting(results)]
    parts += [] if world["kind"] == "table" else [f"{designs.randomised(results)} randomised"]
    parts += [words.place(city) for city in world["cities"] or []]
    return render_page(
        results["name"],
        results,
        (*SECTIONS, PROVENANCE),
        opening="verdict",
        meta=", ".join(parts),
        results=results,
        manifest=manifest,
    )


def render_evaluation(evaluation: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The HTML report of an open-loop evaluation, from ``evaluation.json`` and ``manifest.json``."""
    sections = [each for each in EVALUATION_SECTIONS if each.name != "pairs" or evaluation["comparisons"]]
    return render_page(
        evaluation["name"],
        evaluation,
        (*sections, PROVENANCE),
        opening="predictions",
        meta=f"Open-loop evaluation, {open_loop.coverage(evaluation)}",
        evaluation=evaluation,
        open_loop=open_loop,
        manifest=manifest,
    )


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"{path}: not found (finish the run first)")
    found = json.loads(path.read_text(encoding="utf-8"))
    schema = SCHEMAS[path.name]
    if found.get("schema") != schema:
        raise ValueError(f"{path}: schema {found.get('schema')!r} (this version reads {schema})")
    return dict(found)
