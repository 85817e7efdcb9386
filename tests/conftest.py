"""What holds for every test: nothing is kept outside of the test's own folders. And a processor in a card's place."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long a test takes says something of the machine and of who else uses it, nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The verdict on a commit must not depend on luck: there the examples are the same each time. Elsewhere they are new.
settings.register_profile("repeatable", settings.get_profile("untimed"), derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))


ROOT = Path(__file__).resolve().parent.parent
COMPILED = ("simulator", "policies", "allocation")


def pytest_configure(config: pytest.Config) -> None:
    """Forget compiled kernels that are older than some source: numba looks only at the file that a kernel is in."""
    if hasattr(config, "workerinput"):
        return  # the process that started this one has looked
    kernels = [path for package in COMPILED for path in (ROOT / package).rglob("*.nb[ci]")]
    sources = [path.stat().st_mtime for package in COMPILED for path in (ROOT / package).rglob("*.py")]
    if kernels and min(path.stat().st_mtime for path in kernels) < max(sources):
        for path in kernels:
            path.unlink(missing_ok=True)


@pytest.fixture(autouse=True, scope="session")
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Answers and models of tests go to a folder of this run, never to the user's cache."""
    os.environ["RECGPT_TESTBED_CACHE"] = str(Path(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def ray_running(_cache_folder: None) -> Iterator[None]:
    """A local Ray cluster with two cores, to which this process is connected."""
    pytest.importorskip("ray", reason="Ray, the extra `ray`, is not installed")
    from simulator.ray_cluster import ray_cluster

    with ray_cluster(dict, 2):
        yield


class ProcessorMeter:
    """A counter of energy that goes up by a watt."""

    driver = None

    def joules(self) -> float:
        """A joule a second."""
        return time.monotonic()

    def reading(self) -> dict[str, int | None]:
        """One clock that is known and one that is not."""
        return {"sm_mhz": 1000, "watts": None}


class ProcessorCard:
    """A processor, asked as a card is; its log holds what it was asked.

    Nothing is faked about it: passes run, a stopwatch times them, and no step is recorded. What it takes says nothing
    of an accelerator; it has an H200's sheet so that shares are counted.
    """

    def __init__(self) -> None:
        import torch

        from simulator.serving.hardware import H200

        self.device = torch.device("cpu")
        self.sheet: Any = H200
        self.meter: ProcessorMeter | None = ProcessorMeter()
        self.why_no_meter = None
        self.log: list[str] = []

    def mark(self) -> float:
        """Now."""
        self.log.append("mark")
        return time.perf_counter()

    def seconds(self, begin: float, end: float) -> float:
        """Between two moments."""
        assert self.log[-1] != "mark", "the device must have been waited for"
        return end - begin

    def synchronise(self) -> None:
        """Nothing is ever outstanding."""
        self.log.append("synchronise")

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        """The step itself."""
        self.log.append("record")
        return step

    def begin_peak(self) -> None:
        """Memory is not counted."""

    def peak_bytes(self) -> int:
        """Something that is there."""
        return 1

    def free(self) -> None:
        """Nothing is held."""
        self.log.append("free")

    def describe(self) -> dict[str, Any]:
        """A processor."""
        return {"kind": "cpu", "name": "processor", "driver": None, "torch": "here", "sheet": {"name": "h200"}}


@pytest.fixture
def processor_card() -> ProcessorCard:
    """A processor in a card's place."""
    return ProcessorCard()
