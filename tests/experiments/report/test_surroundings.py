from typing import Any

from experiments.report import surroundings, words


def test_only_the_strongest_rows_are_drawn() -> None:
    """Rows that never rise are left out, and of many rows those with the most mass stay, in order."""
    entries = [{"topic": f"t{i}", "level": [0.0, float(i)]} for i in range(surroundings.STRONGEST + 3)]
    names = [name for name, _ in surroundings.heat_rows(entries, "topic")]
    assert names == [f"t{i}" for i in range(3, surroundings.STRONGEST + 3)]
    assert surroundings.heat_rows(None, "topic") == []


def test_the_table_of_the_context_holds_what_the_figure_does(results: Any) -> None:
    """Each day has its weather and what was up, and a day without anything says so."""
    table = surroundings.numbers(results())
    assert table.heads == ("Day", "Seattle", "Occasions", "Trends")
    assert table.rows[1] == ("6 Oct 2015", "rain, 9 to 15.5 °C, 3.2 mm", "Halloween 0.2", words.NOTHING)
    assert table.rows[0][2:] == (words.NOTHING, "capybara 0.1")


def test_a_world_without_surroundings_has_no_section(results: Any, shown: Any) -> None:
    """Where there was no weather, occasion or trend, there is neither a figure nor a heading."""
    page = shown(results() | {"context": {"dates": ["2015-10-05"], "cities": {}, "occasions": [], "trends": []}})
    assert "context" not in page.charts
    assert "What the world was like" not in page.text


def test_some_of_many_cities_are_drawn_and_that_is_said(results: Any) -> None:
    """Of many cities a few from all over the list are drawn, in figure and table alike; few cities are all there."""
    found = results()
    assert surroundings.note(found) == ""
    weather = next(iter(found["context"]["cities"].values()))
    found["context"]["cities"] = {f"city_{n}": weather for n in range(20)}
    assert surroundings.note(found) == " 5 of 20 cities are shown."
    assert [head for head in surroundings.numbers(found).heads if head.startswith("City")] == [
        f"City {n}" for n in range(0, 20, 4)
    ]
    figure = surroundings.context(found)
    assert figure is not None
    assert sum(each["text"].startswith("City") for each in figure["layout"]["annotations"]) == 5
