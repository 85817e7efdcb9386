from typing import Any

from experiments.report import daily, words


def test_a_run_without_days_has_no_daily_chart(results: Any, shown: Any) -> None:
    """Where no metric has a daily value the section is left out."""
    page = shown({**results(), "daily": []})
    assert not any(name.startswith("daily") for name in page.charts)
    assert "Day by day" not in page.text


def test_each_metric_has_a_figure_and_a_table(results: Any) -> None:
    """The primary metric comes first, and a table has a row for each day and treatment."""
    given = results("new", "newer")
    assert daily.metrics(given) == ["gmv", "ctr", "ner"]
    assert list(daily.charts(given)) == ["daily-0", "daily-1", "daily-2"]
    table = daily.numbers(given, "gmv")
    assert table.heads == (
        *("Day", "Arm", "base", "Treatment", "Difference", "Interval", "Lift", "Interval", "True lift"),
    )
    assert [row[:2] for row in table.rows] == [
        ("6 Oct 2015", "new"),
        ("7 Oct 2015", "new"),
        ("6 Oct 2015", "newer"),
        ("7 Oct 2015", "newer"),
    ]
    assert all(len(row) == len(table.heads) for row in table.rows)


def test_the_table_of_one_treatment_names_it(results: Any) -> None:
    """With one treatment its column bears its name; without a truth there is no column for it."""
    table = daily.numbers(results(truth=None), "ctr")
    assert table.heads == ("Day", "base", "new", "Difference", "Interval", "Lift", "Interval")
    assert table.rows[0][0] == "6 Oct 2015"


def test_a_band_hides_with_its_line(results: Any) -> None:
    """All traces of a treatment are one entry of the legend."""
    for trace in daily.effects(results("new", "newer"), "gmv")["data"]:
        assert trace.get("legendgroup") in ("new", "newer", "truth")


def test_an_unknown_day_breaks_the_band(results: Any) -> None:
    """A band never spans a day without an interval."""
    given = results()
    third = {**given["daily"][0], "day": 3, "date": "2015-10-08"}
    given["daily"].append(third)
    given["daily"][1] |= {"lift": None, "lift_ci": None}
    bands = [trace for trace in daily.effects(given, "gmv")["data"] if trace.get("fill") == "toself"]
    assert [set(band["x"]) for band in bands] == [{"2015-10-06"}, {"2015-10-08"}]
    assert words.NOTHING in daily.numbers(given, "gmv").rows[1]


def test_effects_that_grow_or_fade_are_told(analysed: Any, results: Any) -> None:
    """A trend is told with its slope, interval and truth if the corrected test finds it, else that none was found."""
    assert daily.trends(analysed()) == [
        "Gross merchandise value (new): the difference changes by −0.0200 a day (−0.0300 to −0.0100, adjusted "
        "p = 0.003, in truth −0.0150)."
    ]
    given = analysed()
    given["trends"][0]["p_adjusted"] = 0.2
    assert daily.trends(given) == ["No effect grows or fades from day to day, of 1 tested."]
    assert daily.trends(results()) == []
