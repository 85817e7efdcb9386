from typing import Any

from experiments.report import retention, words


def test_who_is_gone_and_whether_arms_differ(analysed: Any) -> None:
    """Counts, the log-rank test of each treatment and the truth are told."""
    assert retention.sentences(analysed()) == [
        "Gone for 7 days or more: base 9 of 100 and new 9 of 100.",
        "new against base: log-rank chi-square 1.250, p = 0.260, not corrected.",
        "True share still there on the last day: base 91.0% and new 91.0%.",
    ]


def test_nobody_went(analysed: Any, shown: Any) -> None:
    """Where one arm lost nobody its curve stays at 1, and where none did there is no section."""
    given = analysed()
    given["retention"]["curves"][1]["points"] = []
    given["retention"]["tests"][0] |= {"chi_square": None, "p_value": None}
    assert "nobody went" in retention.sentences(given)[1]
    lines = [trace for trace in retention.stayed(given)["data"] if trace.get("name") == "new"]
    assert lines[0]["y"] == [1.0]
    given["retention"]["curves"][0]["points"] = []
    assert not retention.present(given)
    assert "Who stays" not in shown(given).text


def test_curves_are_steps_from_one_with_their_band(analysed: Any) -> None:
    """A curve begins at 1 on the day of exposure, falls in steps, and its band lies around it and hides with it."""
    band, line = retention.stayed(analysed())["data"][2:]
    assert line["x"] == [0, 7, 9]
    assert line["y"] == [1.0, 0.95, 0.9]
    assert line["line"]["shape"] == "hv"
    assert band["legendgroup"] == line["legendgroup"]
    assert band["x"] == [0, 7, 7, 9, 9, 9, 9, 7, 7, 0]
    assert band["y"] == [1.0, 1.0, 0.98, 0.98, 0.95, 0.82, 0.9, 0.9, 1.0, 1.0]


def test_the_tables_hold_what_the_figures_do(analysed: Any) -> None:
    """Each arm and day has its row, and an unknown interval is shown as unknown."""
    given = analysed()
    assert retention.stayed_numbers(given).rows[0] == ("base", "7", "100", "95.0%", "90.0% to 98.0%")
    given["retention"]["returns"][0]["points"][0]["ci"] = None
    assert retention.returned_numbers(given).rows[0] == ("base", "1", "99", "40.0%", words.NOTHING)
