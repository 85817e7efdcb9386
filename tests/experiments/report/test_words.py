from html import unescape
from typing import Any

import pytest

from experiments.report import words


@pytest.mark.parametrize(
    ("options", "headline", "sentences"),
    [
        (
            {},
            "new beats base on Gross merchandise value",
            [
                "The lift is +5.00% (95% interval +3.00% to +7.00%, adjusted p < 0.001).",
                "The true lift on this population is +4.00%, inside the interval.",
                "No metric got significantly worse.",
            ],
        ),
        (
            {"side_p": 0.01},
            "new beats base on Gross merchandise value",
            ["Significantly worse: Novelty exposure rate (−3.00%)."],
        ),
        (
            {"lift": -0.05, "truth": 0.01},
            "new loses to base on Gross merchandise value",
            ["+1.00%, outside the interval: the test got the direction wrong.", "No other metric got"],
        ),
        (
            {"p": 0.3, "lift": 0.01, "truth": 0.015},
            "No evidence that new differs from base on Gross merchandise value",
            [
                "adjusted p = 0.300",
                "+1.50%, inside the interval: a difference that this test did not notice.",
            ],
        ),
        (
            {"p": 0.3, "lift": 0.01, "truth": 0.0},
            "No evidence that new differs from base on Gross merchandise value",
            ["In truth the two do not differ, inside the interval: there was nothing to find."],
        ),
        (
            {"truth": 0.0},
            "new beats base on Gross merchandise value",
            ["outside the interval: this is a false alarm."],
        ),
        (
            {"truth": None},
            "new beats base on Gross merchandise value",
            ["The true effect of this run is not known."],
        ),
        (
            {"srm": False},
            "Do not trust new against base",
            ["do not trust the effects", "p < 0.001", "For the record, as measured: The lift is +5.00%"],
        ),
    ],
)
def test_the_verdict_in_words(
    options: dict[str, Any], headline: str, sentences: list[str], results: Any, shown: Any
) -> None:
    """Win, loss, no evidence, harm, known truth and broken assignment each get their own words."""
    found = words.verdicts(results(**options))[0]
    assert found.headline == headline
    page = unescape(shown(results(**options)).page)
    assert headline in page
    for sentence in sentences:
        assert sentence in found.paragraph
        assert sentence in page


@pytest.mark.parametrize(
    ("effect", "p", "p_adjusted", "higher", "word"),
    [
        (1.0, 0.01, 0.04, True, "better"),
        (1.0, 0.01, 0.04, False, "worse"),
        (-1.0, 0.01, None, True, "worse"),
        (1.0, 0.01, 0.06, True, "no evidence"),
        (None, None, None, True, "not estimable"),
        (1.0, float("nan"), None, True, "not estimable"),
    ],
)
def test_the_decision(effect: float | None, p: float | None, p_adjusted: float | None, higher: bool, word: str) -> None:
    """The adjusted p-value decides where there is one, and the metric says which direction is good."""
    row = {"effect": effect, "p_value": p, "p_adjusted": p_adjusted}
    assert words.decision(row, {"higher_is_better": higher}, 0.05) == word


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.percent(0.0321), "+3.21%"),
        (words.percent(-0.124), "−12.4%"),
        (words.percent(0.5, sign=False), "50.0%"),
        (words.number(0.02534, "share"), "2.53%"),
        (words.number(12345.678), "12,346"),
        (words.number(16.4), "16.40"),
        (words.number(0.063), "0.0630"),
        (words.number(7.0), "7"),
        (words.short(-15.50), "−15.5"),
        (words.signed(0.0012, "share"), "+0.12 pp"),
        (words.interval([0.011, 0.053]), "+1.10% to +5.30%"),
        (words.interval([-0.5, 2.0], "USD a user"), "−0.500 to +2.000"),
        (words.interval([0.1, None]), "–"),
        (words.p_value(0.00099), "<0.001"),
        (words.p_value(0.012), "0.012"),
        (words.p_value(None), "–"),
        (words.day("2015-10-05"), "5 Oct 2015"),
        (words.last_day("2015-11-01"), "31 Oct 2015"),
        (words.level(0.05), "95%"),
        (words.place("new_york"), "New York"),
        (
            words.flat({"rows": 1200, "refused": {"no_user": 3}}),
            [("rows", "1,200"), ("refused, no user", "3")],
        ),
    ],
)
def test_formats(written: Any, expected: Any) -> None:
    """Numbers are written as people read them."""
    assert written == expected


def test_the_truth_is_of_the_kind_of_its_estimate() -> None:
    """A lift has the true lift beside it, a difference the true difference, though its lift is known too."""
    truth = {"effect": -0.021, "lift": -1.0, "covered": True}
    assert words.truth_beside({"lift": -0.9, "truth": truth}, "share") == "−100.0%"
    assert words.truth_beside({"lift": None, "truth": truth}, "share") == "−2.10 pp"
    assert words.truth_beside({"lift": None, "truth": None}, "share") == words.NOTHING
