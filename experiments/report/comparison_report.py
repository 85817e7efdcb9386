"""The report of a comparison: runs and their arms beside each other, on one page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from experiments.report import beside, pareto
from experiments.report.page import Section, render_page

SECTIONS: Final = (
    Section("beside", "Every metric", beside),
    Section("pareto", "What is gained for what", pareto),
    Section("runs", "The runs"),
)
TITLE: Final = "comparison"


def render_comparison(comparison: Mapping[str, Any]) -> str:
    """The HTML report of a comparison, as ``compare_runs`` gives it."""
    return render_page(
        TITLE,
        comparison,
        SECTIONS,
        opening="together",
        meta=", ".join(run["label"] for run in comparison["runs"]),
        comparison=comparison,
        treatments=len(beside.looks(comparison)),
    )


def holds_comparison(path: Path) -> bool:
    """Whether a file is such a page."""
    try:
        page = path.read_text(encoding="utf-8")
        return f"<title>{TITLE}</title>" in page and 'id="pareto"' in page  # a run may have that name
    except (OSError, UnicodeDecodeError):
        return False
