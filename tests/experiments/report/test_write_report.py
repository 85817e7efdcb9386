import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.report import write_report


@dataclass(frozen=True)
class Directory:
    """What ``write_report`` needs of a run directory."""

    path: Path

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run."""
        (self.path / name).write_text(text, encoding="utf-8")


def test_the_kind_of_report_follows_the_files(tmp_path: Path, results: Any, manifest: Any, evaluation: Any) -> None:
    """Results make an experiment's report, an evaluation its own, and neither is an error with a remedy."""
    directory: Any = Directory(tmp_path)
    with pytest.raises(ValueError, match=r"manifest\.json: not found"):
        write_report(directory)
    directory.write_text("manifest.json", json.dumps(manifest))
    with pytest.raises(ValueError, match=r"holds neither results\.json nor evaluation\.json"):
        write_report(directory)
    directory.write_text("evaluation.json", json.dumps(evaluation))
    assert "Open-loop evaluation" in write_report(directory).read_text(encoding="utf-8")
    directory.write_text("results.json", json.dumps(results()))
    assert "new beats base" in write_report(directory).read_text(encoding="utf-8")
    directory.write_text("results.json", json.dumps({**results(), "schema": 99}))
    with pytest.raises(ValueError, match="schema 99"):
        write_report(directory)
