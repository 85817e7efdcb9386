"""Where results come from: code, packages, machine, seeds, data, time. Written last: it marks a run complete."""

import hashlib
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from simulator.shards import PROCESSES

PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "simpy",
    "polars",
    "tea-tasting",
    "statsmodels",
    "implicit",
    "lightgbm",
    "scikit-learn",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "holidays",
    "pydantic",
    "plotly",
)
SOURCES = ("simulator", "policies", "allocation", "metrics", "experiments")
SUFFIXES = {".py", ".yaml", ".json", ".safetensors"}
"""Of what decides a run: code, tables, and the models that are shipped."""


@cache
def code_version() -> str:
    """The package's version and a hash of its sources, so that edited code is never mistaken for released code."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in SOURCES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in SUFFIXES and "configs" not in path.parts:
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(path.read_bytes())
    return f"{_version('recgpt-testbed')}+{digest.hexdigest()[:12]}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def manifest(
    config_hash: str,
    seeds: dict[str, int],
    timings: dict[str, float],
    workers: int,
    data: dict[str, int] | None,
    thinking_seconds: dict[str, dict[str, float]] | None = None,
    resumed: int = 0,
    engine: str = PROCESSES.name,
) -> dict[str, Any]:
    """The contents of ``manifest.json``, schema 1.

    Args:
        config_hash: of the resolved config.
        seeds: by what they are for.
        timings: wall-clock seconds by stage.
        workers: shards played at once.
        data: what became of the rows of a log, or None.
        thinking_seconds: wall-clock seconds that policies spent in language models, by arm and role; None where
            nobody looked.
        resumed: how often the run was taken up again; ``timings`` are those of the last time.
        engine: where shards were played.
    """
    return {
        "schema": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
        "config_hash": config_hash,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "engine": engine, "workers": workers},
        "seeds": seeds,
        "timings": timings,
        "data": data,
        "thinking_seconds": thinking_seconds,
        "resumed": resumed,
    }


class Stopwatch:
    """Wall-clock seconds of named stages, for the manifest; of a stage that comes again they are added."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        begun = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begun, 3)
