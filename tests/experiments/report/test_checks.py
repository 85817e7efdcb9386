from typing import Any

from experiments.report.checks import checks


def named(given: dict[str, Any]) -> dict[str, Any]:
    """The checks by name."""
    return {check.name: check for check in checks(given)}


def test_a_sound_run_raises_no_alarm(results: Any) -> None:
    """Ratio, balance and visits are told, and what is only said is no alarm."""
    given = results()
    for visits in given["diagnostics"]["visits"].values():
        visits |= {"served": 10, "lost": 0}
    found = named(given)
    assert list(found) == [
        *("Sample ratio", "Balance before the experiment", "Users who never came", "Missing visits", "Truth"),
    ]
    assert not any(check.alarm for check in found.values())
    assert found["Users who never came"].sentence.endswith("base 9.09%, new 9.09%.")


def test_what_should_make_a_reader_doubt(analysed: Any) -> None:
    """A ratio that does not fit, an imbalance that chance does not explain, lost visits and too little power."""
    given = analysed(srm=False)
    given["diagnostics"]["warmup_balance"][0] |= {"p_value": 1e-5, "difference_sd": 0.4}
    found = named(given)
    for name in ("Sample ratio", "Balance before the experiment", "Missing visits", "Power not reached"):
        assert found[name].alarm
    assert (
        "+0.400 standard deviations (Gross merchandise value, new)" in found["Balance before the experiment"].sentence
    )
    assert "62.0% to be noticed (new; 80.0% was wanted)" in found["Power not reached"].sentence
    assert "340 users would have been needed, 200 were there" in found["Power not reached"].sentence


def test_one_imbalance_of_many_is_chance(results: Any) -> None:
    """A single p-value under the level among twenty comparisons is told and raises no alarm."""
    given = results()
    [row] = given["diagnostics"]["warmup_balance"]
    given["diagnostics"]["warmup_balance"] = [row | {"p_value": 0.04}] + [row] * 19
    check = named(given)["Balance before the experiment"]
    assert check.sentence.startswith("1 of 20 comparisons")
    assert not check.alarm


def test_outcomes_that_were_not_watched_to_the_end_are_counted(results: Any) -> None:
    """A metric that rests on fewer than the exposed users says on how many."""
    given = results()
    given["comparisons"][1]["users"] = {"base": 60, "new": 55}
    assert "Click-through rate (new) rests on 115 of 200 exposed users" in named(given)["Missing outcomes"].sentence


def test_unknown_power_is_said(analysed: Any) -> None:
    """Where power could not be computed the page says so and raises no alarm."""
    given = analysed()
    given["power"][0] |= {"power": None, "smallest_lift": None, "users_needed": None}
    assert named(given)["Power"].alarm is None


def test_low_power_is_no_alarm_where_a_difference_was_found(analysed: Any) -> None:
    """What could have been missed was not; with users on the wrong arms nothing is found, and the alarm stays."""
    given = analysed()
    given["comparisons"][0]["p_adjusted"] = 0.3
    assert named(given)["Power not reached"].alarm
    for p_value, lift in ((0.001, 0.2), (0.001, -0.2)):
        given["comparisons"][0] |= {"p_adjusted": p_value, "effect": lift, "lift": lift}
        check = named(given)["Power"]
        assert check.alarm is None
        assert "A difference was found" in check.sentence
        assert "Power not reached" not in named(given)
    given["srm"]["ok"] = False
    assert named(given)["Power not reached"].alarm


def test_the_page_marks_alarms_in_words_too(analysed: Any, shown: Any) -> None:
    """An alarm is not told by its colour or sign alone."""
    text = shown(analysed(srm=False)).text
    assert 'Sample ratio<span class="unseen"> (alarm)</span>' in text


def test_empty_values_are_told_by_arm(results: Any) -> None:
    """A column with empty values says how many of each arm, and units who were all seen are not called absent."""
    given = results()
    given["diagnostics"]["missing"] = [{"column": "spend", "share": {"base": 0.125, "new": 0.0}}]
    for arm in given["arms"].values():
        arm["assigned"] = arm["users"]
    found = named(given)
    assert found["Missing values"].sentence == "Empty in the column spend: base 12.5%, new 0.00%."
    assert "Users who never came" not in found
