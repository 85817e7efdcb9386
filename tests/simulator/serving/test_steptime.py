from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from simulator.serving.errors import ServingError
from simulator.serving.hardware import BF16, H20
from simulator.serving.steptime import ASSUMED, MeasuredSteps, StepTime, fit
from simulator.serving.transformer import QWEN3_0_6B, QWEN3_8B, step_cost
from simulator.streams import Stream

TRUTH = StepTime(0.5, 0.75, per_layer=2e-5, per_request=3e-5, per_step=4e-4)


def _steps(
    coefficients: StepTime, noise: float = 0.0, shapes: tuple[Any, ...] = (QWEN3_0_6B, QWEN3_8B)
) -> MeasuredSteps:
    """Prompts of many lengths and decoding batches of many sizes, timed by the formula."""
    rows = []
    for shape in shapes:
        cost = step_cost(shape, BF16)
        rows += [
            (cost.flops(n, 1, n * (n + 1) // 2), cost.bytes(n, 1, n), shape.layers, 1)
            for n in (16, 64, 256, 512, 1024, 2048, 4096, 8192)
        ]
        for batch in (1, 2, 4, 8, 16, 32, 64, 128):
            for context in (256, 2048, 8192):
                seen = batch * context
                rows.append((cost.flops(batch, batch, seen), cost.bytes(batch, batch, seen), shape.layers, batch))
    flops, moved, layers, requests = np.array(rows, np.float64).T
    seconds = coefficients.seconds(flops / H20.peak(BF16), moved / H20.bandwidth, layers, requests)
    luck = Stream(4, "test/step noise").normal(np.arange(len(rows)))
    return MeasuredSteps(flops, moved, layers, requests, seconds * np.exp(noise * luck))


def _values(coefficients: StepTime) -> npt.NDArray[np.float64]:
    return np.array([value for value in vars(coefficients).values() if isinstance(value, float)][:5])


@pytest.mark.parametrize("form", ["max", "sum"])
def test_known_coefficients_are_found_again(form: Any) -> None:
    """From steps without noise the fit must find the form and every coefficient."""
    truth = replace(TRUTH, form=form)
    found = fit(_steps(truth), H20, BF16)
    assert found.coefficients.form == form
    assert _values(found.coefficients) == pytest.approx(_values(truth), rel=1e-6)
    assert found.coefficients.error == pytest.approx(0.0, abs=1e-9)
    assert set(found.errors) == {"max", "sum"}


def test_noisy_steps_give_an_error_as_large_as_the_noise() -> None:
    """With 5% noise, efficiencies must come within 5% and the error near the median of such noise (3.4%)."""
    found = fit(_steps(TRUTH, noise=0.05), H20, BF16)
    assert found.coefficients.compute_efficiency == pytest.approx(0.5, rel=0.05)
    assert found.coefficients.memory_efficiency == pytest.approx(0.75, rel=0.05)
    assert found.coefficients.error is not None
    assert 0.015 < found.coefficients.error < 0.06


def test_error_is_that_of_the_steps_held_out() -> None:
    """Steps that are marked must not be fitted to: when they are all twice as slow, the error is a half."""
    steps = _steps(TRUTH)
    held_out = np.arange(len(steps.seconds)) % 4 == 1
    slow = replace(steps, seconds=np.where(held_out, 2.0 * steps.seconds, steps.seconds))
    found = fit(slow, H20, BF16, held_out)
    assert _values(found.coefficients) == pytest.approx(_values(TRUTH), rel=1e-6)
    assert found.coefficients.error == pytest.approx(0.5)


def test_one_depth_of_model_leaves_layers_out() -> None:
    """Where all steps are of one model, what layers take must be counted with the step."""
    found = fit(_steps(TRUTH, shapes=(QWEN3_8B,)), H20, BF16).coefficients
    assert found.per_layer == 0.0
    assert found.per_step == pytest.approx(TRUTH.per_step + 36 * TRUTH.per_layer, rel=1e-6)


def test_both_forms_by_hand() -> None:
    """Arithmetic and traffic must overlap in one form and add up in the other, with the fixed costs on top."""
    assert TRUTH.seconds(1.0, 1.5, 10, 4) == pytest.approx(2.0 + 2e-4 + 1.2e-4 + 4e-4)
    assert replace(TRUTH, form="sum").seconds(1.0, 1.5, 10, 4) == pytest.approx(4.0 + 7.2e-4)


def test_what_was_assumed_says_so() -> None:
    """Coefficients that nobody measured must carry no error."""
    assert ASSUMED.error is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compute_efficiency": 0.0}, "compute_efficiency: 0; it must be finite and above 0"),
        ({"memory_efficiency": float("nan")}, "memory_efficiency: nan; it must be finite and above 0"),
        ({"per_layer": -1.0}, "per_layer: -1; it must be finite and at least 0"),
        ({"per_request": -1.0}, "per_request: -1; it must be finite and at least 0"),
        ({"per_step": -1.0}, "per_step: -1; it must be finite and at least 0"),
        ({"form": "product"}, "form: product; it must be max or sum"),
    ],
)
def test_bounds_of_coefficients(changes: dict[str, Any], message: str) -> None:
    """A coefficient outside its bounds must be named."""
    with pytest.raises(ServingError, match=message):
        replace(TRUTH, **changes)


def test_steps_that_cannot_be_fitted_are_refused() -> None:
    """Unequal, few, impossible or one-sided measurements must be refused with their reason."""
    steps = _steps(TRUTH)
    with pytest.raises(ServingError, match="all must be one length"):
        replace(steps, layers=steps.layers[:-1])
    with pytest.raises(ServingError, match="steps: 3; a fit needs at least 8"):
        MeasuredSteps(*(column[:3] for column in vars(steps).values()))
    with pytest.raises(ServingError, match=r"steps\.seconds: some are not finite and above 0"):
        replace(steps, seconds=steps.seconds - 1.0)
    with pytest.raises(ServingError, match=r"held_out: 0 of \d+ steps; it must mark at least 1 and leave 6"):
        fit(steps, H20, BF16, np.zeros(len(steps.seconds), np.bool_))
    flat = replace(steps, seconds=np.ones_like(steps.seconds))
    with pytest.raises(ServingError, match="no fit tells both efficiencies"):
        fit(flat, H20, BF16)
