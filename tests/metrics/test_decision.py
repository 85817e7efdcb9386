from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.decision import Correction, Decision, Evidence, decide
from metrics.guardrails import Guardrail, State

BASE = Evidence(
    metric="CTR", trusted=True, direction=1, ended=True, target=0.05, power=0.9, wanted=0.8, guardrails=(), worse=()
)

UNDONE = Correction(p_value=0.0387, p_adjusted=0.116, comparisons=3, alpha=0.05)


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
    looks=st.integers(1, 4),
    correction=st.none() | st.just(Correction(0.04, 0.12, 3, 0.05)),
    needed=st.none() | st.integers(2, 10**7),
    guarding=st.just({}) | st.just({"sessions": 5000}),
    guardrails=st.lists(st.sampled_from(["passed", "failed", "open"]).map(rail), max_size=3),
    worse=st.lists(st.sampled_from(["GMV", "TV"]), max_size=2, unique=True),
)


@pytest.mark.parametrize(
    ("changes", "word", "reason"),
    [
        ({}, "ship", "no guardrail was set"),
        ({"guardrails": [rail("passed")]}, "ship", "every guardrail is passed"),
        ({"worse": ["GMV", "TV"]}, "ship", "though GMV and TV got significantly worse"),
        (
            {"ended": False, "guardrails": [rail("passed"), rail("open")]},
            "keep running",
            "not yet ruled out on sessions, and planned days are left",
        ),
        ({"guardrails": [rail("open")]}, "test again", "a new one with more users to rule it out"),
        (
            {"guardrails": [rail("open")], "guarding": {"sessions": 12345}},
            "test again",
            "plan a new one, which takes about 12,345 users in the two arms to rule it out",
        ),
        ({"guardrails": [rail("failed")]}, "hold", "sessions lost more than the margin"),
        ({"trusted": False}, "hold", "no effect can be trusted"),
        ({"direction": -1}, "hold", "CTR got significantly worse"),
        ({"direction": 0}, "hold", "a change of 5.00% had a chance of 90% to be noticed"),
        (
            {"direction": 0, "power": 0.4, "needed": 9000, "units": "cities"},
            "test again",
            "was wanted: this test has ended, so plan a new one, which takes about 9,000 cities in the two arms",
        ),
        ({"direction": 0, "power": None}, "test again", "unknown"),
        ({"direction": 0, "ended": False}, "keep running", "CTR has not reached its bound, and planned days are left"),
        (
            {"direction": 0, "ended": False, "correction": UNDONE},
            "keep running",
            "CTR reached its bound (p = 0.039), but not with its p-value corrected for 3 comparisons (0.12, above",
        ),
        ({"direction": 0, "looks": 3, "correction": UNDONE}, "hold", "CTR reached its bound (p = 0.039), but not"),
        ({"direction": 0, "correction": UNDONE}, "hold", "CTR differs by itself (p = 0.039), but not"),
        (
            {"direction": 0, "correction": Correction(0.06, 0.18, 3, 0.05)},
            "hold",
            "CTR shows no significant difference, though",
        ),
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
def test_nothing_runs_on_after_its_end(evidence: Evidence) -> None:
    """Running on is advice for a test with planned days left, testing again for one without."""
    word = decide(evidence).word
    assert word != ("keep running" if evidence.ended else "test again")


@settings(deadline=None)
@given(evidences)
def test_a_bound_that_was_reached_is_not_said_to_be_missed(evidence: Evidence) -> None:
    """What is blamed is the correction where only the correction stood between the metric and a difference."""
    undone = evidence.correction is not None and evidence.correction.undid
    reason = decide(evidence).reason
    assert not (undone and "has not reached its bound" in reason)
    assert undone or "corrected for" not in reason


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
