"""What a timing found, in a terminal: one table for what was measured, others for what is modelled.

Readable at 80 columns, without colour and without Unicode. Says what ``timing.json`` holds; works nothing out but
ratios to the first row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.timing_card import FITTED

NOTHING = "-"


def print_timing(console: Console, timing: Mapping[str, Any]) -> None:
    """Print what a timing found.

    Args:
        console: where to.
        timing: the contents of ``timing.json``.
    """
    _line(console, timing["name"], "bold")
    _plans(console, timing)
    if timing["measured"] is not None:
        if timing["measured"]["device"] == "cpu":
            _measured(console, timing)
        else:
            _measured_on_card(console, timing)
    _projected(console, timing)
    if timing["paper"] is not None:
        _paper(console, timing["paper"], timing["projected"])


def error_words(projected: Mapping[str, Any]) -> str:
    """What is known of the error of a modelled figure's step times."""
    if projected["step_time_source"] == FITTED:
        return f"step times fitted to this card's own, median error {100 * projected['step_time_error']:.1f}% held out"
    if projected["step_time_error"] is not None:
        return f"step times as the config gives them, median error {100 * projected['step_time_error']:.1f}%"
    if projected["step_time_source"] == "given":
        return "step times as the config gives them, their error unknown"
    return "step times assumed, not measured, so their error is unknown"


def _plans(console: Console, timing: Mapping[str, Any]) -> None:
    kinds = {"world": "read off the policies' account", "lengths": "as stated"}
    operations = ("operations", "in full\nsquares") if timing["flops_of"] else ()
    table = _table("plan", "refresh of", "calls", "stages", "prompt\ntokens", "of these\nread", "written", *operations)
    for name, plan in timing["plans"].items():
        for row, each in plan["rows"].items():
            tokens = each["tokens"]
            counts = (each["calls"], len(each["stages"]), tokens["prompt"], tokens["read"], tokens["written"])
            flops = [_flops(each["flops"][kind]) for kind in ("causal", "square")] if operations else []
            table.add_row(_text(name), _text(row), *(f"{count:,}" for count in counts), *flops)
    console.print()
    _line(console, "What a refresh asks for", "bold")
    console.print(table)
    _line(console, "; ".join(f"{name}: lengths {kinds[plan['kind']]}" for name, plan in timing["plans"].items()), "dim")
    _line(
        console,
        "A refresh ends with tags, and with the style of explanations; the explanations that V2's model writes are in "
        "no figure here.",
        "dim",
    )
    if operations:
        _line(
            console,
            f"Operations of {timing['flops_of']}: a token looks at what is before it, the count used everywhere here; "
            "beside it, where kernels multiply the whole square of a prompt and mask half of it.",
            "dim",
        )


def _measured(console: Console, timing: Mapping[str, Any]) -> None:
    measured, fit = timing["measured"], timing["measured"]["fit"]
    console.print()
    _line(console, f"Measured here: {measured['model']} on one thread of {timing['machine']['processor']}", "bold")
    table = _table("plan", "refresh of", "CPU-seconds", "middle half", f"to\n{timing['base']}", "by the fit", "off by")
    bases = {row["plan"]: row for row in measured["rows"] if row["row"] == timing["base"]}
    too_long: dict[str, int] = {}
    for row in measured["rows"]:
        spread = row["cpu_seconds_per_refresh"]
        if spread is None:
            too_long[row["plan"]] = max(too_long.get(row["plan"], 0), row["longest_call"])
            continue
        base = bases[row["plan"]]["cpu_seconds_per_refresh"]
        table.add_row(
            _text(row["plan"]),
            _text(row["row"]),
            f"{spread['median']:.4f}",
            f"{spread['q25']:.4f} to {spread['q75']:.4f}",
            f"x{spread['median'] / base['median']:.2f}" if base else NOTHING,
            f"{row['modelled_cpu_seconds_per_refresh']:.4f}",
            f"{100 * row['modelled_error']:+.1f}%",
        )
    if table.row_count:
        console.print(table)
    for name, longest in too_long.items():
        _line(
            console,
            f"plan {name} is not measured: calls of up to {longest:,} tokens, and the model's window is "
            f"{measured['window']:,}",
            "dim",
        )
    _line(
        console,
        f"{measured['refreshes_side_by_side']} users side by side; step times fitted in {fit['form']} form, median "
        f"error {100 * fit['held_out_median_error']:.1f}% on {fit['held_out_shapes']} of {fit['shapes']} shapes held "
        f"out. {measured['why']}: CPU-seconds of a small model, from which no GPU figure follows.",
        "dim",
    )


def _measured_on_card(console: Console, timing: Mapping[str, Any]) -> None:
    measured, fit, card = timing["measured"], timing["measured"]["fit"], timing["measured"]["card"]
    console.print()
    title = f"Measured on {card['name']}: {measured['model']}, {measured['dtype']}, {measured['weights']} weights"
    _line(console, title, "bold")
    base, rows = timing["base"], measured["rows"]
    table = _table(
        "plan", "refresh of", "GPU-s\nbusy", "GPU-s\nheld", f"to\n{base}", "MFU\nbusy", "MFU\nheld", "MBU\nwrite", "J"
    )
    bases = {row["plan"]: row["gpu_seconds"] for row in rows if row["row"] == base}
    for row in rows:
        spread, first = row["gpu_seconds"], bases.get(row["plan"])
        if spread is None:
            continue
        table.add_row(
            _text(row["plan"]),
            _text(row["row"]),
            _short(spread["median"]),
            _short(row["gpu_seconds_provisioned"]["median"]),
            f"x{spread['median'] / first['median']:.2f}" if first else NOTHING,
            _percent(row["mfu_busy"]),
            _percent(row["mfu_provisioned"]),
            _percent(row["mbu_decode"]),
            NOTHING if row["joules"] is None else _short(row["joules"]),
        )
    if table.row_count:
        console.print(table)
    for row in rows:
        if row["gpu_seconds"] is None:
            _line(console, f"plan {row['plan']}, {row['row']}: not measured, {row['why_not']}", "dim")
        elif row["cost_per_1000_refreshes"] is not None:
            cost = f"{_short(row['cost_per_1000_refreshes'])} {row['currency']} a 1,000, price of {row['price_at']}"
            _line(console, f"plan {row['plan']}, {row['row']}: {cost}", "dim")
    left_out = [each for each in measured["steps"] if each["why_not"] is not None]
    for step in left_out:
        where = f"{step['new']} tokens behind {step['past']}, {step['batch']} rows"
        _line(console, f"step of {where}: not measured, {step['why_not']}", "dim")
    told = f"No step times are fitted ({fit['why_not']}), so those of modelled cards are assumed or given"
    if fit["coefficients"] is not None:
        told = (
            f"Step times fitted in {fit['coefficients']['form']} form, median error "
            f"{100 * fit['held_out_median_error']:.1f}% on {fit['held_out_steps']} of {len(fit['steps'])} shapes held "
            "out"
        )
        off = [row["modelled_error"] for row in rows if row.get("modelled_error") is not None]
        if off:
            told += f", whole plans off by {100 * min(off):+.1f}% to {100 * max(off):+.1f}%"
    _line(
        console,
        f"{measured['refreshes_side_by_side']} refreshes side by side. Busy counts the phases, held all until the last "
        f"token; useful operations are counted causally. {told}.",
        "dim",
    )


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f}%"


def _projected(console: Console, timing: Mapping[str, Any]) -> None:
    serving = timing["serving"]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in timing["projected"]:
        groups.setdefault((each["hardware"], each["plan"]), []).append(each)
    for (hardware, plan), rows in groups.items():
        console.print()
        _line(
            console,
            f"Modelled, not measured: {serving['model']} on {hardware}, {rows[0]['precision']}, plan {plan}",
            "bold",
        )
        currency = rows[0]["currency"]
        table = _table(
            "refresh of",
            "GPUs",
            "GPU-s\nbusy",
            "GPU-s\nheld",
            "MFU\nbusy",
            "MFU\nheld",
            "prefill\nQPS",
            "decode\nTPS",
            "refresh\np95, s",
            *([f"{currency}\na 1,000"] if currency else []),
        )
        for row in rows:
            cost = row["projected_cost_per_1000_refreshes"]
            table.add_row(
                _text(row["row"]),
                f"{row['projected_gpus']}",
                _short(row["projected_gpu_seconds_busy_per_refresh"]),
                _short(row["projected_gpu_seconds_provisioned_per_refresh"]),
                f"{100 * row['projected_mfu_busy']:.1f}%",
                f"{100 * row['projected_mfu_provisioned']:.1f}%",
                _short(row["projected_prefill_qps_per_gpu"]),
                _short(row["projected_decode_tps_per_gpu"]),
                _short(row["projected_refresh_seconds_p95"]),
                *([] if cost is None else [_short(cost)]),
            )
        console.print(table)
        priced = f"price of {rows[0]['price_at']}" if currency else "no cost, since no price is given"
        _line(console, f"{error_words(rows[0])}; {priced}", "dim")
    if groups:
        console.print()
        _line(
            console,
            f"{serving['users_a_day']:,} refreshes a day, {serving['peak']:g} times the mean rate at the peak; "
            f"promise: {_promise(serving['slo'])}. Cards are sized for the peak and held all day; busy counts those "
            "that compute. QPS and TPS are prompts and tokens a second of one card that only reads, or only "
            "writes.",
            "dim",
        )


def _promise(slo: Mapping[str, Any]) -> str:
    words = {"ttft": "first token within {:g} s", "tpot": "a token each {:g} s", "job": "refreshed within {:g} s"}
    bounds = [form.format(slo[key]) for key, form in words.items() if slo[key] is not None]
    return f"{', '.join(bounds)} for {100 * slo['share']:g}%"


def _paper(console: Console, paper: Mapping[str, Any], projected: Sequence[Mapping[str, Any]]) -> None:
    by_hardware = paper["by_hardware"]
    console.print()
    _line(
        console, f"{paper['treatment']} over {paper['control']}, plan {paper['plan']}: the model and the report", "bold"
    )
    table = _table("", *(f"modelled,\n{name}" for name in by_hardware), "claimed", "the report's words")
    table.columns[-1].justify = "left"
    for place, first in enumerate(next(iter(by_hardware.values()))["ratios"]):
        ratios = [each["ratios"][place]["projected_ratio"] for each in by_hardware.values()]
        claimed = first["claimed_ratio"]
        table.add_row(
            first["figure"],
            *(f"x{_short(ratio)}" for ratio in ratios),
            NOTHING if claimed is None else f"x{_short(claimed)}",
            first["claim"],
        )
    console.print(table)
    known = {
        name: next(error_words(row) for row in projected if row["hardware"] == name and row["plan"] == paper["plan"])
        for name in by_hardware
    }
    _line(
        console,
        "The modelled ratios leave out disaggregation and fp8, which `all together` has below. "
        + "; ".join(f"{name}: {words}" for name, words in known.items())
        + ".",
        "dim",
    )
    for name, each in by_hardware.items():
        console.print()
        _line(console, f"What each saving is worth alone, modelled on {name}", "bold")
        bars = _table("", "GPUs", "GPUs\nsaved", "GPU-s busy\na refresh", "busy\nsaved")
        for bar in each["projected_waterfall"]:
            bars.add_row(
                bar["saving"],
                f"{bar['projected_gpus']}",
                f"{100 * bar['projected_gpus_saved']:.0f}%",
                _short(bar["projected_gpu_seconds_busy_per_refresh"]),
                f"{100 * bar['projected_busy_saved']:.0f}%",
            )
        console.print(bars)
        _line(console, known[name], "dim")
    console.print()
    _line(console, paper["explains"])


def _short(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _flops(value: float) -> str:
    """Operations with the prefix that reads well."""
    prefix, size = next((each for each in (("P", 1e15), ("T", 1e12), ("G", 1e9)) if value >= each[1]), ("M", 1e6))
    return f"{_short(value / size)} {prefix}"


def _table(first: str, *headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(first)
    for heading in headings:
        table.add_column(Text(heading), justify="left" if heading == "refresh of" else "right")
    return table


def _text(text: Any) -> Text:
    """Text that is no markup."""
    return Text(str(text))


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), width=min(console.width, 100), highlight=False)
