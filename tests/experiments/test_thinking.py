import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.report import render_report, write_report
from experiments.run_directory import MANIFEST, RESULTS
from experiments.thinking import JOB_COUNTS, ROLE_COUNTS, add_seconds, dated_thinking, join_thinking

Run = Callable[..., SimpleNamespace]
DAYS = range(40, 45)


def diary_of(users: np.ndarray) -> dict[str, Any]:
    """What a piece with these users writes down: each has a role, a kind of job and a day that follow from its id."""
    roles: dict[str, dict[str, int]] = {}
    jobs: dict[str, dict[str, int]] = {}
    executed: dict[int, int] = {}
    for user in users.tolist():
        role = roles.setdefault(f"role{user % 3}", dict.fromkeys((*ROLE_COUNTS, "computed_calls"), 0))
        for count in role:
            role[count] += user + 10**17  # floats could not hold the sums
        job = jobs.setdefault(f"kind{user % 2}", dict.fromkeys(JOB_COUNTS, 0))
        for count in job:
            job[count] += user
        day = DAYS[user % 4]
        executed[day] = executed.get(day, 0) + 1
    return {
        "ledger": {"roles": roles, "jobs": jobs, "truncated": len(users), "seconds": 1.5},
        "refreshes": [{"day": day, "due_age": 9, "waiting": 2, "mean_age_days": 0.5} for day in DAYS],
        "executed": executed,
        "samples": [{"user": user, "day": DAYS[n], "style": ""} for user in users.tolist()[::-1] for n in (1, 0)],
        "fidelity": {"overlap": 0.7},
    }


@given(users=st.sets(st.integers(0, 500), min_size=1), cuts=st.lists(st.integers(0, 500), max_size=6))
def test_joining_does_not_depend_on_the_cut(users: set[int], cuts: list[int]) -> None:
    """However users are cut into pieces, empty ones included, the joined account has the same bytes."""
    rows = np.array(sorted(users))
    pieces = np.split(rows, np.searchsorted(rows, sorted(cuts)))
    whole = join_thinking([diary_of(rows)], len(rows))
    joined = join_thinking([diary_of(piece) for piece in pieces], len(rows))
    assert json.dumps(joined) == json.dumps(whole)
    assert joined["ledger"]["truncated"] == sum(day["executed"] for day in joined["refreshes"]) == len(rows)
    assert [s["user"] for s in joined["samples"]] == np.repeat(rows, 2).tolist()


def test_only_the_plan_is_kept() -> None:
    """What a process computed or how long it took is no part of an account."""
    joined = join_thinking([diary_of(np.arange(5))], 5)
    assert set(joined["ledger"]) == {"roles", "jobs", "truncated"}
    assert all(tuple(role) == ROLE_COUNTS for role in joined["ledger"]["roles"].values())
    assert all(tuple(job) == JOB_COUNTS for job in joined["ledger"]["jobs"].values())


def test_pieces_that_disagree_are_refused() -> None:
    """A schedule that depends on the piece, and jobs on unknown days, are errors and not sums."""
    one, two = diary_of(np.arange(5)), diary_of(np.arange(5, 9))
    two["refreshes"][0]["due_age"] = 8
    with pytest.raises(ValueError, match="refreshes: differs between shards"):
        join_thinking([one, two], 9)
    one["executed"][99] = 1
    with pytest.raises(ValueError, match="day 99 has jobs"):
        join_thinking([one], 5)


def test_days_become_dates() -> None:
    """Every number of a day is replaced by its date, and nothing else changes."""
    joined = join_thinking([diary_of(np.arange(5))], 5)
    dated = dated_thinking(joined, lambda day: f"2015-11-{day - 30}")
    assert [entry["date"] for entry in dated["refreshes"]] == [f"2015-11-{day}" for day in range(10, 15)]
    assert {sample["date"] for sample in dated["samples"]} == {"2015-11-10", "2015-11-11"}
    for key in ("refreshes", "samples"):
        assert all("day" not in entry for entry in dated[key])
        assert [{**entry, "date": 0} for entry in dated[key]] == [
            {"date": 0} | {k: v for k, v in entry.items() if k != "day"} for entry in joined[key]
        ]
    assert (dated["users"], dated["ledger"], dated["fidelity"]) == (5, joined["ledger"], {"overlap": 0.7})


def test_seconds_add_up_by_role() -> None:
    """Roles that some pieces lack count there as nothing."""
    assert add_seconds([{"b": 1.0}, {}, {"a": 0.25, "b": 0.5}]) == {"a": 0.25, "b": 1.5}
    assert add_seconds([]) == {}


@pytest.fixture(scope="module")
def ponders() -> Iterator[None]:
    """A thinking policy that configs may name, in this process and in workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import pondering_policy  # noqa: F401 - its import registers the policy

        yield


ARMS: dict[str, Any] = {
    "control": {"policy": "pondering", "share": 0.4},
    "same": {"policy": "pondering", "share": 0.3},
    "blind": {"policy": "popularity", "share": 0.3},
}


@pytest.fixture(scope="module")
def thought(ponders: None, run: Run) -> SimpleNamespace:
    """Two arms that think and one that does not, every user under every arm; not to be changed."""
    return run(arms=ARMS)


def test_a_run_tells_what_its_policies_thought(thought: SimpleNamespace) -> None:
    """Arms that think have an account of all users they were played with, by date; the others have none."""
    found = thought.results["thinking"]
    assert list(found) == ["control", "same"]
    # One fit serves both arms, one after the other: nothing of the first may be left in the second.
    assert found["control"] == found["same"]
    account = found["control"]
    assert account["users"] == 300
    days = account["refreshes"]
    assert [day["date"] for day in days] == [f"2015-10-{day}" for day in range(23, 31)]
    assert [day["due_age"] for day in days] == [300] + [0] * 7
    everybody = pl.concat([thought.user_days, thought.counterfactuals.select(thought.user_days.columns)])
    seen = everybody.filter(pl.col("phase") != "warmup")["user"].unique().sort().to_list()
    assert sum(day["executed"] for day in days) == len(seen)
    role = account["ledger"]["roles"]["route"]
    assert role["prompt_tokens"] == sum(100 + user for user in seen)
    assert account["ledger"]["jobs"]["refresh"]["jobs"] == role["calls"] == len(seen)
    assert [sample["user"] for sample in account["samples"]] == [user for user in seen if user % 40 == 0]


def test_the_warm_up_is_accounted_for_alone(thought: SimpleNamespace) -> None:
    """What the control policy thought before the arms parted is in no arm's account."""
    warmup = thought.results["diagnostics"]["warmup_thinking"]
    assert set(warmup) == {"users", "ledger", "refreshes"}
    assert warmup["users"] == 300
    assert [day["date"] for day in warmup["refreshes"]] == ["2015-10-20", "2015-10-21", "2015-10-22"]
    came = thought.user_days.filter(pl.col("phase") == "warmup")["user"].n_unique()
    assert sum(day["executed"] for day in warmup["refreshes"]) == came


def test_seconds_are_in_the_manifest_alone(thought: SimpleNamespace) -> None:
    """Wall seconds are told by arm and role in the manifest, and the results do not mention any."""
    manifest = json.loads((thought.path / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["thinking_seconds"] == {name: {"route": 1.5} for name in ("warmup", "control", "same")}
    assert "seconds" not in (thought.path / RESULTS).read_text(encoding="utf-8")


def test_processes_do_not_matter_to_thoughts(thought: SimpleNamespace, ponders: None, run: Run) -> None:
    """One process or two leave the same results, thoughts included, to the byte."""
    by_two = run(workers=2, arms=ARMS)
    assert (by_two.path / RESULTS).read_bytes() == (thought.path / RESULTS).read_bytes()


def test_assigned_users_alone_are_thought_about(ponders: None, run: Run) -> None:
    """Without the truth an arm's account is of its own users, and without warm-up days there is none of the warm-up."""
    horizon = {"start": "2015-10-05", "history_days": 15, "days": 3}
    found = run(arms=ARMS, oracle=False, horizon=horizon, analysis={"metrics": ["ctr"]})
    results = found.results
    for arm, account in results["thinking"].items():
        assert account["users"] == results["arms"][arm]["assigned"]
        assert sum(day["executed"] for day in account["refreshes"]) == results["arms"][arm]["users"]
    assert results["diagnostics"]["warmup_thinking"] is None


def test_the_report_reads_a_run_that_thought(thought: SimpleNamespace, finished: SimpleNamespace) -> None:
    """The report of a run shows the section where an arm thinks, and no trace of it elsewhere."""
    manifest = json.loads((thought.path / MANIFEST).read_text(encoding="utf-8"))
    html = render_report(thought.results, manifest)
    assert 'id="thinking"' in html
    assert "Language model, same" in html
    assert finished.results["thinking"] is None
    assert 'id="thinking"' not in write_report(finished.directory).read_text(encoding="utf-8")
