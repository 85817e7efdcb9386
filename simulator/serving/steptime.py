"""How long one iteration takes: a roofline with fixed costs, fitted to measured steps or assumed.

    max form    seconds = max(F / (P e_c), M / (W e_m)) + b_layer L + b_request B + b_step
    sum form    seconds =     F / (P e_c) + M / (W e_m) + b_layer L + b_request B + b_step

with F operations and M bytes of the iteration, P and W the card's peak and bandwidth, L layers, B calls in the batch
(Williams, Waterman and Patterson 2009, "Roofline", with the overheads that a kernel launch, a request and a scheduler
add). The max form lets arithmetic and memory traffic overlap wholly, the sum form not at all; ``fit`` keeps the form
that was closer on steps held out. Every modelled figure rests on these numbers, so they carry their error with them.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from simulator.serving.checks import above_zero, at_least
from simulator.serving.errors import ServingError
from simulator.serving.hardware import Accelerator, Precision
from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Form = Literal["max", "sum"]

HELD_OUT: Final = 0.25
LEAST_STEPS: Final = 8
_ROUNDS: Final = 50


@dataclass(frozen=True)
class StepTime:
    """The coefficients.

    Attributes:
        compute_efficiency: e_c, share of the peak that products reach.
        memory_efficiency: e_m, share of the bandwidth that is reached.
        per_layer: b_layer, seconds a layer and iteration.
        per_request: b_request, seconds a call in the batch and iteration.
        per_step: b_step, seconds an iteration.
        form: how arithmetic and memory traffic add up.
        error: median relative error on measured steps that the fit did not see; None where nothing was measured.

    Raises:
        ServingError: an efficiency is not above 0, or a cost is below 0.
    """

    compute_efficiency: float
    memory_efficiency: float
    per_layer: float = 0.0
    per_request: float = 0.0
    per_step: float = 0.0
    form: Form = "max"
    error: float | None = None

    def __post_init__(self) -> None:
        above_zero("compute_efficiency", self.compute_efficiency)
        above_zero("memory_efficiency", self.memory_efficiency)
        at_least("per_layer", self.per_layer, 0.0)
        at_least("per_request", self.per_request, 0.0)
        at_least("per_step", self.per_step, 0.0)
        if self.form not in ("max", "sum"):
            raise ServingError(f"form: {self.form}; it must be max or sum")

    def seconds(
        self, compute: npt.ArrayLike, memory: npt.ArrayLike, layers: npt.ArrayLike, requests: npt.ArrayLike
    ) -> Floats:
        """Seconds of iterations; the arguments broadcast.

        Args:
            compute: F / P, seconds at the peak.
            memory: M / W, seconds at the full bandwidth.
            layers: L.
            requests: B.
        """
        busy = np.asarray(compute, np.float64) / self.compute_efficiency
        moved = np.asarray(memory, np.float64) / self.memory_efficiency
        roof = np.maximum(busy, moved) if self.form == "max" else busy + moved
        return np.asarray(
            roof + self.per_layer * np.asarray(layers) + self.per_request * np.asarray(requests) + self.per_step
        )


ASSUMED: Final = StepTime(compute_efficiency=0.45, memory_efficiency=0.8, per_step=1e-3)
"""Where nothing was measured: efficiencies often reported for H100s, a millisecond of scheduling. A judgement."""


@dataclass(frozen=True)
class MeasuredSteps:
    """Iterations that were timed on one card at one precision; arrays [steps].

    Attributes:
        flops: operations, causal count.
        bytes: moved between memory and chip.
        layers: of the model.
        requests: calls in the batch.
        seconds: measured.

    Raises:
        ServingError: the arrays differ in length, are too short, or hold something that is not finite and above 0.
    """

    flops: Floats
    bytes: Floats
    layers: Floats
    requests: Floats
    seconds: Floats

    def __post_init__(self) -> None:
        lengths = {name: np.shape(column) for name, column in vars(self).items()}
        if len(set(lengths.values())) != 1 or len(lengths["seconds"]) != 1:
            raise ServingError(f"steps: shapes {lengths}; all must be one length")
        if len(self.seconds) < LEAST_STEPS:
            raise ServingError(f"steps: {len(self.seconds)}; a fit needs at least {LEAST_STEPS}")
        for name, column in vars(self).items():
            if not (np.isfinite(column).all() and (column > 0.0).all()):
                raise ServingError(f"steps.{name}: some are not finite and above 0; leave those steps out")


class Fit(NamedTuple):
    """What a fit found.

    Attributes:
        coefficients: of the better form, with its error.
        errors: median relative error of each form that could be fitted, on the steps held out. With two forms to choose
            from, the better one's error flatters a little.
        held_out: which steps were, bool [steps].
    """

    coefficients: StepTime
    errors: dict[Form, float]
    held_out: Bools


def fit(steps: MeasuredSteps, card: Accelerator, precision: Precision, held_out: Bools | None = None) -> Fit:
    """Fit both forms by non-negative least squares on relative errors, and keep the one closer on held-out steps.

    The max form alternates: given which side binds each step it is linear, and given the coefficients it is known which
    side binds. Of the rounds, the one with the least squared relative error is kept. Where all steps are of models of
    one depth, b_layer cannot be told from b_step and is 0.

    Args:
        steps: what was measured.
        card: P and W.
        precision: of the products.
        held_out: steps that are only to be judged, bool [steps]; a quarter of them, drawn by row, if None. Mark whole
            shapes (a prompt length, a batch size) to ask how well shapes that were not measured are told.

    Raises:
        ServingError: too few steps are left on either side, or an efficiency cannot be told from the steps.
    """
    rows = len(steps.seconds)
    if held_out is None:
        held_out = Stream(0, "serving/held out steps").uniform(np.arange(rows)) < HELD_OUT
    if np.shape(held_out) != (rows,) or not held_out.any() or (~held_out).sum() < LEAST_STEPS - 2:
        raise ServingError(
            f"held_out: {int(np.sum(held_out))} of {rows} steps; it must mark at least 1 and leave {LEAST_STEPS - 2}"
        )
    compute, memory = steps.flops / card.peak(precision), steps.bytes / card.bandwidth
    found: list[tuple[float, StepTime]] = []
    for form in _FORMS:
        weights = _fit_form(form, compute, memory, steps, ~held_out)
        if weights[0] <= 0.0 or weights[1] <= 0.0:
            continue
        per_layer, per_request, per_step = (float(weight) for weight in weights[2:])
        fitted = StepTime(float(1 / weights[0]), float(1 / weights[1]), per_layer, per_request, per_step, form)
        told = fitted.seconds(compute, memory, steps.layers, steps.requests)
        found.append((float(np.median(np.abs(told / steps.seconds - 1.0)[held_out])), fitted))
    if not found:
        raise ServingError("steps: no fit tells both efficiencies; measure long prompts and large decoding batches")
    error, best = min(found, key=lambda each: each[0])
    return Fit(replace(best, error=error), {fitted.form: each for each, fitted in found}, held_out)


_FORMS: Final[tuple[Form, ...]] = ("max", "sum")


def _fit_form(form: Form, compute: Floats, memory: Floats, steps: MeasuredSteps, seen: Bools) -> Floats:
    """1/e_c, 1/e_m, b_layer, b_request, b_step from the steps that are seen."""
    compute, memory, seconds, layers = compute[seen], memory[seen], steps.seconds[seen], steps.layers[seen]
    depth = layers if np.ptp(layers) > 0 else np.zeros_like(seconds)
    fixed = np.column_stack([depth, steps.requests[seen], np.ones_like(seconds)])

    def solved(first: Floats, second: Floats) -> Floats:
        columns = np.column_stack([first, second, fixed]) / seconds[:, None]
        size = np.linalg.norm(columns, axis=0)
        size[size == 0.0] = 1.0  # an empty column gets weight 0 whatever it is divided by
        weights, _ = nnls(columns / size, np.ones_like(seconds))
        return np.asarray(weights / size)

    weights = solved(compute, memory)
    if form == "sum":
        return weights
    best, least = weights, math.inf
    bound: Bools | None = None
    for _ in range(_ROUNDS):
        by_compute = compute * weights[0] >= memory * weights[1]
        if bound is not None and np.array_equal(by_compute, bound):
            break
        bound = by_compute
        weights = solved(np.where(by_compute, compute, 0.0), np.where(by_compute, 0.0, memory))
        roof = np.maximum(compute * weights[0], memory * weights[1])
        loss = float((((roof + fixed @ weights[2:]) / seconds - 1.0) ** 2).sum())
        if loss < least:
            best, least = weights, loss
    return best
