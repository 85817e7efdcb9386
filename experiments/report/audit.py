"""The page of an audit, from ``audit.json`` and the run's ``manifest.json``: one HTML file that needs no other."""

from collections.abc import Mapping
from typing import Any, Final

from experiments.report import PROVENANCE, audit_methods, audit_peeking, words
from experiments.report import audit_words as told
from experiments.report.page import Section, render_page

Audit = Mapping[str, Any]

SECTIONS: Final = (
    Section("methods", "Methods of the scorecard", audit_methods),
    Section("peeking", "Reading before the end", audit_peeking),
    Section("promises", "Other promises"),
    PROVENANCE,
)


def render_audit(audit: Audit, manifest: Mapping[str, Any]) -> str:
    """The HTML report of an audit, from ``audit.json`` and the run's ``manifest.json`` as dictionaries."""
    return render_page(
        f"Audit of {audit['name']}",
        audit,
        SECTIONS,
        opening="outcome",
        meta=f"{words.count(audit['replications'])} experiments on {words.count(audit['users'])} users, "
        f"level {told.percent(audit['alpha'])}, seed {audit['seed']}",
        audit=audit,
        told=told,
        manifest=manifest,
    )
