from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.decision import Decision, Evidence, decide
from metrics.guardrails import Guardrail, State

BASE = Evidence(
    metric="CTR", trusted=True, direction=1, ended=True, target=0.05, power=0.9, wanted=0.8, guardrails=(), worse=()
)


def rail(state: State) -> Guardrail:
    """A guardrail in this state."""
    return Guardrail("sessions", "b", 0.02, 0.0, 0.01, 0.01, state)


evidences = st.builds(
    Evidence,
    metric=st.just("CTR"),
    trusted=st.booleans(),
    direction=st.sampled_from([None, -1, 0, 1]),
    ended=st.booleans(),
    target=st.floats(0.001, 0.2),
    power=st.none() | st.floats(0.0, 1.0),
    wanted=st.just(0.8),
    guardrails=st.lists(st.sampled_from(["passed", "failed", "open"]).map(rail), max_size=3),
    worse=st.lists(st.sampled_from(["GMV", "TV"]), max_size=2, unique=True),
)


@pytest.mark.parametrize(
    ("changes", "word", "reason"),
    [
        ({}, "ship", "no guardrail was set"),
        ({"guardrails": [rail("passed")]}, "ship", "every guardrail is passed"),
        ({"worse": ["GMV", "TV"]}, "ship", "though GMV and TV got significantly worse"),
        ({"guardrails": [rail("passed"), rail("open")]}, "keep running", "not yet ruled out on sessions"),
        ({"guardrails": [rail("failed")]}, "hold", "sessions lost more than the margin"),
        ({"trusted": False}, "hold", "no effect can be trusted"),
        ({"direction": -1}, "hold", "CTR got significantly worse"),
        ({"direction": 0}, "hold", "a change of 5.00% had a chance of 90% to be noticed"),
        ({"direction": 0, "power": 0.4}, "keep running", "where 80% was wanted"),
        ({"direction": 0, "power": None}, "keep running", "unknown"),
        ({"direction": 0, "ended": False}, "keep running", "planned days are left"),
        ({"direction": None}, "hold", "could not be tested"),
    ],
)
def test_every_case_of_the_rule(changes: dict, word: str, reason: str) -> None:
    """Each case has its word, and a reason that names what decided."""
    found = decide(replace(BASE, **changes))
    assert found.word == word
    assert reason in found.reason


@settings(deadline=None)
@given(evidences)
def test_a_launch_needs_everything(evidence: Evidence) -> None:
    """Shipping takes users that fell as planned, a better primary metric, and every guardrail passed."""
    found = decide(evidence)
    ready = evidence.trusted and evidence.direction == 1 and all(row.state == "passed" for row in evidence.guardrails)
    assert (found.word == "ship") == ready


@settings(deadline=None)
@given(evidences)
def test_the_reason_is_one_sentence(evidence: Evidence) -> None:
    """It ends with its only full stop."""
    reason = decide(evidence).reason
    assert reason.endswith(".")
    assert ". " not in reason


def test_guardrails_are_called_by_their_names() -> None:
    """People read names, not keys."""
    found = decide(replace(BASE, guardrails=[rail("failed")]), {"sessions": "Visits"})
    assert found == Decision("hold", "Visits lost more than the margin allows.")
