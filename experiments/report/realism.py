"""The page of a realism scorecard, from ``realism.json`` and ``manifest.json``: one HTML file that needs no other."""

from collections.abc import Mapping
from typing import Any, Final

from experiments.report import PROVENANCE, realism_figures, words
from experiments.report import realism_words as told
from experiments.report.page import Section, render_page

SECTIONS: Final = (
    Section("distances", "Row by row", realism_figures),
    Section("sides", "Both sides of each row"),
    Section("apart", "Can they be told apart?"),
    Section("calibration", "Are click probabilities right?", realism_figures),
    Section("alone", "Without a counterpart"),
    PROVENANCE,
)


def render_realism(found: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The HTML report of a realism scorecard, from its two files as dictionaries."""
    return render_page(
        f"Realism of {found['name']}",
        found,
        SECTIONS,
        opening="realism",
        meta=f"{found['kind']} world, {words.count(found['times'])} halvings or draws a floor, seed {found['seed']}",
        scorecard=found,
        told=told,
        manifest=manifest,
    )
