"""The report of a run: one HTML file that needs no network and no other file.

Made only from what the run left: ``results.json`` or ``evaluation.json``, and ``manifest.json``. The same
input gives the same bytes. Does not know how the numbers came about.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from experiments.report import figures, open_loop, surroundings, thinking, traffic, words
from experiments.report.drawing import Figure

if TYPE_CHECKING:
    from experiments.run_directory import RunDirectory

__all__ = ["render_evaluation", "render_page", "render_report", "write_report"]

SCHEMAS: Final = {"manifest.json": 1, "results.json": 2, "evaluation.json": 2}
"""What this version reads of each file."""
_HERE: Final = Path(__file__).parent


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
    daily = figures.daily_metrics(results)
    charts: dict[str, Figure] = {"forest": figures.forest(results)}
    charts |= {f"daily-{index}": figures.daily(results, metric) for index, metric in enumerate(daily)}
    context = surroundings.context(results)
    if context is not None:
        charts["context"] = context
    charts |= traffic.charts(results) | thinking.charts(results)
    return render_page(
        "experiment",
        results["name"],
        charts,
        manifest,
        results=results,
        daily=daily,
        has_context=context is not None,
        traffic=traffic if traffic.present(results) else None,
        thinking=thinking if thinking.present(results) else None,
    )


def render_evaluation(evaluation: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The HTML report of an open-loop evaluation, from ``evaluation.json`` and ``manifest.json``."""
    names = [name for name, metric in evaluation["metrics"].items() if metric["group"] != "cost"]
    charts = {f"dots-{index}": figures.dots(evaluation, name) for index, name in enumerate(names)}
    return render_page(
        "evaluation", evaluation["name"], charts, manifest, evaluation=evaluation, dotted=names, open_loop=open_loop
    )


def render_page(kind: str, name: str, charts: Mapping[str, Any], manifest: Mapping[str, Any], **more: Any) -> str:
    """A page of the common frame.

    Args:
        kind: which template fills the frame: ``experiment``, ``evaluation`` or ``audit``.
        name: of the page.
        charts: figures by name.
        manifest: the contents of ``manifest.json``.
        more: what that template reads.
    """
    plotly, script = get_plotlyjs(), (_HERE / "figures.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("template.html.j2")
        .render(
            kind=kind,
            name=name,
            manifest=manifest,
            words=words,
            strongest=surroundings.STRONGEST,
            # A reader's browser runs these two scripts and nothing else, whatever a title may hold.
            script_hashes=Markup(" ".join(f"'sha256-{_digest(each)}'" for each in (plotly, script))),  # noqa: S704 - base64
            style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            plotly=Markup(plotly),  # noqa: S704 - the library's own file
            script=Markup(script),  # noqa: S704 - our own file
            charts=_embed(charts),
            **more,
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _embed(value: Any) -> Markup:
    """JSON that may stand inside a script element: no ``<`` is left that could end it."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 - escaped


def _finite(value: Any) -> Any:
    """The same, with ``None`` in place of NaN and the infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not words.known(value):
        return None
    return value


@cache
def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"{path}: not found (finish the run first)")
    found = json.loads(path.read_text(encoding="utf-8"))
    schema = SCHEMAS[path.name]
    if found.get("schema") != schema:
        raise ValueError(f"{path}: schema {found.get('schema')!r} (this version reads {schema})")
    return dict(found)
