"""Fill the figures of README.md and docs/guide from benchmarks/results: no number there is typed by hand.

    python benchmarks/_readme.py [RUN]

``RUN`` is the directory of a finished quickstart, whose verdict is shown as the terminal shows it.
"""

import json
import re
import sys
import textwrap
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this folder comes first otherwise, and hides packages of the same names

from rich.console import Console  # noqa: E402 - after the path is set

from experiments.terminal import print_verdict  # noqa: E402 - likewise

RESULTS = ROOT / "benchmarks" / "results"
METRICS = {"ctr": "CTR", "ner": "NER", "tv": "TV"}


def cases(name: str) -> dict[tuple[str, str], float]:
    """Values of a benchmark's cases by (case, metric)."""
    raw = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return {(case["case"], case["metric"]): case["value"] for case in raw["cases"]}


def percent(value: float) -> str:
    """A ratio minus 1 as a signed percentage."""
    return f"{100 * value:+.1f}%".replace("-", "\N{MINUS SIGN}")


def closed_loop(config: str) -> str:
    """The table of a closed-loop config: one row a metric."""
    values = {case: value for (case, _), value in cases("experiments").items()}
    rows = ["| metric | lift | 95% interval | adjusted p | true lift |", "|---|---|---|---|---|"]
    for metric, title in METRICS.items():
        found = {key: values[f"{config}/{metric}/{key}"] for key in ("lift", "lift_low", "lift_high", "p_adjusted")}
        truth, covered = values[f"{config}/{metric}/true_lift"], values[f"{config}/{metric}/covered"]
        p = "<0.001" if found["p_adjusted"] < 0.001 else f"{found['p_adjusted']:.3f}"
        rows.append(
            f"| {title} | {percent(found['lift'])} | {percent(found['lift_low'])} to {percent(found['lift_high'])} "
            f"| {p} | {percent(truth)} {'✓' if covered else '✗'} |"
        )
    return "\n".join(rows)


def replay(config: str) -> str:
    """The table of the open-loop config: one row a policy."""
    values = {case: value for (case, _), value in cases("experiments").items()}
    policies = list(
        dict.fromkeys(case.split("/")[1] for case in values if case.startswith(f"{config}/") and "@" in case)
    )
    metrics = list(
        dict.fromkeys(case.split("/")[2] for case in values if case.startswith(f"{config}/") and "@" in case)
    )
    rows = ["| policy | " + " | ".join(metrics) + " |", "|---|" + "---|" * len(metrics)]
    for policy in policies:
        found = [
            "{:.4f} ({:.4f} to {:.4f})".format(
                *(values[f"{config}/{policy}/{metric}/{key}"] for key in ("value", "low", "high"))
            )
            for metric in metrics
        ]
        rows.append(f"| {policy} | " + " | ".join(found) + " |")
    return "\n".join(rows)


INTENT = {
    "hr@30": "hr@30",
    "hr@30/unseen_called": "hr@30, unseen",
    "recall@10": "recall@10",
    "exclusive_recall@20": "exclusive recall@20",
    "duplicate_share": "duplicates",
    "tag_validity": "valid tags",
    "prompt_tokens": "prompt tokens",
    "cached_tokens": "of them cached",
    "gflops": "GFLOP",
}


def intents(config: str) -> str:
    """The table of an evaluation of intents: one row a policy, what it lacks left empty."""
    values = {case: value for (case, _), value in cases("experiments").items() if case.startswith(f"{config}/")}
    policies = list(dict.fromkeys(case.split("/")[1] for case in values if case.endswith("hr@30/value")))
    shown = {key: title for key, title in INTENT.items() if any(f"/{key}/value" in case for case in values)}
    rows = ["| policy | " + " | ".join(shown.values()) + " |", "|---|" + "---|" * len(shown)]
    for policy in policies:
        found = []
        for key in shown:
            place = f"{config}/{policy}/{key}"
            value = values.get(f"{place}/value")
            if value is None:
                found.append("")
            elif key.startswith("hr@"):
                found.append(f"{value:.3f} ({values[f'{place}/low']:.3f} to {values[f'{place}/high']:.3f})")
            else:
                found.append(f"{value:,.0f}" if value >= 100 else f"{value:.3f}")
        rows.append(f"| `{policy}` | " + " | ".join(found) + " |")
    return "\n".join(rows)


def thinking(config: str) -> str:
    """What each arm's plan takes for a user refreshed."""
    values = {case: value for (case, _), value in cases("experiments").items() if case.startswith(f"{config}/")}
    keys = {
        "prompt_tokens": "prompt tokens",
        "cached_tokens": "of them cached",
        "generated_tokens": "tokens written",
        "flops": "GFLOP",
    }
    arms = list(dict.fromkeys(case.split("/")[1] for case in values if case.endswith("/prompt_tokens")))
    rows = ["| arm | " + " | ".join(keys.values()) + " |", "|---|" + "---|" * len(keys)]
    for arm in arms:
        found = [values[f"{config}/{arm}/{key}"] / (1e9 if key == "flops" else 1) for key in keys]
        rows.append(f"| `{arm}` | " + " | ".join(f"{v:,.0f}" if v >= 100 else f"{v:.2f}" for v in found) + " |")
    return "\n".join(rows)


DESIGNS = ("v1_vs_v2_item", "v1_vs_v2_feed", "compression", "expert_count", "student", "distilled")


def designs(configs: Sequence[str]) -> str:
    """The table of experiments on designs: one row a treatment against its config's control."""
    found = {case: value for (case, _), value in cases("experiments").items()}
    rows = [
        "| config | treatment | CTR | true CTR | true NER | true TV | prompt tokens | operations |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for config in configs:
        mine = {case.split("/", 1)[1]: value for case, value in found.items() if case.startswith(f"{config}/")}
        arms = list(dict.fromkeys(case.split("/")[0] for case in mine if case.endswith("/prompt_tokens")))
        for arm in arms[1:]:
            at = f"{arm}/" if len(arms) > 2 else ""
            lift = "{} ({} to {})".format(
                *(percent(mine[f"{at}ctr/{key}"]) for key in ("lift", "lift_low", "lift_high"))
            )
            truths = [mine.get(f"{at}{metric}/true_lift") for metric in METRICS]
            told = ["" if truth is None else percent(truth) for truth in truths]
            cost = [_over(mine[f"{arm}/{key}"], mine[f"{arms[0]}/{key}"]) for key in ("prompt_tokens", "flops")]
            rows.append(f"| `{config}` | `{arm}` over `{arms[0]}` | " + " | ".join([lift, *told, *cost]) + " |")
    return "\n".join(rows)


def _over(value: float, base: float) -> str:
    return f"x{value / base:.2f}" if base else ""


def simulator() -> str:
    """The tables of slates a CPU-second, and of what many users take; each figure with what is wanted of it."""
    data = json.loads((RESULTS / "simulator.json").read_text(encoding="utf-8"))["cases"]
    rates = ["| world and policy | slates per CPU-second | wanted |", "|---|---|---|"]
    many = ["| many users | | | wanted |", "|---|---|---|---|"]
    for case in data:
        name, value, unit, target = (case[key] for key in ("case", "value", "unit", "target"))
        if unit == "slates/CPU-s" and case["metric"].startswith("median"):
            where = name if name.startswith("peer") else f"quickstart, `{name}`"
            rates.append(f"| {where} | {value:,.0f} | {_wanted(case, f'{target:,.0f}' if target else '')} |")
        elif " users" in name:
            many.append(f"| {name} | {case['metric']} | {value:,.4g} {unit} | {_wanted(case, f'{target}')} |")
    return "\n".join([*rates, "", *many])


def _wanted(case: dict[str, Any], target: str) -> str:
    if case["target"] is None:
        return ""
    return f"{target} {'✓' if case['met'] else '✗'}"


def allocation_arms() -> str:
    """The table of the allocation experiment: one row an arm against utility alone."""
    values = {case: value for (case, _), value in cases("experiments").items()}
    arms = list(dict.fromkeys(c.split("/")[1] for c in values if c.startswith("allocation/") and c.count("/") == 3))
    rows = ["| arm | CTR, estimate (truth) | NER | TV |", "|---|---|---|---|"]
    for arm in arms:
        found = [
            f"{percent(values[f'allocation/{arm}/{metric}/lift'])} "
            f"({percent(values[f'allocation/{arm}/{metric}/true_lift'])})"
            for metric in METRICS
        ]
        rows.append(f"| `{arm}` | " + " | ".join(found) + " |")
    return "\n".join(rows)


def allocation() -> str:
    """The table of the exposure program's speed."""
    values = cases("allocation")
    names = list(dict.fromkeys(case for case, metric in values if metric in ("exact solve", "CVXPY with Clarabel")))
    rows = ["| program | exact, CPU-ms | CVXPY with Clarabel, CPU-ms | ratio |", "|---|---|---|---|"]
    for name in names:
        found = [values.get((name, m)) for m in ("exact solve", "CVXPY with Clarabel", "exact is faster by")]
        rows.append(f"| {name} | " + " | ".join("" if v is None else f"{v:,.4g}" for v in found) + " |")
    return "\n".join(rows)


def serving_designs() -> str:
    """The cards that designs ask for: one row a design, a column for each card and peak."""
    values = cases("serving")
    rows = [
        case.removesuffix(", h20") for case, metric in values if metric.startswith("GPUs, ") and case.endswith(", h20")
    ]
    peaks = {peak: values["designs", f"peak over mean, {peak}"] for peak in ("ordinary day", "festival")}
    cards = [(card, peak) for card in ("h20", "h200") for peak in peaks]
    head = [f"{card.upper()}, {peak} (x{peaks[peak]:.1f})" for card, peak in cards]
    table = [f"| design | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for row in dict.fromkeys(rows):
        found = [values[f"{row}, {card}", f"GPUs, {peak}"] for card, peak in cards]
        table.append(f"| {row} | " + " | ".join(f"{value:,.0f}" for value in found) + " |")
    told = (
        f"{values['designs', 'refreshes a day']:,.0f} refreshes a day, {values['designs', 'share that keeps it']:g}% "
        f"done within {values['designs', 'seconds of a refresh, promised']:g} s at the busiest hour. Projected cards:"
    )
    return "\n".join([told, "", *table])


def serving_waterfall() -> str:
    """What each saving is worth on V1, alone and together, at the festival's peak."""
    values = cases("serving")
    names = [case.split(", ", 2)[2] for case, _ in values if case.startswith("waterfall, h20, ")]
    columns = [(card, metric) for card in ("h20", "h200") for metric in ("GPUs", "GPU-seconds busy a refresh")]
    head = [f"{card.upper()}, {metric}" for card, metric in columns]
    table = [f"| V1 with | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for name in dict.fromkeys(names):
        found = [values[f"waterfall, {card}, {name}", metric] for card, metric in columns]
        base = [values[f"waterfall, {card}, as it is", metric] for card, metric in columns]
        told = [f"{value:,.4g} ({percent(value / first - 1.0)})" for value, first in zip(found, base, strict=True)]
        told = [f"{value:,.4g}" for value in found] if name == "as it is" else told
        table.append(f"| {name} | " + " | ".join(told) + " |")
    return "\n".join(table)


def gpu() -> str:
    """What was measured on a card: plans and steps, or that nothing was."""
    file = RESULTS / "gpu_inference.json"
    if not file.is_file():
        return "Nothing has been measured on a GPU yet: `benchmarks/results/gpu_inference.json` is not there."
    data = json.loads(file.read_text(encoding="utf-8"))
    device = data["device"]
    plans = ["| plan, lengths | refreshes side by side | writing | GPU-s a refresh | middle half | MFU | J |"]
    plans.append("|---|---|---|---|---|---|---|")
    steps = ["| step | ms | middle half | tokens a second | MFU | MBU | J |", "|---|---|---|---|---|---|---|"]
    for row in data["rows"]:
        seconds = row["gpu_seconds"]
        if seconds is None:
            continue
        joules = "" if row["joules"] is None else f"{row['joules']:.3g}"
        if row["kind"] == "plan":
            half = f"{seconds['q25']:.4g} to {seconds['q75']:.4g}"
            plans.append(
                f"| {row['model']}, {row['row']}, {row['plan']} | {row['refreshes_side_by_side']} | {row['writing']} "
                f"| {seconds['median']:.4g} | {half} | {_of_peak(row['mfu_busy'])} | {joules} |"
            )
            continue
        half = f"{1e3 * seconds['q25']:.4g} to {1e3 * seconds['q75']:.4g}"
        what = f"reads {row['new']:,}" if row["phase"] == "prefill" else f"writes ({row['writing']})"
        steps.append(
            f"| {row['model']}, {row['dtype']}, {what} behind {row['past']:,}, {row['batch']} rows "
            f"| {1e3 * seconds['median']:.4g} | {half} | {row['tokens_per_second']:,.0f} | {_of_peak(row['mfu'])} "
            f"| {_of_peak(row['mbu'])} | {joules} |"
        )
    left = sum(1 for row in data["rows"] if row["gpu_seconds"] is None)
    fit = data["fit"]
    told = f"no step times were fitted ({fit['why_not']})"
    if fit["coefficients"] is not None:
        told = (
            f"step times fitted to these steps are off by {100 * fit['held_out_median_error']:.1f}% (median of "
            f"{fit['held_out_steps']} held out)"
        )
    words = (
        f"{device['name']}, driver {device['driver'] or 'unknown'}, torch {device['torch']}, "
        f"{'random' if data['settings']['weights'] == 'random' else 'loaded'} weights; {left} rows were not measured; "
        f"{told}."
    )
    return "\n".join([*plans, "", *steps, "", words])


def _of_peak(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


def analysis() -> str:
    """The table of what a million units take."""
    values = cases("analysis")
    rows = ["| table | CPU-seconds | peak memory, GiB |", "|---|---|---|"]
    for kind, title in (("parquet", "Parquet"), ("csv", "CSV")):
        for case in ("reading and analysing", "whole command"):
            name = f"{kind}, {case}"
            found = (values[name, "CPU-seconds"], values[name, "peak memory of the process"])
            rows.append(f"| {title}, {case} | " + " | ".join(f"{value:.2f}" for value in found) + " |")
    return "\n".join(rows)


AUDITED = {"false_alarms": "false alarms", "coverage": "effect covered", "lift_coverage": "lift covered"}
PLANS = {
    "uncorrected": "without correction",
    "obrien_fleming": "`obrien_fleming`",
    "pocock": "`pocock`",
    "power": "`power`",
    "asymptotic_cs": "`asymptotic_cs`",
    "msprt": "`msprt`",
}


def _share(values: dict[tuple[str, str], float], case: str) -> str:
    rate, low, high = (f"{100 * values[case, key]:.1f}%" for key in ("rate", "low", "high"))
    return f"{rate} ({low.removesuffix('%')} to {high})"


def audit() -> str:
    """The table of the audit: one row for each metric, by the method of the verdict."""
    values = cases("audit")
    metrics = list(dict.fromkeys(case.split("/")[1] for case, _ in values if case.startswith("false_alarms/")))
    rows = [
        "| metric | " + " | ".join(AUDITED.values()) + " | power | predicted |",
        "|---|" + "---|" * (len(AUDITED) + 2),
    ]
    for metric in metrics:
        found = []
        for check in AUDITED:
            design = "" if check == "false_alarms" else "/drawn"
            found.append(_share(values, f"{check}/{metric}/cuped{design}"))
        power = f"power/{metric}/cuped"
        found += [_share(values, power), f"{100 * values[power, 'predicted']:.1f}%"]
        rows.append(f"| `{metric}` | " + " | ".join(found) + " |")
    return "\n".join(rows)


def peeking() -> str:
    """The table of reading every day: one row for each kind of bounds."""
    values = cases("audit")
    found = {case.split("/")[2]: case for case, _ in values if case.startswith("peeking/")}
    rows = ["| read every day | stopped for nothing |", "|---|---|"]
    rows += [f"| {PLANS[plan]} | {_share(values, case)} |" for plan, case in found.items() if plan in PLANS]
    return "\n".join(rows)


REALISM_ROWS = {
    "hour": "hour",
    "weekday": "weekday",
    "gap": "gap between visits",
    "visits": "visits of a customer",
    "basket": "basket size",
    "popularity": "popularity, whichever items",
    "items": "popularity, item by item",
    "price": "price paid",
    "repeat": "share bought before",
    "category_month": "category by month",
    "order_hour": "hour of an order",
    "transitions": "two actions in a row",
    "after_view": "what follows a page view",
    "after_cart": "what follows a cart",
    "before_order": "what comes before an order",
    "orders": "orders and page views",
    "buyers": "who orders among a day's active users",
}


def realism(config: str) -> str:
    """The scorecard of a config: one row for each comparison, and in a sentence the two worst."""
    values = cases("realism")
    of_config = [case for case, metric in values if metric == "ratio" and case.split("/")[0] == config]
    rows = ["| row | distance | noise floor | 95% of floors below | times the floor |", "|---|---|---|---|---|"]
    for case in of_config:
        numbers = " | ".join(f"{values[case, key]:.4f}" for key in ("distance", "floor", "floor_high"))
        rows.append(f"| {REALISM_ROWS[case.split('/')[1]]} | {numbers} | {values[case, 'ratio']:.1f} |")
    worst = sorted(
        (case for case in of_config if (case, "place among the worst") in values),
        key=lambda case: values[case, "place among the worst"],
    )
    named = " and ".join(f"**{REALISM_ROWS[case.split('/')[1]]}**" for case in worst)
    return "\n".join([*rows, "", *textwrap.wrap(f"The two worst rows: {named}. {_beside_rows(config, values)}", 120)])


def _beside_rows(config: str, values: dict[tuple[str, str], float]) -> str:
    """What a scorecard says beside its rows."""
    if (f"{config}/classifier", "area") in values:
        area, low, high, halves, before = (
            values[f"{config}/classifier", key] for key in ("area", "low", "high", "real_halves", "days_before")
        )
        totals = ", ".join(
            f"{values[f'{config}/totals', title]:.2f} of the {title.lower()}"
            for title in ("Customers", "Visits", "Purchases")
        )
        return (
            f"A classifier tells drawn customers from real ones with an area under the curve of {area:.3f} "
            f"({low:.3f} to {high:.3f}), two halves of the real ones with {halves:.3f}, and the real ones from those "
            f"of as many days before with {before:.3f}. The draws have {totals} of the real days."
        )
    shares = [
        f"{what} {100 * values[f'{config}/{row}', f'{label}, simulated']:.1f}% (real "
        f"{100 * values[f'{config}/{row}', f'{label}, real']:.1f}%)"
        for row, label, what in (
            ("after_view", "favourite", "a page view is followed by a favourite in"),
            ("after_view", "cart", "by a cart in"),
            ("after_view", "order", "by an order in"),
            ("after_cart", "cart", "a cart by another in"),
            ("after_cart", "order", "by an order in"),
            ("buyers", "orders", "and of a day's active users order"),
        )
    ]
    return f"In the world {', '.join(shares)}."


def calibration() -> str:
    """The table of click estimates beside clicks."""
    values = cases("realism")
    rows = ["| policy | estimates read as of a click on what is | error, pp | noise, pp |", "|---|---|---|---|"]
    for case in dict.fromkeys(case for case, _ in values if "/calibration/" in case):
        _, _, policy, reading = case.split("/")
        error, noise = (100 * values[case, key] for key in ("error", "noise"))
        rows.append(f"| `{policy}` | {reading} | {error:.2f} | {noise:.2f} |")
    return "\n".join(rows)


def verdict(run: Path) -> str:
    """The verdict of a run as an 80-column terminal shows it."""
    out = StringIO()
    print_verdict(Console(file=out, width=80), json.loads((run / "results.json").read_text(encoding="utf-8")))
    return "```text\n" + "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n```"


def main() -> None:
    """Rewrite the blocks between ``<!-- figures: NAME -->`` and ``<!-- end figures -->``."""
    pages = {
        path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs/guide").glob("*.md")]
    }
    blocks = {name: closed_loop(name) for name in ("quickstart", "contexts_off", "aa", "online_retail", "demo")}
    measured = {case.split("/")[0] for case, _ in cases("experiments")}
    blocks |= {name: intents(name) for name in ("intent", "online_retail_intent") if name in measured}
    blocks |= {"demo_thinking": thinking("demo")}
    if found := [name for name in DESIGNS if name in measured]:
        blocks |= {"designs": designs(found)}
    blocks |= {"online_retail_replay": replay("online_retail_replay"), "simulator": simulator()}
    blocks |= {"allocation": allocation(), "allocation_arms": allocation_arms(), "gpu_inference": gpu()}
    blocks |= {"serving_designs": serving_designs(), "serving_waterfall": serving_waterfall()}
    blocks["analysis"] = analysis()
    blocks |= {"audit": audit(), "peeking": peeking()}
    blocks |= {"realism_log": realism("online_retail"), "realism_world": realism("quickstart")}
    blocks |= {"calibration": calibration()}
    if len(sys.argv) > 1:
        blocks["verdict"] = verdict(Path(sys.argv[1]))
    for name, block in blocks.items():
        found = 0
        for path, text in pages.items():
            pages[path], count = re.subn(
                rf"(<!-- figures: {name} -->\n).*?(<!-- end figures -->)",
                lambda match, block=block: f"{match[1]}\n{block}\n\n{match[2]}",
                text,
                flags=re.DOTALL,
            )
            found += count
        if found != 1:
            raise SystemExit(f"README.md and docs/guide: {found} blocks named {name!r}; there must be 1")
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
