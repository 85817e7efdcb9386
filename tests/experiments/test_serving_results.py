"""Accounts of serving: what jobs took, and what they leave out."""

from typing import Any

import pytest

from experiments.serving_results import _executed
from policies.language.ledger import Ledger
from simulator.serving.transformer import QWEN3_8B


def account(explained: bool) -> dict[str, Any]:
    """Two refreshes of a call each, 100 tokens with 40 of them cached and 9 written; one text of 50 and 19 tokens."""
    ledger = Ledger(QWEN3_8B)
    for _ in range(2):
        ledger.count("planner", 100, 40, 9)
        ledger.job("refresh", 1, 9)
    if explained:
        ledger.count("explainer", 50, 0, 19)
    return {"ledger": ledger.as_dict()}


def test_explanations_are_left_out_of_jobs_and_told_apart() -> None:
    """Tokens of a job must be the same with and without texts, whose share is of all tokens read or written."""
    silent, told = _executed(account(explained=False)), _executed(account(explained=True))
    assert silent is not None
    assert told is not None
    assert (told["read_tokens_a_job"], told["written_tokens_a_job"]) == (60.0, 10.0)
    apart = ("explanation_tokens_left_out", "explanation_share_left_out")
    assert {key: told[key] for key in told if key not in apart} == {
        key: silent[key] for key in silent if key not in apart
    }
    assert [silent[key] for key in apart] == [0, 0.0]
    assert [told[key] for key in apart] == [70, pytest.approx(70 / (70 + 2 * 70))]


def test_nothing_is_told_of_jobs_that_no_model_did() -> None:
    """Without an account, or with one that holds no refresh, there must be no figure of executed jobs."""
    assert _executed(None) is None
    assert _executed({"ledger": Ledger(QWEN3_8B).as_dict()}) is None
