"""What language policies wrote down, joined from shards to arms: ledger, refreshes by day, samples, fidelity.

Knows the shape of a policy's diary. Does not know policies, prompts, clocks, nor how the report shows any of it: what a
ledger says of the process that ran (calls computed, answers found in a cache, seconds) is left out here, since a rerun
would change it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

ROLE_COUNTS: Final = ("calls", "prompt_tokens", "cached_tokens", "generated_tokens", "flops")
"""What the plan of a role counts; ``cached_tokens`` are among ``prompt_tokens``."""

JOB_COUNTS: Final = ("jobs", "depth_calls", "depth_tokens")
"""Jobs of a kind, and the calls and tokens on their critical paths, summed over the jobs."""

Diary = Mapping[str, Any]
DateOf = Callable[[int], str]


def join_thinking(diaries: Sequence[Diary], users: int) -> dict[str, Any]:
    """One account of an arm that was played in several pieces, days still as numbers.

    Args:
        diaries: what the policy wrote down in each piece (``RegisteredPolicy.diary``), at least one.
        users: of all pieces together.

    Returns:
        ``users``; ``ledger``, the sums by role and by kind of job, in the order of names; ``refreshes``, the schedule
        of each day with the jobs ``executed`` on it; ``samples`` in the order of users and days; ``fidelity``. It does
        not depend on how users were cut.

    Raises:
        ValueError: pieces have other schedules or fidelities than the first (they are computed for all users alike),
            or a job was executed on a day that the schedule does not have.
    """
    first = diaries[0]
    for diary in diaries[1:]:
        for key in ("refreshes", "fidelity", "fitting"):
            if diary.get(key) != first.get(key):
                raise ValueError(f"diary.{key}: differs between shards (it must be computed for all users in each)")
    executed = _added([diary["executed"] for diary in diaries])
    unplanned = sorted(executed.keys() - {entry["day"] for entry in first["refreshes"]})
    if unplanned:
        raise ValueError(f"diary.executed: day {unplanned[0]} has jobs (but the schedule does not have that day)")
    samples = [sample for diary in diaries for sample in diary["samples"]]
    ledgers = [diary["ledger"] for diary in diaries]
    return {
        "users": users,
        "ledger": {
            "roles": _joined([ledger["roles"] for ledger in ledgers], ROLE_COUNTS),
            "jobs": _joined([ledger["jobs"] for ledger in ledgers], JOB_COUNTS),
            "truncated": sum(ledger["truncated"] for ledger in ledgers),
        },
        "refreshes": [entry | {"executed": executed.get(entry["day"], 0)} for entry in first["refreshes"]],
        "samples": sorted(samples, key=lambda sample: (sample["user"], sample["day"])),
        "fidelity": first.get("fidelity"),
        "fitting": first.get("fitting"),
    }


def dated_thinking(joined: Mapping[str, Any], date_of: DateOf) -> dict[str, Any]:
    """The same account with ISO dates in place of the numbers of days."""

    def dated(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {"date": date_of(entry["day"])} | {key: value for key, value in entry.items() if key != "day"}

    return dict(joined) | {key: [dated(entry) for entry in joined[key]] for key in ("refreshes", "samples")}


def add_seconds(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Wall seconds by role, over all pieces; for the manifest."""
    total: dict[str, float] = {}
    for part in parts:
        for role, seconds in part.items():
            total[role] = total.get(role, 0.0) + seconds
    return {role: round(seconds, 3) for role, seconds in sorted(total.items())}


def _joined(tables: Sequence[Mapping[str, Mapping[str, int]]], counts: Sequence[str]) -> dict[str, dict[str, int]]:
    """Sums of these counts by name, over the tables that have the name."""
    names = sorted({name for table in tables for name in table})
    return {name: {c: sum(table[name][c] for table in tables if name in table) for c in counts} for name in names}


def _added(tallies: Sequence[Mapping[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for tally in tallies:
        for day, jobs in tally.items():
            total[day] = total.get(day, 0) + jobs
    return total
