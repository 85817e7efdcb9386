"""Accelerators by their data sheets, and the width of numbers.

Peaks are those of dense products; data sheets that print the figure with sparsity are halved. Memory and bandwidth are
as printed, with 10^9 and 10^12 bytes: cards report a few percent more memory than that, and reach a few percent less
bandwidth. No prices: what an hour costs is the user's to say, with a date.
"""

from dataclasses import dataclass
from typing import Final

from simulator.serving.checks import named
from simulator.serving.errors import ServingError

GIBIBYTE: Final = 1 << 30


@dataclass(frozen=True)
class Precision:
    """How many bytes a number takes, and which peak its products run at.

    Attributes:
        name: also that of the peak, ``bf16``, ``fp8`` or ``fp32``.
        weight_bytes, kv_bytes, activation_bytes: of one weight, one key or value, one activation.
    """

    name: str
    weight_bytes: int
    kv_bytes: int
    activation_bytes: int


BF16: Final = Precision("bf16", 2, 2, 2)
FP8: Final = Precision("fp8", 1, 1, 2)
"""Weights, keys and values in 8 bits, products at the 8-bit peak, activations handed on in 16 bits."""

FP32: Final = Precision("fp32", 4, 4, 4)
"""What processors compute in here. No card of the table is served in it, so it is none of ``PRECISIONS``."""

PRECISIONS: Final = {each.name: each for each in (BF16, FP8)}


@dataclass(frozen=True)
class Accelerator:
    """One card.

    Attributes:
        name: in lower case.
        bf16_flops: peak of dense 16-bit products, operations a second.
        fp8_flops: peak of dense 8-bit products; None where the card has none.
        bandwidth: of its memory, bytes a second.
        memory: bytes.
        source: where these figures are printed.
        fp32_flops: peak of dense 32-bit products; None where nobody asks for it.
    """

    name: str
    bf16_flops: float
    fp8_flops: float | None
    bandwidth: float
    memory: float
    source: str
    fp32_flops: float | None = None

    def peak(self, precision: Precision) -> float:
        """Operations a second at this precision.

        Raises:
            ServingError: the card has no products of this width.
        """
        if precision.name == "bf16":
            return self.bf16_flops
        if precision.name == "fp32" and self.fp32_flops is not None:
            return self.fp32_flops
        if precision.name != "fp8":
            raise ServingError(f"precision: {precision.name}; known are {', '.join(sorted(PRECISIONS))}")
        if self.fp8_flops is None:
            raise ServingError(f"precision: fp8; the accelerator {self.name} has no fp8 products, use bf16")
        return self.fp8_flops


A100: Final = Accelerator(
    "a100", 312e12, None, 2.039e12, 80e9, "NVIDIA A100 Tensor Core GPU data sheet, 2021, A100 80GB SXM"
)
H20: Final = Accelerator(
    "h20",
    148e12,
    296e12,
    4.0e12,
    96e9,
    "NVIDIA HGX H20 as resellers and the press print it, 2023-24; NVIDIA publishes no data sheet of its own",
)
H100: Final = Accelerator(
    "h100", 989.4e12, 1978.9e12, 3.35e12, 80e9, "NVIDIA H100 Tensor Core GPU Architecture, v1.04, 2023, H100 SXM5"
)
H200: Final = Accelerator(
    "h200",
    989.4e12,
    1978.9e12,
    4.8e12,
    141e9,
    "NVIDIA H200 Tensor Core GPU data sheet, 2024, H200 SXM: peaks as of the H100, printed there with sparsity",
)

ACCELERATORS: Final = {each.name: each for each in (A100, H100, H20, H200)}


def accelerator(name: str) -> Accelerator:
    """The card of this name.

    Raises:
        ServingError: no such card is known.
    """
    return named("accelerator", name, ACCELERATORS)


def precision(name: str) -> Precision:
    """The precision of this name.

    Raises:
        ServingError: no such precision is known.
    """
    return named("precision", name, PRECISIONS)
