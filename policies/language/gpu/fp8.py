"""Linear layers whose products run in 8 bits, with one scale a row on either side.

Weights are cut to ``float8_e4m3fn`` once, a scale for each output; activations are cut as they come, a scale for each
token. Attention, keys and values, normalisations and the output head stay in 16 bits. Cutting is done by plain tensor
operations, several passes over the activations that a fused kernel would save: what is gained here is the least that
8-bit products give. Knows no model but by its linear layers.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import ScalingType, scaled_mm

TYPE: Final = torch.float8_e4m3fn
LARGEST: Final = torch.finfo(TYPE).max
MULTIPLE: Final = 16
"""What both sizes of a weight must be a multiple of for 8-bit products."""


def cut(values: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in 8 bits and their scales, ``values`` being about ``rows * scales``.

    Args:
        values: [rows, width].

    Returns:
        [rows, width] in 8 bits, and float32 [rows, 1].
    """
    scales = values.abs().amax(-1, keepdim=True).float().clamp_(min=1e-12) / LARGEST
    return (values / scales.to(values.dtype)).clamp_(-LARGEST, LARGEST).to(TYPE), scales


class Fp8Linear(nn.Module):
    """A linear layer without bias whose product runs in 8 bits.

    Args:
        linear: the layer in 16 bits.
    """

    weight: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scales = cut(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales.t().contiguous())

    def forward(self, given: Tensor) -> Tensor:
        """The product, in the type of ``given``, [..., outputs]."""
        rows, scales = cut(given.flatten(0, -2))
        product = scaled_mm(
            rows,
            self.weight.t(),
            scales,
            ScalingType.RowWise,
            self.scales,
            ScalingType.RowWise,
            output_dtype=torch.bfloat16,
            use_fast_accum=given.is_cuda,  # sums as inference servers take them; a processor knows no other
        )
        return product.to(given.dtype).unflatten(0, given.shape[:-1])


def use_fp8(model: nn.Module) -> int:
    """Put 8-bit layers in the place of a model's linear layers, but for the output head.

    Returns:
        How many were replaced.

    Raises:
        ValueError: a layer has a bias, or a size that 8-bit products do not take.
    """
    replaced = 0
    for parent in model.modules():
        for name, child in parent.named_children():
            if not isinstance(child, nn.Linear) or name == "lm_head":
                continue
            if child.bias is not None or child.in_features % MULTIPLE or child.out_features % MULTIPLE:
                raise ValueError(f"dtype: fp8 (layer {name} has a bias or sizes not in {MULTIPLE}s; use bf16)")
            setattr(parent, name, Fp8Linear(child))
            replaced += 1
    return replaced
