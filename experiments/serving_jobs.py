"""What an arm's near-line jobs ask for: their calls, counted on some users, and how often jobs come for a visit.

Sizes must be known before anybody is served, and must not depend on which users a shard happens to hold. So the arm's
own language model thinks about a sample of all users on the last morning of the log, and every call is counted. The
sample is drawn evenly from the activity tiers that allocations tell apart, and weighed back. Nothing is read of the
days of the experiment. Knows no cluster.
"""

from dataclasses import dataclass

import numpy as np

from allocation.segments import TIER_BOUNDS, TIERS, Segments
from policies.delivery import NearLine
from policies.recgpt.moments import requests_at
from simulator.batches import DAY_SECONDS, Floats, InteractionLog, Ints
from simulator.serving.counted import CountedJobs
from simulator.streams import Stream
from simulator.world import World

RECENT_DAYS = 28
"""Days of the log from which the pace of visits and of jobs is read, at most."""


@dataclass(frozen=True)
class SampledJobs:
    """Jobs of a sample of users.

    Attributes:
        jobs: weighed so that they stand for the jobs of all users.
        tier: activity tier of each job's user, int64 [jobs].
    """

    jobs: CountedJobs
    tier: Ints


def tiers_of(log: InteractionLog, users: int) -> Ints:
    """Activity tier of each user by the interactions that the log holds, int64 [users]."""
    return np.digitize(np.bincount(log.user, minlength=users), TIER_BOUNDS)


def sample_jobs(policy: NearLine, world: World, log: InteractionLog, sample: int, seed: int) -> SampledJobs:
    """Think about ``sample`` users on the last morning of the log, and count each job's calls.

    The same users are thought about under every arm. A policy whose student serves asks its language model here: the
    cluster does the jobs of the model that the student stands for.

    Args:
        policy: fitted.
        world: whose users and catalogue they are; the truth is not looked at.
        log: that the policy was fitted on.
        sample: users, fewer where there are fewer.
        seed: of the run.
    """
    observed, context = world.population.observed, world.environment.observed().until(log.end_day - 1)
    tier = tiers_of(log, world.users)
    draw = Stream(seed, "serving/sample").uniform(observed.user)
    there = np.unique(tier)
    chosen, weight = [], []
    for number, each in enumerate(there.tolist()):
        mine = np.flatnonzero(tier == each)
        share = sample // len(there) + (number < sample % len(there))
        drawn = mine[np.argsort(draw[mine], kind="stable")[: max(share, 1)]]
        chosen.append(drawn)
        weight.append(np.full(len(drawn), len(mine) / world.users / len(drawn)))
    user = np.concatenate(chosen)
    morning = np.full(len(user), (log.end_day - 1) * DAY_SECONDS, np.int64)
    requests = requests_at(log, observed, world.catalog.items, context, observed.user[user], morning)
    return SampledJobs(policy.count_jobs(requests, np.concatenate(weight)), tier[user])


def seconds_a_visit(
    policy: NearLine, world: World, log: InteractionLog, seconds_a_job: Floats, segments: Segments
) -> Floats:
    """GPU-seconds of near-line work behind a visit of each segment: the seconds of a job times jobs for a visit.

    How many jobs come for a visit is the pace of the schedule on the log's last days, by city, over the pace of visits
    on the same days, by tier and city; where nobody came, over that of everybody.

    Args:
        policy: whose schedule it is.
        world: whose users they are.
        log: what is known when the experiment begins.
        seconds_a_job: GPU-seconds of a job by tier, float64 [tiers].
        segments: that an allocation tells apart.

    Returns:
        float64 [segments].
    """
    first = max(0, log.start_day, log.end_day - RECENT_DAYS)
    days = log.end_day - first
    city, tier = world.population.observed.city, tiers_of(log, world.users)
    cities = len(segments.cities)
    users = np.zeros((len(TIERS), cities))
    np.add.at(users, (tier, city), 1.0)
    jobs = np.zeros(cities)
    for day, granted in policy.grants(first, log.end_day, world.environment.observed()):
        if day > first:  # on the first day it is everybody
            jobs += np.bincount(city[granted], minlength=cities)
    pace = jobs / np.maximum(users.sum(axis=0), 1.0) / (days - 1) if days > 1 else np.ones(cities)
    visits = np.zeros((len(TIERS), cities))
    visitor = _visitors(log, first)
    np.add.at(visits, (tier[visitor], city[visitor]), 1.0)
    everybody = max(visits.sum(), 1.0) / max(users.sum(), 1.0) / days
    frequency = np.where(visits > 0.0, visits / np.maximum(users, 1.0) / days, everybody)
    return segments.of_tier_and_city(seconds_a_job[:, None] * pace[None, :] / frequency)


def _visitors(log: InteractionLog, first: int) -> Ints:
    """The user of each visit from a day on, int64 [visits]; of a log without impressions, of each that left a trace."""
    source = log if log.impressions is None else log.impressions
    late = source.time >= first * DAY_SECONDS
    moment = source.time if log.impressions is None else log.impressions.visit
    return np.unique(np.stack([source.user[late], moment[late]]), axis=1)[0]
