"""The report of a sweep: response curves, and every experiment with its own report beside it."""

from collections.abc import Mapping
from typing import Any, Final

from experiments.report import response, words
from experiments.report.page import Section, render_page

SECTIONS: Final = (
    Section("response", "How the effect answers", response),
    Section("points", "Every experiment"),
    Section("origin", "Where this comes from"),
)


def render_sweep(sweep: Mapping[str, Any]) -> str:
    """The HTML report of a sweep, from the contents of ``sweep.json``."""
    return render_page(
        sweep["name"],
        sweep,
        SECTIONS,
        opening="swept",
        meta=f"Sweep, {words.count(len(sweep['points']))} experiments; {sweep['setting']}",
        sweep=sweep,
        response=response,
    )
