"""How many calls a refresh takes and how long they are, for each design: read off the policies' account, or stated.

A refresh is one user thought about, from the history to the tags that are kept, with the style that explanations are
written in; the explanations themselves are left out. Knows the designs' stages; knows no clock and no accelerator.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.history import play_or_read_history
from experiments.progress import Progress
from experiments.timing_config import LengthsPlan, Row, TimingConfig, WorldPlan
from experiments.worlds import build_world
from policies.recgpt.agent import Agent
from policies.recgpt.moments import requests_at
from policies.registry import policy_class
from simulator.batches import DAY_SECONDS
from simulator.serving.transformer import ModelShape, causal_flops, square_flops
from simulator.serving.workload import CallShape, JobShape
from simulator.shards import shard_pool
from simulator.streams import Stream


@dataclass(frozen=True)
class RowPlan:
    """What one refresh asks for.

    Attributes:
        job: its calls.
        roles: of each call, stage by stage.
        shares: whether what calls share is read once; otherwise each call reads it.
        counted: mean calls, and mean tokens of a call, by role, before they were rounded; None where they were stated.
    """

    job: JobShape
    roles: tuple[tuple[str, ...], ...]
    shares: bool
    counted: dict[str, dict[str, float]] | None

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens of all calls: of prompts, those of them that are read, and those that are written."""
        calls = self.job.calls
        prompt = sum(call.shared + call.own for call in calls)
        kept = sum(call.shared for call in calls) - max(call.shared for call in calls) if self.shares else 0
        return {"prompt": prompt, "read": prompt - kept, "written": sum(call.output for call in calls)}

    def flops(self, shape: ModelShape) -> dict[str, int]:
        """Operations of all calls: ``causal``, the count used everywhere, and ``square``, with prompts in full squares.

        A kernel that multiplies the whole square of a prompt and masks the future out afterwards does the latter; what
        is written is the same in both, since a single token has no future in its prompt.
        """
        causal = square = kept = 0
        for call in self.job.calls:
            past = kept if self.shares and call.shared else 0
            read, written = call.shared + call.own - past, call.output - 1
            writing = causal_flops(shape, written, past + read, written)
            causal += causal_flops(shape, read, past, 1) + writing
            square += square_flops(shape, read, past, 1) + writing
            kept = max(kept, call.shared)
        return {"causal": causal, "square": square}

    def as_dict(self, shape: ModelShape | None) -> dict[str, Any]:
        """The plan as ``timing.json`` holds it, with the operations of a model of this shape."""
        stages = [
            [
                {"role": role, "shared": call.shared, "own": call.own, "output": call.output}
                for role, call in zip(roles, stage, strict=True)
            ]
            for roles, stage in zip(self.roles, self.job.stages, strict=True)
        ]
        return {
            "stages": stages,
            "shares_prefix": self.shares,
            "calls": len(self.job.calls),
            "tokens": self.tokens,
            "flops": None if shape is None else self.flops(shape),
            "counted": self.counted,
        }


def agent_class(name: str) -> type[Agent]:
    """The design of this name; its class knows the stages of its calls."""
    found = policy_class(name)
    assert issubclass(found, Agent)
    return found


def stated_plans(config: TimingConfig) -> dict[str, dict[str, RowPlan]]:
    """Each row's plan where the config states its lengths, by the plan's name and the row's."""
    return {
        name: {row: stated_plan(plan, choice) for row, choice in config.rows.items()}
        for name, plan in config.plans.items()
        if isinstance(plan, LengthsPlan)
    }


def make_plans(config: TimingConfig, progress: Progress) -> dict[str, dict[str, RowPlan]]:
    """Each row's plan, by the plan's name and the row's, in the order of the config.

    Raises:
        LanguageError: a row's language model cannot be loaded.
    """
    stated = stated_plans(config)
    return {
        name: world_plans(plan, config.rows, config.seed, progress) if isinstance(plan, WorldPlan) else stated[name]
        for name, plan in config.plans.items()
    }


def stated_plan(plan: LengthsPlan, row: Row) -> RowPlan:
    """A design's calls with lengths as stated."""
    params = row.params
    if row.policy == "recgpt_v1":
        calls = {"route": (len(params["routes"]), plan.history, plan.route)}
    else:
        context = plan.compressed if params["compression"] else plan.history
        calls = {
            "planner": (1, context, plan.planner),
            "expert": (params["experts"], 0, plan.expert),
            "arbiter": (1, context, plan.arbiter),
        }
        if plan.style is not None and params["explained"]:
            calls["style"] = (1, context, plan.style)
    shaped = {
        role: (number, CallShape(own=lengths.prompt, output=lengths.answer, shared=shared))
        for role, (number, shared, lengths) in calls.items()
    }
    return _planned(row, shaped, None)


def world_plans(plan: WorldPlan, rows: Mapping[str, Row], seed: int, progress: Progress) -> dict[str, RowPlan]:
    """Designs' calls with mean lengths by role, as the policies' accounts hold them.

    The policies learn nothing but the tags; what they think, they think of ``plan.users`` users on the morning after
    the history.
    """
    built = build_world(plan.world, start=plan.start, days=plan.history_days + 1, scenario="item", slots=10, seed=seed)
    with shard_pool(1) as pool:
        log, _ = play_or_read_history(built, plan.history_days, seed, pool, progress)
    catalog, users, context = (
        built.world.catalog.observed,
        built.world.population.observed,
        built.world.environment.observed(),
    )
    draw = Stream(seed, "timing/users").uniform(users.user)
    chosen = np.sort(users.user[np.argsort(draw, kind="stable")[: plan.users]])
    morning = np.full(len(chosen), plan.history_days * DAY_SECONDS, np.int64)
    requests = requests_at(log, users, catalog.items, context, chosen, morning)
    found = {}
    with progress.stage("asking for plans", len(rows)) as stage:
        for name, row in rows.items():
            # With the prefix shared the account tells how long it is; the answers are the same.
            params = row.params | ({"share_prefix": True} if row.policy == "recgpt_v1" else {})
            design = agent_class(row.policy)
            agent = design(design.Params.model_validate(params), seed)
            agent.prepare(log, catalog, users, context)
            agent.open_ledger()
            agent.reason(requests)
            found[name] = counted_plan(row, agent.ledger.as_dict())
            stage.advance()
    return found


def counted_plan(row: Row, account: Mapping[str, Any]) -> RowPlan:
    """The plan that an account tells, tokens and calls rounded to whole ones.

    Args:
        row: the design.
        account: see ``Ledger.as_dict``; V1's with the prefix shared.
    """
    jobs = account["jobs"]["refresh"]["jobs"]
    roles = account["roles"]
    counted = {
        role: {
            "calls": entry["calls"] / jobs,
            **{key: entry[key] / entry["calls"] for key in ("prompt_tokens", "cached_tokens", "generated_tokens")},
        }
        for role, entry in roles.items()
    }
    if row.policy == "recgpt_v1":
        routes = len(row.params["routes"])
        context = counted["route"]["cached_tokens"] * routes / (routes - 1) if routes > 1 else 0.0
    else:
        context = counted["arbiter"]["cached_tokens"]
    shared, readers = round(context), agent_class(row.policy).readers
    shaped = {
        role: (
            max(1, round(each["calls"])),
            CallShape(
                own=max(1, round(each["prompt_tokens"] - (shared if role in readers else 0))),
                output=round(each["generated_tokens"]) + 1,  # the token that ends an answer is written too
                shared=shared if role in readers else 0,
            ),
        )
        for role, each in counted.items()
    }
    return _planned(row, shaped, counted)


def _planned(
    row: Row, calls: Mapping[str, tuple[int, CallShape]], counted: dict[str, dict[str, float]] | None
) -> RowPlan:
    stages, named = [], []
    for roles in agent_class(row.policy).stages:
        there = [role for role in roles if role in calls]
        stages.append(tuple(calls[role][1] for role in there for _ in range(calls[role][0])))
        named.append(tuple(role for role in there for _ in range(calls[role][0])))
    shares = row.policy == "recgpt_v2" or bool(row.params["share_prefix"])
    return RowPlan(JobShape(tuple(stages)), tuple(named), shares, counted)
