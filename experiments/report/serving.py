"""What a serving cluster made of a run: cards and cost beside quality, waits, and how stale the tags were that served.

Made from the results alone. Each figure says how it is known: measured (counted in this run), modelled (what the
simulated queue made of the simulated users) or projected (seconds of a card, from data sheets and step times). Knows
nothing of the page around the figures.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from experiments.report import appearance, drawing, words
from experiments.report.drawing import Figure

Known = Literal["measured", "modelled", "projected"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_HOURS: Final = "projected_gpu_hours_work_a_day"


class Row(NamedTuple):
    """One quantity of every arm that has a cluster.

    Attributes:
        what: the quantity.
        known: how it is known.
        values: as text, in the order of ``arms``.
        ranges: what they may be if step times are shorter or longer by their error, as text; empty where unknown.
    """

    what: str
    known: Known
    values: tuple[str, ...]
    ranges: tuple[str, ...]


def present(results: Mapping[str, Any]) -> bool:
    """Whether a run had a serving cluster."""
    return bool(results.get("serving"))


def arms(results: Mapping[str, Any]) -> list[str]:
    """The arms that have a cluster, in the order of the results."""
    return [arm for arm, found in results["serving"]["arms"].items() if "projected" in found]


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Every figure of the section by name."""
    if not present(results):
        return {}
    return {
        "serving-pareto": pareto(results),
        "serving-load": _by_day(results, "projected_load", "share of what the cluster can do", "~%"),
        "serving-waiting": _by_day(results, "projected_waiting_hours", "hours of work waiting at midnight", "~g"),
    }


def duration(seconds: float | None) -> str:
    """Seconds in the unit in which they read well."""
    if seconds is None or not words.known(seconds):
        return words.NOTHING
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE), ("s", 1.0)):
        if seconds >= 2 * size:
            return f"{words.number(seconds / size)} {unit}"
    return f"{words.number(1000 * seconds)} ms" if seconds else "0 s"


def share(value: float | None) -> str:
    """A share as a percentage, without a sign."""
    return words.percent(value, sign=False)


def rows(results: Mapping[str, Any]) -> list[Row]:
    """The table: what was counted, what waited and was stale, what cards would do and cost."""
    section = results["serving"]
    currency = (section["settings"]["price"] or {}).get("currency")

    def measured(what: str, value: Callable[[Mapping[str, Any]], float | None]) -> Row:
        found = [words.number(value(section["arms"][arm]["measured"])) for arm in arms(results)]
        return Row(what, "measured", tuple(found), ())

    def modelled(what: str, value: Callable[[Mapping[str, Any]], str]) -> Row:
        return Row(what, "modelled", tuple(value(section["arms"][arm]["modelled"]) for arm in arms(results)), ())

    def projected(what: str, name: str, show: Callable[[float | None], str]) -> Row:
        found = [section["arms"][arm]["projected"][f"projected_{name}"] for arm in arms(results)]
        ranged = [words.known(each["low"]) for each in found]
        ranges = [f"{show(each['low'])} to {show(each['high'])}" for each in found] if all(ranged) else []
        return Row(what, "projected", tuple(show(each["value"]) for each in found), tuple(ranges))

    def age(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda found: duration(found["age_hours"][name] * _HOUR) if found["age_hours"] else words.NOTHING

    table = [
        measured("Calls of a refresh, on users of the log", lambda found: found["calls_a_job"]),
        measured("Prompt tokens", lambda found: found["prompt_tokens_a_job"]),
        measured("Prompt tokens that are read", lambda found: found["read_tokens_a_job"]),
        measured("Tokens written", lambda found: found["written_tokens_a_job"]),
    ]
    if any(section["arms"][arm]["measured"]["executed"] for arm in arms(results)):
        table.append(
            measured(
                "Prompt tokens that were read in the experiment",
                lambda found: (found["executed"] or {}).get("read_tokens_a_job"),
            )
        )
        told = [_explanations(section["arms"][arm]) for arm in arms(results)]
        table.append(
            Row("Share of explanations, left out here, in all tokens read and written", "measured", tuple(told), ())
        )
    table += [
        modelled("Age of tags at a visit, mean", age("mean")),
        modelled("Age of tags at a visit, median", age("p50")),
        modelled("Age of tags at a visit, a tenth above", age("p90")),
        modelled("Visits served by older tags than asked for", lambda found: share(found["older_than_asked"])),
        modelled(
            "Refreshes asked for while one was waiting, so not done twice",
            lambda found: share(found["jobs_merged"] / found["jobs_granted"]) if found["jobs_granted"] else "0",
        ),
        modelled(
            "Refreshes of simulated users not done by the end", lambda found: words.count(found["jobs_unfinished"])
        ),
        projected("GPU-seconds for 1,000 visits, of full cards", "gpu_seconds_work_per_1000_visits", words.number),
        projected("GPU-seconds for 1,000 visits, busy", "gpu_seconds_busy_per_1000_visits", words.number),
        projected("GPU-seconds for 1,000 visits, provisioned", "gpu_seconds_provisioned_per_1000_visits", words.number),
    ]
    if currency:
        table.append(projected(f"{currency} for 1,000 visits, provisioned", "cost_per_1000_visits", words.number))
    table += [
        projected("Load, mean", "load_mean", share),
        projected("Load, busiest day", "load_busiest", share),
        projected("Cards busy", "utilisation", share),
        projected("MFU while busy", "mfu_busy", share),
        projected("MFU of provisioned cards", "mfu_provisioned", share),
        projected("Wait before the cluster, mean", "queue_wait_seconds_mean", duration),
        projected("Wait before the cluster, median", "queue_wait_seconds_p50", duration),
        projected("Wait before the cluster, a tenth above", "queue_wait_seconds_p90", duration),
        projected("Call to first token (TTFT), median", "ttft_seconds_p50", duration),
        projected("Call to first token (TTFT), a tenth above", "ttft_seconds_p90", duration),
        projected("Token to token (TPOT), median", "tpot_seconds_p50", duration),
        projected("Refresh from asked for to done, median", "refresh_seconds_p50", duration),
        projected("Refresh from asked for to done, a tenth above", "refresh_seconds_p90", duration),
    ]
    slo = section["settings"]["slo"]
    if slo:
        promise = f"{share(slo['share'])} within {duration(slo['job'])}"
        table += [
            projected(f"Refreshes done within {duration(slo['job'])}", "slo_kept", share),
            projected(f"Cards for {promise} on the busiest day", "gpus_for_slo", words.count),
        ]
    return table


def _explanations(arm: Mapping[str, Any]) -> str:
    """Share of explanations in what an arm's model read and wrote; unknown where a student thought."""
    return share((arm["measured"]["executed"] or {}).get("explanation_share_left_out"))


def setting(results: Mapping[str, Any]) -> str:
    """What serves whom, in a sentence."""
    found = results["serving"]["settings"]
    cards = {arm: results["serving"]["arms"][arm]["cards"] for arm in arms(results)}
    sizes = set(cards.values())
    told = f"{sizes.pop()}" if len(sizes) == 1 else ", ".join(f"{arm} {number}" for arm, number in cards.items())
    return (
        f"{found['model']} in {found['precision']} on {found['hardware']}, cards of each arm: {told}; "
        f"{words.count(found['users'])} users of the platform, {words.number(found['users_each'])} for each simulated "
        "one."
    )


def provenance(results: Mapping[str, Any]) -> str:
    """What is known of projected figures, in a sentence or two."""
    found = results["serving"]["settings"]
    if found["step_time_error"] is not None:
        error = (
            f"given, with a median error of {share(found['step_time_error'])}; ranges are for all of them off by that"
        )
    else:
        error = f"{found['step_time_source']}, not measured here, so their error is unknown and no range is told"
    price = found["price"]
    money = (
        f" Price: {price['per_hour']:g} {price['currency']} an hour and card, as of {words.day(price['at'])}."
        if price
        else " No cost is told, since no price is given."
    )
    return f"Projected, from data sheets and step times, which are {error}. No card was measured.{money}"


def sentences(results: Mapping[str, Any]) -> list[str]:
    """What a terminal says of serving."""
    if not present(results):
        return []
    section = results["serving"]
    lines = [f"Serving: {setting(results)}"]
    for arm in arms(results):
        modelled, projected = section["arms"][arm]["modelled"], section["arms"][arm]["projected"]
        age = modelled["age_hours"]
        cost = projected["projected_cost_per_1000_visits"]["value"]
        money = "" if cost is None else f", {words.number(cost)} {section['settings']['price']['currency']}"
        lines.append(
            f"{arm}: {words.number(projected['projected_gpu_seconds_work_per_1000_visits']['value'])} GPU-seconds of "
            f"full cards for 1,000 visits "
            f"({words.number(projected['projected_gpu_seconds_provisioned_per_1000_visits']['value'])} provisioned"
            f"{money}); load {share(projected['projected_load_mean']['value'])}, busiest day "
            f"{share(projected['projected_load_busiest']['value'])} (projected). Tags at visits "
            f"{duration(age['mean'] * _HOUR) if age else words.NOTHING} old, "
            f"{share(modelled['older_than_asked'])} older than asked for (modelled)."
        )
    return [*lines, _left_out(results), provenance(results)]


def _left_out(results: Mapping[str, Any]) -> str:
    """What no figure of cards holds, with its share where that was counted."""
    section = results["serving"]["arms"]
    counted = [f"{arm} {_explanations(section[arm])}" for arm in arms(results) if section[arm]["measured"]["executed"]]
    known = f"; of all tokens read and written they are {words.listing(counted)} (measured)" if counted else ""
    return f"Seconds, loads and costs are of refreshes: writing explanations is in none of them{known}."


def pareto(results: Mapping[str, Any]) -> Figure:
    """Transaction value of a user, with its interval, against GPU-hours a day; a line through the efficient arms."""
    section = results["serving"]
    currency = str(results.get("currency") or "currency")
    points: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for arm, found in section["arms"].items():
        value = found["transaction_value"]
        if value["value"] is None:
            continue
        hours = found["projected"][_HOURS] if "projected" in found else {"value": 0.0, "low": None, "high": None}
        points.append((arm, hours, value))
    data: list[Figure] = []
    best = sorted((hours["value"], value["value"]) for arm, hours, value in points if arm in section["efficient"])
    data.append(
        {
            "type": "scatter",
            "mode": "lines",
            "x": [x for x, _ in best],
            "y": [y for _, y in best],
            "hoverinfo": "skip",
            "showlegend": False,
            "line": {"color": "@muted", "width": 1.4, "dash": "dot", "shape": "hv"},
        }
    )
    for arm, hours, value in points:
        color, shape = appearance.look(results, arm)
        ends, wide = words.pair(value["ci"]), words.pair([hours["low"], hours["high"]])
        told = f", {words.number(wide[0])} to {words.number(wide[1])}" if wide else ""
        interval = f", {words.number(ends[0])} to {words.number(ends[1])}" if ends else ""
        truth = f"<br>in truth {words.number(value['true'])}" if words.known(value["true"]) else ""
        mark: Figure = {
            "type": "scatter",
            "mode": "markers",
            "name": drawing.plain(arm),
            "x": [hours["value"]],
            "y": [value["value"]],
            "hovertext": [
                f"{drawing.plain(arm)}<br>{words.number(hours['value'])} GPU-hours a day{told} (projected)<br>"
                f"{words.number(value['value'])} {drawing.plain(currency)} a user{interval} (measured){truth}"
            ],
            "hoverinfo": "text",
            "marker": {"color": color, "symbol": shape, "size": 11},
        }
        if ends:
            mark["error_y"] = _whisker(value["value"], ends, color)
        if wide:
            mark["error_x"] = _whisker(hours["value"], wide, color)
        data.append(mark)
        if words.known(value["true"]):
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [hours["value"]],
                    "y": [value["true"]],
                    "hoverinfo": "skip",
                    "showlegend": False,
                    "marker": {"color": color, "symbol": "line-ew-open", "size": 16, "line": {"width": 2}},
                }
            )
    layout = drawing.layout(height=380)
    layout["xaxis"] = drawing.axis(title="GPU-hours a day of full cards, projected", rangemode="tozero", nticks=6)
    layout["yaxis"] = drawing.axis(title=drawing.plain(f"transaction value, {currency} a user"), nticks=6)
    return {"data": data, "layout": layout}


def _whisker(value: float, ends: tuple[float, float], color: str) -> Figure:
    return {
        "type": "data",
        "symmetric": False,
        "array": [ends[1] - value],
        "arrayminus": [value - ends[0]],
        "color": color,
        "thickness": 1.4,
        "width": 5,
    }


def _by_day(results: Mapping[str, Any], key: str, title: str, form: str) -> Figure:
    """One quantity of each arm's cluster by day."""
    data: list[Figure] = []
    for arm in arms(results):
        color, shape = appearance.look(results, arm)
        days = results["serving"]["arms"][arm]["days"]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": drawing.plain(arm),
                "x": [day["date"] for day in days],
                "y": [day[key] for day in days],
                "hovertext": [
                    f"{words.day(day['date'])}, {drawing.plain(arm)}<br>load {share(day['projected_load'])}<br>cards "
                    f"busy {share(day['projected_utilisation'])}<br>"
                    f"{words.number(day['projected_waiting_hours'])} hours of work waiting at midnight"
                    for day in days
                ],
                "hoverinfo": "text",
                "line": {"color": color, "width": 2},
                "marker": {"size": 6, "color": color, "symbol": shape},
            }
        )
    layout = drawing.layout(height=280)
    layout["xaxis"] = drawing.axis(type="date", grid=False)
    layout["yaxis"] = drawing.axis(title=title, rangemode="tozero", nticks=6, tickformat=form)
    return {"data": data, "layout": layout}
