import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import provenance
from experiments.config import config_hash
from experiments.provenance import PACKAGES, SOURCES, code_version, manifest
from experiments.run_directory import MANIFEST


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """The version of a copy of the house, in ``tmp_path``, with a file in each package."""
    for package in SOURCES:
        (tmp_path / package / "inner").mkdir(parents=True)
        (tmp_path / package / "inner" / "code.py").write_text("VALUE = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "experiments" / "provenance.py"))
    return code_version.__wrapped__


def test_version_is_release_and_digest() -> None:
    """The code's version is the package's and twelve digits of its sources."""
    assert re.fullmatch(re.escape(version("recgpt-testbed")) + r"\+[0-9a-f]{12}", code_version())


def test_unchanged_code_keeps_its_version(hashed: Callable[[], str]) -> None:
    """The digest depends on the sources and on nothing else."""
    assert hashed() == hashed()


@pytest.mark.parametrize("package", SOURCES)
def test_edited_code_has_another_version(package: str, tmp_path: Path, hashed: Callable[[], str]) -> None:
    """Changing, adding or moving a source, a table or a model's weights in any package changes the version."""
    seen = {hashed()}
    (tmp_path / package / "inner" / "code.py").write_text("VALUE = 2\n")
    seen.add(hashed())
    (tmp_path / package / "table.yaml").write_text("a: 1\n")
    seen.add(hashed())
    (tmp_path / package / "inner" / "code.py").rename(tmp_path / package / "code.py")
    seen.add(hashed())
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / package / name).write_bytes(b"{}")
        seen.add(hashed())
    assert len(seen) == 6


def test_what_is_no_code_does_not_count(tmp_path: Path, hashed: Callable[[], str]) -> None:
    """Example configs, compiled files and what lies outside the packages leave the version as it is."""
    before = hashed()
    (tmp_path / "experiments" / "configs").mkdir()
    (tmp_path / "experiments" / "configs" / "mine.yaml").write_text("a: 1\n")
    (tmp_path / "simulator" / "kernel.nbi").write_bytes(b"1")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test.py").write_text("VALUE = 1\n")
    assert hashed() == before


def test_manifest_says_where_results_come_from() -> None:
    """Seeds, timings, data, machine and versions are there, in plain JSON, at the present time."""
    found = manifest("abc", {"run": 7}, {"fit": 1.5}, 3, {"kept": 9}, {"base": {"route": 0.5}}, engine="ray")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["schema"] == 1
    assert (found["config_hash"], found["seeds"], found["timings"]) == ("abc", {"run": 7}, {"fit": 1.5})
    assert (found["data"], found["machine"]["workers"], found["machine"]["engine"]) == ({"kept": 9}, 3, "ray")
    assert found["thinking_seconds"] == {"base": {"route": 0.5}}
    assert found["code_version"] == code_version()
    assert set(found["packages"]) == set(PACKAGES)
    assert found["packages"]["numpy"] == version("numpy")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found["created"])) < timedelta(minutes=1)


def test_missing_package_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not there does not stop a run from being described."""
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package-here"))
    assert manifest("abc", {}, {}, 1, None)["packages"]["no-such-package-here"] == "not installed"


def test_run_leaves_its_manifest(finished: SimpleNamespace) -> None:
    """A finished run's manifest has its config's hash, its seed, and a time for each stage."""
    found = json.loads((finished.path / MANIFEST).read_text(encoding="utf-8"))
    assert found["config_hash"] == config_hash(finished.config)
    assert found["seeds"] == {"run": 7}
    assert list(found["timings"]) == ["world", "history", "fit", "warm-up", "arms", "analysis"]
    assert all(seconds >= 0 for seconds in found["timings"].values())
    assert found["data"] is None


def test_a_stage_that_comes_again_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of a stage are those of all its turns together."""
    ticks = iter([0.0, 2.0, 5.0, 5.5, 7.0, 10.0])
    monkeypatch.setattr(provenance.time, "monotonic", lambda: next(ticks))
    clock = provenance.Stopwatch()
    for stage in ("modelling", "measuring", "modelling"):
        with clock.stage(stage):
            pass
    assert clock.seconds == {"modelling": 5.0, "measuring": 0.5}
