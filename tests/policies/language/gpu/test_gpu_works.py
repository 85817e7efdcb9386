"""Works: the passes they make are those of the plan, and a shared prefix is read once and by everybody."""

import time
from typing import Any

import pytest
import torch

from policies.language.gpu.engine import COPY, DECODE, PREFILL, Engine, Phases, Sample
from policies.language.gpu.works import WRITTEN, PlanWork, ReadStep, WriteStep, Writing
from policies.language.steps import Cuts, StepShape, plan_steps
from simulator.serving.workload import CallShape, JobShape, parallel_job

V1 = parallel_job(calls=4, shared=21, own=5, output=4)
V2 = JobShape(
    (
        (CallShape(4, 3, 21),),
        (CallShape(6, 4),) * 3 + (CallShape(3, 1, 21),),
        (CallShape(9, 5, 21),),
    )
)
CUTS = Cuts(read_tokens=50, write_rows=3)


@pytest.fixture
def seen(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[StepShape]:
    """Shapes of the passes that are made, in order."""
    found: list[StepShape] = []
    read = Engine.read

    def watched(self: Engine, ids: torch.Tensor, cache: Any, past: int) -> torch.Tensor:
        held = cache.layers[0].get_seq_length()
        assert held == past
        found.append(StepShape(ids.shape[1], past, len(ids)))
        return read(self, ids, cache, past)

    monkeypatch.setattr(Engine, "read", watched)
    return found


def _run(card: Any, work: Any) -> Sample:
    work.prepare()
    phases = Phases(card, time.monotonic)
    work.run(phases)
    return phases.read()


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("job", [V1, V2])
def test_a_plan_makes_the_passes_of_its_steps(
    engine: Engine, card: Any, seen: list[StepShape], job: JobShape, shares: bool
) -> None:
    """What is run must be what operations are counted for, in the plan's order of stages, again in the next run."""
    work = PlanWork(engine, job, shares, 2, CUTS, "eager")
    wanted = [shape for step in plan_steps(job, shares, 2, CUTS) for shape in step.shapes]
    for _ in range(2):
        seen.clear()
        sample = _run(card, work)
        assert seen == wanted
    assert set(sample.seconds) == {PREFILL, DECODE} | ({COPY} if shares else set())


def test_a_recorded_plan_makes_as_many_passes_at_the_middle(engine: Engine, card: Any, seen: list[StepShape]) -> None:
    """Each call's writing is as many passes as launched one by one, all at the context of its middle token."""
    work = PlanWork(engine, V1, True, 1, CUTS, "graph")
    seen.clear()
    _run(card, work)
    written = [shape for shape in seen if shape.phase == "decode"]
    assert written == [StepShape(1, 27, 3)] * 3 + [StepShape(1, 27, 1)] * 3


def test_routes_that_share_a_prefix_hold_what_they_would_hold_alone(engine: Engine, card: Any) -> None:
    """With the prefix read once, each route's keys and values must be those that its whole prompt gives."""
    work = PlanWork(engine, V1, True, 2, CUTS, "eager")
    _run(card, work)
    group = work._groups[0]
    for row in range(8):
        prompt = torch.cat([work._shared[row // 4], group._ids[row]])[None]
        alone = engine.storage(1, 26)
        engine.read(prompt, alone.cache(0), 0)
        for mine, wanted in zip(group._storage.cache(26).layers, alone.cache(26).layers, strict=True):
            torch.testing.assert_close(mine.keys[row], wanted.keys[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(mine.values[row], wanted.values[0], rtol=1e-4, atol=1e-5)


def test_nobody_waits_for_a_call_that_writes_one_token(engine: Engine, card: Any, seen: list[StepShape]) -> None:
    """The token that ends an answer at once is chosen by reading, so nothing is written."""
    sample = _run(card, PlanWork(engine, parallel_job(2, 8, 4, 1), True, 1, CUTS, "graph"))
    assert DECODE not in sample.seconds
    assert {shape.phase for shape in seen} == {"prefill"}


@pytest.mark.parametrize("writing", ["eager", "graph"])
def test_a_writing_step_writes_as_many_tokens_as_it_is_told_in(
    engine: Engine, card: Any, seen: list[StepShape], writing: Writing
) -> None:
    """A sample is split among the passes it was made of, again and again from the same context."""
    work = WriteStep(engine, StepShape(1, 6, 2), writing)
    for _ in range(2):
        seen.clear()
        _run(card, work)
        assert len(seen) == work.parts == WRITTEN[writing]
        assert seen[0] == StepShape(1, 6, 2)
        assert seen[-1].past == (6 if writing == "graph" else 6 + work.parts - 1)


def test_a_reading_step_is_one_pass_over_new_inputs(engine: Engine, card: Any, seen: list[StepShape]) -> None:
    """Tokens and what is behind them are drawn anew for each run, and one pass is made."""
    work = ReadStep(engine, StepShape(7, 3, 2))
    inputs = []
    for _ in range(2):
        _run(card, work)
        inputs.append((work._ids.clone(), work._storage.cache(3).layers[0].keys.clone()))
    assert seen == [StepShape(7, 3, 2)] * 2
    assert not torch.equal(inputs[0][0], inputs[1][0])
    assert not torch.equal(inputs[0][1], inputs[1][1])
