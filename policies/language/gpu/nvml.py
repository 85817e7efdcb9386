"""What a card's driver tells: energy, power, clocks, temperature. It is read, and nothing is ever set.

NVIDIA's management library is asked through ``nvidia-ml-py``, which is optional: without it, or on a machine whose
driver does not answer, there is a reason instead of a meter.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

Reading = dict[str, int | float | None]


class Meter(Protocol):
    """Reads a card."""

    driver: str | None

    def joules(self) -> float | None:
        """Energy of the card since its driver was loaded; None where that is not counted."""

    def reading(self) -> Reading:
        """Clocks now and at most (MHz), power (W), temperature (C), and bits that say why clocks are held back."""


class Nvml:
    """One card as its driver sees it.

    Args:
        library: the module ``pynvml``, initialised.
        handle: of the card.
    """

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle
        driver = self._asked(library.nvmlSystemGetDriverVersion)
        self.driver = driver.decode() if isinstance(driver, bytes) else driver

    def joules(self) -> float | None:
        """See ``Meter``; the driver counts thousandths."""
        found = self._asked(lambda: self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if found is None else found / 1000.0

    def reading(self) -> Reading:
        """See ``Meter``."""
        library, handle = self._library, self._handle
        sm, memory = library.NVML_CLOCK_SM, library.NVML_CLOCK_MEM
        power = self._asked(lambda: library.nvmlDeviceGetPowerUsage(handle))
        return {
            "sm_mhz": self._asked(lambda: library.nvmlDeviceGetClockInfo(handle, sm)),
            "memory_mhz": self._asked(lambda: library.nvmlDeviceGetClockInfo(handle, memory)),
            "most_sm_mhz": self._asked(lambda: library.nvmlDeviceGetMaxClockInfo(handle, sm)),
            "watts": None if power is None else power / 1000.0,
            "celsius": self._asked(lambda: library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)),
            "held_back": self._asked(lambda: library.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        }

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """The driver's answer; None where it has none."""
        try:
            return ask()
        except (self._library.NVMLError, AttributeError):
            return None


def open_meter(uuid: str) -> tuple[Nvml | None, str | None]:
    """The meter of the card with this id, or None and the reason.

    Args:
        uuid: as CUDA tells it, with or without ``GPU-``.
    """
    try:
        library: Any = import_module("pynvml")
    except ImportError:
        return None, "nvidia-ml-py is not installed"
    named = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
    try:
        library.nvmlInit()
        return Nvml(library, library.nvmlDeviceGetHandleByUUID(named)), None
    except library.NVMLError as error:
        return None, f"the driver does not answer ({error})"
