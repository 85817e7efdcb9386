"""The device that is measured: the one place where CUDA is called.

``Card`` is what the rest of this package asks a device for: moments in its queue and the seconds between them, memory,
energy, and a step recorded as a graph. Whatever has these can be measured by the same code. Knows no model.
"""

import gc
import platform
from collections.abc import Callable
from typing import Any, Final, Protocol

import torch
import transformers

from policies.language.gpu.nvml import Meter, open_meter
from simulator.serving.hardware import A100, H20, H100, H200, Accelerator

SHEETS: Final = {
    "NVIDIA A100-SXM4-80GB": A100,
    "NVIDIA H20": H20,
    "NVIDIA H100 80GB HBM3": H100,
    "NVIDIA H200": H200,
}
"""Data sheets by the name that CUDA tells. Cards that share a name's beginning, as PCIe and NVL ones, have others."""
WARM_STEPS: Final = 3
"""Steps before one is recorded, so that libraries have chosen their kernels and taken their memory."""


class Card(Protocol):
    """A device that can be measured.

    Attributes:
        device: where tensors go.
        sheet: its peaks and bandwidth; None where they are not known.
        meter: its driver; None where there is none.
        why_no_meter: why there is none.
    """

    device: torch.device
    sheet: Accelerator | None
    meter: Meter | None
    why_no_meter: str | None

    def mark(self) -> Any:
        """This moment in the device's queue."""

    def seconds(self, begin: Any, end: Any) -> float:
        """Between two moments, once the device has passed both."""

    def synchronise(self) -> None:
        """Wait until the queue is empty."""

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        """The same step, launched at once where the device can."""

    def begin_peak(self) -> None:
        """Forget the most memory that was taken."""

    def peak_bytes(self) -> int:
        """Most memory that tensors took since then."""

    def free(self) -> None:
        """Give back memory that no tensor holds."""

    def describe(self) -> dict[str, Any]:
        """What the device is, as results hold it."""


class CudaCard:
    """An NVIDIA card; see ``Card``.

    Args:
        index: which.

    Raises:
        ValueError: there is no such card.
    """

    def __init__(self, index: int = 0) -> None:
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if index >= there:
            raise ValueError(f"device: cuda:{index} ({there} CUDA devices are here; use another, or the CPU)")
        torch.cuda.set_device(index)
        self.device = torch.device("cuda", index)
        self._properties: Any = torch.cuda.get_device_properties(index)
        self.sheet: Accelerator | None = SHEETS.get(self._properties.name)
        self.meter: Meter | None
        self.meter, self.why_no_meter = open_meter(str(self._properties.uuid))

    def mark(self) -> torch.cuda.Event:
        """An event in the current stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """CUDA tells milliseconds, to about half a microsecond."""
        return float(begin.elapsed_time(end)) / 1000.0

    def synchronise(self) -> None:
        """Wait for all streams."""
        torch.cuda.synchronize(self.device)

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        """A CUDA graph of the step, whose tensors must stay where they are; it is warmed up on a stream of its own."""
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_STEPS):
                step()
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    def begin_peak(self) -> None:
        """The allocator keeps count on the host, so nothing waits for the device."""
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak_bytes(self) -> int:
        """Of tensors; what the allocator holds besides is not counted."""
        return int(torch.cuda.max_memory_allocated(self.device))

    def free(self) -> None:
        """Collect what is in cycles first: a failed pass keeps its tensors in its traceback."""
        gc.collect()
        torch.cuda.empty_cache()

    def describe(self) -> dict[str, Any]:
        """Name, size, driver and versions; peaks with their source."""
        found = self._properties
        return {
            "kind": "cuda",
            "name": found.name,
            "compute_capability": f"{found.major}.{found.minor}",
            "multiprocessors": found.multi_processor_count,
            "memory_bytes": found.total_memory,
            "driver": self.meter.driver if self.meter else None,
            "cuda": torch.version.cuda,
            "why_no_meter": self.why_no_meter,
            "sheet": sheet_of(self.sheet),
            "clocks": self.meter.reading() if self.meter else None,
            **versions(),
        }


def sheet_of(sheet: Accelerator | None) -> dict[str, Any] | None:
    """A data sheet as results hold it; peaks are dense."""
    if sheet is None:
        return None
    return {
        "name": sheet.name,
        "bf16_flops": sheet.bf16_flops,
        "fp8_flops": sheet.fp8_flops,
        "bandwidth": sheet.bandwidth,
        "memory": sheet.memory,
        "source": sheet.source,
    }


def versions() -> dict[str, str]:
    """Of what computes."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
    }
