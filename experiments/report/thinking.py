"""What thinking cost and what came of it: tokens by role, refreshes by day, the thoughts about sample users.

Made from the results alone. Sums are divided by the refreshes or users they belong to; nothing else is computed. Knows
nothing of the page around the figures, nor of prompts and models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

from experiments.report import drawing, words
from experiments.report.appearance import look
from experiments.report.drawing import Figure

ROLES: Final = ("route", "planner", "expert", "arbiter", "style", "explainer")
"""In the order in which they work; others follow in the order of the results."""

_GIGA: Final = 1e9
_COUNTS: Final = ("calls", "prompt_tokens", "cached_tokens", "generated_tokens", "flops")
_FIDELITY: Final = {
    "overlap": "of the model's categories, named too",
    "popularity_overlap": "the same, by naming its most frequent",
    "js_distance": "Jensen-Shannon distance, 0 to 1",
    "categories": "categories named for each request",
    "learned": "requests learned from",
    "held_out": "requests held out",
}

State = Literal["chosen", "dropped", "proposed"]


class Cost(NamedTuple):
    """What one role, or all of an arm's, costs: for each refresh of a user.

    Attributes:
        role: name of the role, ``all roles`` for their sum.
        calls: of the model.
        prompt_tokens: read.
        cached_tokens: those of them that are read from a cache.
        generated_tokens: written.
        gflops: billions of floating-point operations.
    """

    role: str
    calls: float | None
    prompt_tokens: float | None
    cached_tokens: float | None
    generated_tokens: float | None
    gflops: float | None


class Spent(NamedTuple):
    """What thinking cost an arm.

    Attributes:
        arm: the arm.
        users: those who were played under it.
        refreshes: jobs that were executed for them.
        roles: each role's cost, in the order in which they work.
        whole: the sum of the roles.
        truncated: prompts that were longer than the model's window.
    """

    arm: str
    users: int
    refreshes: int
    roles: tuple[Cost, ...]
    whole: Cost
    truncated: int


class Beside(NamedTuple):
    """One quantity of every arm that thinks.

    Attributes:
        what: the quantity.
        by_arm: values as text, in the order of ``arms``.
        ratios: of each treatment to the control, as text; in the order of ``ratio_arms``.
    """

    what: str
    by_arm: tuple[str, ...]
    ratios: tuple[str, ...]


class Tag(NamedTuple):
    """A tag that a route or expert proposed.

    Attributes:
        text: the tag.
        state: what the joint choice made of it; ``proposed`` where it is told of neither.
        repeated: whether an earlier route or expert proposed the same.
    """

    text: str
    state: State
    repeated: bool


class Part(NamedTuple):
    """A route or expert: its signal or persona, and the tags it proposed."""

    name: str
    tags: tuple[Tag, ...]


class Card(NamedTuple):
    """What an arm thought about a user on a day.

    Attributes:
        arm, date: which, and when.
        context: what the prompt said of that day.
        parts: proposals.
        chosen, dropped: outcome of the joint choice, best first.
        style: of the explanations, empty where the arm has none.
        explanations: (item's title, text).
    """

    arm: str
    date: str
    context: str
    parts: tuple[Part, ...]
    chosen: tuple[str, ...]
    dropped: tuple[str, ...]
    style: str
    explanations: tuple[tuple[str, str], ...]


class Person(NamedTuple):
    """A sample user, and what every arm that played the user thought."""

    user: Any
    profile: str
    cards: tuple[Card, ...]


def present(results: Mapping[str, Any]) -> bool:
    """Whether any arm of a run thinks."""
    return bool(results.get("thinking"))


def arms(results: Mapping[str, Any]) -> list[str]:
    """The arms that think, in the order of the results."""
    found = results.get("thinking") or {}
    return [arm for arm in results["arms"] if arm in found]


def ratio_arms(results: Mapping[str, Any]) -> list[str]:
    """The treatments that think, where the control thinks too and can be divided by."""
    thinks = arms(results)
    control = results["analysis"]["control"]
    return [arm for arm in thinks if arm != control] if control in thinks else []


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Every figure of the section by name."""
    if not present(results):
        return {}
    jobs = ("executed", "waiting"), "users a day"
    age = ("mean_age_days", "p90_age_days"), "days since the last refresh"
    return {"thinking-jobs": _by_day(results, *jobs), "thinking-age": _by_day(results, *age)}


def spent(results: Mapping[str, Any]) -> list[Spent]:
    """What thinking cost each arm."""
    return [_spent(arm, results["thinking"][arm]) for arm in arms(results)]


def asked(results: Mapping[str, Any]) -> bool:
    """Whether any arm asked a language model during the run; students think without."""
    return any(each.whole.calls for each in spent(results))


def beside(results: Mapping[str, Any]) -> list[Beside]:
    """Costs of the arms beside each other, with the ratios to the control: a refresh, its depth, and a user."""
    names, over = arms(results), ratio_arms(results)
    costs = {each.arm: each for each in spent(results)}
    accounts = results["thinking"]

    def row(what: str, value: Callable[[str], float | None]) -> Beside:
        base = value(results["analysis"]["control"]) if over else None
        return Beside(
            what, tuple(words.number(value(arm)) for arm in names), tuple(_ratio(value(arm), base) for arm in over)
        )

    def whole(name: str) -> Callable[[str], float | None]:
        return lambda arm: getattr(costs[arm].whole, name)

    def depth(kind: str, count: str) -> Callable[[str], float | None]:
        return lambda arm: _depth(accounts[arm], kind, count)

    rows = [
        row("Model calls", whole("calls")),
        row("Prompt tokens", whole("prompt_tokens")),
        row("Prompt tokens not read from a cache", lambda arm: _uncached(costs[arm].whole)),
        row("Generated tokens", whole("generated_tokens")),
        row("GFLOP", whole("gflops")),
    ]
    kinds = sorted({kind for arm in names for kind in accounts[arm]["ledger"]["jobs"]})
    for kind in kinds:
        rows.append(row(f"Serial calls of a job ({kind})", depth(kind, "depth_calls")))
        rows.append(row(f"Serial generated tokens of a job ({kind})", depth(kind, "depth_tokens")))
    rows.append(row("Refreshes of a user over the run", lambda arm: _over(costs[arm].refreshes, costs[arm].users)))
    rows.append(row("GFLOP of a user over the run", lambda arm: _a_user(costs[arm])))
    return rows


def sentences(results: Mapping[str, Any]) -> list[str]:
    """What a terminal says of thinking: tokens of a refresh by arm, the ratios, how old tags were."""
    costs = spent(results)
    if not costs:
        return []
    accounts = results["thinking"]
    fidelities = {each.arm: accounts[each.arm].get("fidelity") or {} for each in costs}
    overlap = {arm: found["overlap"] for arm, found in fidelities.items() if "overlap" in found}
    tokens = "; ".join(
        f"{each.arm} reads {words.number(each.whole.prompt_tokens)} ({words.number(each.whole.cached_tokens)} cached) "
        f"and writes {words.number(each.whole.generated_tokens)}"
        for each in costs
        if each.arm not in overlap
    )
    lines = [f"Tokens for each refresh of a user: {tokens}."] if tokens else []
    if overlap:
        agreed = ", ".join(f"{arm} {words.number(share)}" for arm, share in overlap.items())
        lines.append(f"Students of the language model think for some arms; share of their tags that are its: {agreed}.")
    by_arm = {each.arm: each.whole for each in costs}
    control = results["analysis"]["control"]
    for arm in ratio_arms(results):
        one, base = by_arm[arm], by_arm[control]
        if arm in overlap or control in overlap:
            continue
        lines.append(
            f"{arm} over {control}: prompt tokens {_ratio(one.prompt_tokens, base.prompt_tokens)}, generated tokens "
            f"{_ratio(one.generated_tokens, base.generated_tokens)}, operations {_ratio(one.gflops, base.gflops)} "
            "(counts of the plan, not GPU seconds)."
        )
    if results.get("serving"):  # these ages are the schedule's; with a cluster, visits know better
        return lines
    ages = "; ".join(f"{arm} {_age_phrase(results['thinking'][arm]['refreshes'])}" for arm in by_arm)
    return [*lines, f"Age of users' tags in days: {ages}."]


def warmup_sentence(results: Mapping[str, Any]) -> str:
    """What the warm-up cost, which is in no arm's figures; empty where it cost nothing."""
    account = (results.get("diagnostics") or {}).get("warmup_thinking")
    if not account:
        return ""
    cost = _spent(results["analysis"]["control"], account)
    tokens = sum(role["prompt_tokens"] + role["generated_tokens"] for role in account["ledger"]["roles"].values())
    return (
        f"Before the arms parted, {cost.arm} served everyone: {words.count(cost.refreshes)} refreshes and "
        f"{words.count(tokens)} tokens that are counted in no arm."
    )


def fitting_sentences(results: Mapping[str, Any]) -> list[str]:
    """What the model was asked before an arm began: for calibration, and for the lessons of a student."""
    accounts = results.get("thinking") or {}
    said = []
    for arm in arms(results):
        roles = ((accounts[arm].get("fitting") or {}).get("roles") or {}).values()
        calls = sum(role["calls"] for role in roles)
        if calls:
            tokens = sum(role["prompt_tokens"] + role["generated_tokens"] for role in roles)
            gflops = words.count(sum(role["flops"] for role in roles) / _GIGA)
            said.append(f"{arm}: {words.count(calls)} calls, {words.count(tokens)} tokens, {gflops} GFLOP.")
    return said


def causes(day: Mapping[str, Any]) -> str:
    """How many users each change of context made due, a user once for each; empty where that is not told."""
    told = [key for key in day if key.startswith("due_") and key not in ("due_age", "due_change")]
    return ", ".join(f"{key.removeprefix('due_')} {words.count(day[key])}" for key in told if day[key])


def people(results: Mapping[str, Any]) -> list[Person]:
    """The sample users in the order of their numbers, each with the thoughts of every arm that has some."""
    found = [(sample, arm) for arm in arms(results) for sample in results["thinking"][arm]["samples"]]
    order = {arm: number for number, arm in enumerate(arms(results))}
    found.sort(key=lambda each: (each[0]["user"], each[0]["date"], order[each[1]]))
    return [
        Person(user, mine[0][0]["profile"], tuple(_card(sample, arm) for sample, arm in mine))
        for user, mine in ((user, list(group)) for user, group in groupby(found, key=lambda each: each[0]["user"]))
    ]


def fidelity(results: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """How close a distilled reasoner is to its model: (arm, [(measure, value)])."""
    accounts = results.get("thinking") or {}
    return [(arm, _flat(accounts[arm]["fidelity"])) for arm in arms(results) if accounts[arm].get("fidelity")]


def _spent(arm: str, account: Mapping[str, Any]) -> Spent:
    refreshes = sum(day["executed"] for day in account["refreshes"])
    by_role = account["ledger"]["roles"]
    names = [role for role in ROLES if role in by_role] + [role for role in by_role if role not in ROLES]
    total = {count: sum(role[count] for role in by_role.values()) for count in _COUNTS}
    return Spent(
        arm=arm,
        users=account["users"],
        refreshes=refreshes,
        roles=tuple(_cost(role, by_role[role], refreshes) for role in names),
        whole=_cost("all roles", total, refreshes),
        truncated=account["ledger"]["truncated"],
    )


def _cost(role: str, counts: Mapping[str, int], refreshes: int) -> Cost:
    calls, prompt, cached, generated, flops = (_over(counts[count], refreshes) for count in _COUNTS)
    return Cost(role, calls, prompt, cached, generated, None if flops is None else flops / _GIGA)


def _uncached(cost: Cost) -> float | None:
    if cost.prompt_tokens is None or cost.cached_tokens is None:
        return None
    return cost.prompt_tokens - cost.cached_tokens


def _a_user(cost: Spent) -> float | None:
    flops = cost.whole.gflops
    return None if flops is None else _over(flops * cost.refreshes, cost.users)


def _depth(account: Mapping[str, Any], kind: str, count: str) -> float | None:
    job = account["ledger"]["jobs"].get(kind)
    return _over(job[count], job["jobs"]) if job else None


def _over(total: float, whole: float) -> float | None:
    return total / whole if whole else None


def _ratio(value: float | None, base: float | None) -> str:
    return words.NOTHING if value is None or not base else f"{value / base:.3g}"


def _age_phrase(days: Sequence[Mapping[str, Any]]) -> str:
    means = [day["mean_age_days"] for day in days if words.known(day["mean_age_days"])]
    tails = [day["p90_age_days"] for day in days if words.known(day["p90_age_days"])]
    if not means or not tails:
        return words.NOTHING
    return f"{sum(means) / len(means):.1f} on average, a tenth of users above {max(tails):.1f} on the worst day"


def _by_day(results: Mapping[str, Any], keys: tuple[str, str], title: str) -> Figure:
    """Two quantities of each arm by day: the first as a line, the second dotted and without a name."""
    data: list[Figure] = []
    for arm in arms(results):
        color, shape = look(results, arm)
        days = results["thinking"][arm]["refreshes"]
        hover = [
            f"{words.day(day['date'])}, {drawing.plain(arm)}<br>{words.count(day['executed'])} executed, "
            f"{words.count(day['waiting'])} waiting<br>age {words.number(day['mean_age_days'])} days on average, "
            f"a tenth above {words.number(day['p90_age_days'])}"
            for day in days
        ]
        for number, key in enumerate(keys):
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines" if number else "lines+markers",
                    "name": drawing.plain(arm),
                    "legendgroup": drawing.plain(arm),
                    "showlegend": number == 0,
                    "x": [day["date"] for day in days],
                    "y": [day[key] if words.known(day[key]) else None for day in days],
                    "hovertext": hover,
                    "hoverinfo": "text",
                    "line": {"color": color, "width": 1.6 if number else 2, "dash": "dot" if number else "solid"},
                    "marker": {"size": 6, "color": color, "symbol": shape},
                }
            )
    layout = drawing.layout(height=280)
    layout["xaxis"] = drawing.axis(type="date", grid=False)
    layout["yaxis"] = drawing.axis(title=title, rangemode="tozero", nticks=6)
    return {"data": data, "layout": layout}


def _card(sample: Mapping[str, Any], arm: str) -> Card:
    chosen, dropped = tuple(sample["chosen"]), tuple(sample["dropped"])
    return Card(
        arm=arm,
        date=sample["date"],
        context=sample["context"],
        parts=tuple(_parts(sample["parts"], set(chosen), set(dropped))),
        chosen=chosen,
        dropped=dropped,
        style=sample["style"],
        explanations=tuple((each["item"], each["text"]) for each in sample["explanations"]),
    )


def _parts(parts: Sequence[Mapping[str, Any]], chosen: set[str], dropped: set[str]) -> Iterator[Part]:
    before: set[str] = set()
    for part in parts:
        tags = tuple(Tag(text, _state(text, chosen, dropped), text in before) for text in part["tags"])
        before |= set(part["tags"])
        yield Part(part["name"], tags)


def _state(text: str, chosen: set[str], dropped: set[str]) -> State:
    return "chosen" if text in chosen else "dropped" if text in dropped else "proposed"


def _flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in nested.items():
        name = prefix + _FIDELITY.get(key, key.replace("_", " "))
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}, ")
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            rows.append((name, words.number(value) if number else str(value)))
    return rows
