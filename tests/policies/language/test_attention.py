from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from policies.language.attention import attend
from policies.language.model import Language


class _Layer(torch.nn.Module):
    """What attention asks of a layer."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.num_key_value_groups = group
        self.is_causal = True


def _drawn(group: int, held: int, new: int = 1, rows: int = 32) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(group * 1000 + held)
    query = torch.randn(rows, 2 * group, new, 16, generator=generator)
    key, value = (torch.randn(rows, 2, held, 16, generator=generator) for _ in range(2))
    mask = torch.zeros(rows, 1, new, held).masked_fill(torch.rand(rows, 1, new, held, generator=generator) < 0.3, -1e9)
    return query, key, value, mask


@pytest.mark.parametrize("group", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("new", [1, 16])
def test_it_is_scaled_dot_product_attention(group: int, new: int) -> None:
    """Whatever the number of query heads for a key head, the result must be attention's."""
    query, key, value, mask = _drawn(group, 67, new)
    found, _ = attend(_Layer(group), query, key, value, mask, scaling=0.3)
    repeated = (part.repeat_interleave(group, dim=1) for part in (key, value))
    expected = scaled_dot_product_attention(query, *repeated, attn_mask=mask, scale=0.3).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("group", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("held", [65, 129, 201])
def test_bits_do_not_depend_on_threads(group: int, held: int) -> None:
    """One new token must attend with the same bits on any number of threads, in a batch or in a part of it."""
    query, key, value, mask = _drawn(group, held)
    before = torch.get_num_threads()
    found = []
    try:
        for threads, rows in ((1, 32), (2, 32), (3, 32), (2, 16)):
            torch.set_num_threads(threads)
            part = (each[:rows] for each in (query, key, value, mask))
            found.append(attend(_Layer(group), *part)[0][:16])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, found[0]) for each in found)


def test_a_loaded_model_attends_this_way(tiny_language: Language) -> None:
    """On the CPU a model that runs torch's attention must be given the steady one."""
    assert tiny_language.model.config._attn_implementation == "sdpa_of_four_rows"
