from typing import Any

from experiments.report import segments


def test_a_claim_needs_the_test_of_a_difference(analysed: Any) -> None:
    """A split whose corrected test says so is told with the effect of each part, and no other is."""
    assert segments.sentences(analysed()) == [
        "Rain: the effect of new differs (+12.0% for rain and +1.00% for no rain; adjusted p = 0.004)."
    ]
    given = analysed()
    for row in given["interactions"]:
        row["p_adjusted"] = 0.3
    assert segments.sentences(given) == ["No split shows an effect that differs between its parts, of 2 tested."]
    for row in given["interactions"]:
        row["p_adjusted"] = None
    assert segments.sentences(given) == []


def test_the_table_holds_each_part_and_each_test_once(analysed: Any) -> None:
    """Every part has its row in the order of the results, and the test stands beside its split's first part."""
    table = segments.numbers(analysed(), "new")
    assert [row[0] for row in table.rows] == ["Rain: rain", "Rain: no rain", "City: New York", "City: Seattle"]
    assert [row[-1] for row in table.rows] == ["0.004", "", "0.600", ""]
    assert table.heads[-3:] == ("True lift", "p of a difference", "Adjusted")
    assert all(len(row) == len(table.heads) for row in table.rows)


def test_the_figure_marks_parts_truths_and_the_whole(analysed: Any) -> None:
    """One mark for each part with a lift, a diamond for each truth, a line at the effect on all users."""
    given = analysed()
    given["segments"][3] |= {"lift": None, "lift_ci": None}
    own, truths, whole = segments.parts(given, "new")["data"]
    assert own["x"] == [0.12, 0.01, 0.03]
    assert own["y"] == sorted(own["y"], reverse=True)
    assert truths["x"] == [0.04] * 3
    assert whole["x"] == [0.05, 0.05]
    labels = [each["text"] for each in segments.parts(given, "new")["layout"]["annotations"]]
    assert "no lift to show" in labels
    assert "Rain, difference p = 0.004" in labels


def test_a_column_of_somebody_else_keeps_its_name(analysed: Any, shown: Any, results: Any) -> None:
    """Splits of a table are called by their columns, and a run without splits has no section."""
    given = analysed()
    for row in (*given["segments"], *given["interactions"]):
        row["dimension"] = row["dimension"].replace("city", "sign_up_channel")
    assert "sign up channel: seattle" in shown(given).text
    assert "In parts" not in shown(results()).text
