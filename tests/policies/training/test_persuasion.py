"""Explanations as training text."""

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.training.facts import occasion_keys
from policies.training.made_up_days import weathers
from policies.training.persuasion import (
    _NICE,
    AUDIENCES,
    RHETORICS,
    SIGNAL_TEMPLATES,
    TITLE_TEMPLATES,
    TONES,
    WORDS,
    Style,
    explanation,
    felt_weather,
    live_signals,
    read_style,
    style_of,
)
from policies.training.title_words import read_title
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS, SEASONS, WEATHER_SIGNALS, load_taxonomy
from simulator.titles import compose_titles

TAXONOMY = load_taxonomy()
CATEGORY = np.arange(4 * len(TAXONOMY.categories)) % len(TAXONOMY.categories)
TITLES = compose_titles(TAXONOMY, CATEGORY, 6)
OCCASION_TITLES = tuple(occasion_keys())
WEATHER_WORDS = {
    "rain": r"\brain(?:y)?\b",
    "snow": r"\bsnow(?:y)?\b",
    "heat": r"\b(?:heat|hot)\b",
    "cold": r"\bcold\b",
    "wind": r"\bwind(?:y)?\b",
    "sun": r"\bsun(?:ny)?\b",
}

UNIT = st.floats(1e-9, 1.0 - 1e-9)
WEATHERS = st.one_of(st.just(""), st.sampled_from(weathers(1)[0]))
AHEAD = st.lists(
    st.tuples(st.sampled_from(OCCASION_TITLES), st.sampled_from(["now", "tomorrow", "in 6 days", "in 21 days"])),
    max_size=3,
    unique_by=lambda pair: occasion_keys()[pair[0]],
).map(lambda pairs: ", ".join(" ".join(pair) for pair in pairs))
TRENDS = st.lists(st.sampled_from([topic.name for topic in TAXONOMY.topics]), max_size=4, unique=True).map(", ".join)
STYLES = st.builds(
    Style,
    st.sampled_from(TONES),
    st.sampled_from(RHETORICS),
    st.sampled_from(AUDIENCES),
    st.sampled_from([*SEASONS, *OCCASION_TITLES]),
)


@given(st.integers(-1, 1), st.integers(-1, 5), st.integers(-1, 3), st.sampled_from([*SEASONS, ""]), AHEAD, UNIT)
def test_styles_parse_back(gender: int, age: int, household: int, season: str, ahead: str, draw: float) -> None:
    """What is written as a style is read as that style, and its moment is the occasion, else the season."""
    occasion = re.sub(r" (?:now|tomorrow|in \d+ days).*", "", ahead)
    text = style_of(gender, age, household, season, occasion, draw)
    style = read_style(text)
    assert style is not None
    assert str(style) == text
    assert style.moment == (occasion or season or "any day")
    if style.audience == "for parents":
        assert household >= 2
    if style.audience in ("for women", "for men"):
        assert style.audience == ("for women" if GENDERS[gender] == "female" else "for men")


@pytest.mark.parametrize(
    "text", ["", "warm", "warm, question, for parents", "hungry, tip, for men, autumn", "a, b, c, d"]
)
def test_what_is_no_style_reads_as_none(text: str) -> None:
    """Other text is no style."""
    assert read_style(text) is None


def test_styles_vary() -> None:
    """All tones, kinds of rhetoric and audiences come up among shoppers."""
    seen = {
        read_style(style_of(g, a, h, "autumn", "", draw))
        for g, a, h in product(range(-1, len(GENDERS)), range(-1, len(AGE_BANDS)), range(-1, len(HOUSEHOLDS)))
        for draw in np.linspace(0.01, 0.99, 40).tolist()
    }
    styles = [style for style in seen if style is not None]
    assert {style.tone for style in styles} == set(TONES)
    assert {style.rhetoric for style in styles} == set(RHETORICS)
    assert {style.audience for style in styles} == set(AUDIENCES)


def test_there_are_many_templates() -> None:
    """At least forty different templates, each kind of rhetoric in both tables, each naming the thing."""
    assert set(SIGNAL_TEMPLATES) == set(TITLE_TEMPLATES) == set(RHETORICS)
    every = [text for table in (SIGNAL_TEMPLATES, TITLE_TEMPLATES) for texts in table.values() for text in texts]
    assert len(set(every)) == len(every) >= 40
    assert all("{one}" in text or "{one_nice}" in text for text in every)
    assert all("{opening}" in t or "{purpose}" in t for texts in SIGNAL_TEMPLATES.values() for t in texts)


def test_adjectives_of_liking_claim_nothing() -> None:
    """No adjective of a tone is a property that the taxonomy knows of some thing."""
    known = {
        part.lower()
        for entry in TAXONOMY.categories
        for word in (*entry.words, *entry.modifiers, *entry.materials)
        for part in (word, *word.split())
    }
    assert set(_NICE) == set(TONES)
    assert not known & {word for words in _NICE.values() for word in words}


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(TITLES) - 1), STYLES, WEATHERS, AHEAD, TRENDS, UNIT)
def test_explanations_name_only_what_is_live_and_called_for(
    item: int, style: Style, weather: str, ahead: str, trends: str, draw: float
) -> None:
    """Apart from the thing's own name, no signal is named that is not live and called for with weight 0.3 or more."""
    category = int(CATEGORY[item])
    entry = TAXONOMY.categories[category]
    text = explanation(TITLES[item], category, str(style), weather, ahead, trends, TAXONOMY, draw)
    assert text == explanation(TITLES[item], category, str(style), weather, ahead, trends, TAXONOMY, draw)
    words = read_title(TITLES[item], entry)
    thing = " ".join((*words.modifiers[:2], *words.materials[:1], words.name))
    assert thing.lower() in text.lower()
    rest = re.sub(re.escape(thing), "", text, flags=re.IGNORECASE)
    for topic in TAXONOMY.topics:
        if re.search(rf"\b{re.escape(topic.name)}\b", rest):
            assert topic.name in trends
            assert topic.categories[entry.name] >= 0.3
    # Topics that may be named hold words of weather and seasons: "cold plunges", "summer games".
    for topic in TAXONOMY.topics:
        if topic.name in trends:
            rest = rest.replace(topic.name, "")
    for title, key in occasion_keys().items():
        if title in rest and not any(
            title in longer and longer in rest for longer in occasion_keys() if longer != title
        ):
            assert f"{title} " in ahead
            assert entry.occasions[key] >= 0.3
    for key, pattern in WEATHER_WORDS.items():
        if re.search(pattern, rest, re.IGNORECASE):
            assert key in felt_weather(weather)
            assert entry.weather[key] >= 0.3
    for season in SEASONS:
        if re.search(rf"\b{season}\b", rest):
            assert season == style.moment
            assert season in entry.seasons


@settings(max_examples=120, deadline=None)
@given(st.integers(0, len(TITLES) - 1), STYLES, WEATHERS, AHEAD, TRENDS, UNIT)
def test_explanations_are_one_sentence_in_their_style(
    item: int, style: Style, weather: str, ahead: str, trends: str, draw: float
) -> None:
    """A sentence of 8 to 20 words; a question exactly where the style asks for one; what is live is named."""
    category = int(CATEGORY[item])
    text = explanation(TITLES[item], category, str(style), weather, ahead, trends, TAXONOMY, draw)
    assert WORDS[0] <= len(text.split()) <= WORDS[1]
    assert text[-1] == ("?" if style.rhetoric == "question" else ".")
    assert "?" not in text[:-1]
    assert not re.search(r"\.(?: |$)", text[:-1])
    assert not re.search(r"[{}]|  ", text)
    assert text[0].isupper() or text[0].isdigit()
    signals = live_signals(category, weather, ahead, trends, TAXONOMY)
    assert not signals or any(
        signal.subject in text or signal.purpose in text or signal.opening.lower() in text.lower() for signal in signals
    )


def test_what_a_style_speaks_of_comes_first() -> None:
    """Where the style's moment calls for the thing, it is what is named."""
    pumpkins = next(i for i, entry in enumerate(TAXONOMY.categories) if entry.name == "pumpkin_decorations")
    for draw in np.linspace(0.01, 0.99, 30).tolist():
        text = explanation(
            "Spooky foam pumpkin decorations",
            pumpkins,
            "warm, tip, for parents, Halloween",
            "",
            "Thanksgiving in 20 days, Halloween in 4 days",
            "",
            TAXONOMY,
            draw,
        )
        assert "Halloween" in text
        assert "Thanksgiving" not in text


def test_a_text_that_is_no_style_is_explained_plainly() -> None:
    """A model may write anything for a style: the sentence is then a plain one."""
    umbrella = next(i for i, entry in enumerate(TAXONOMY.categories) if entry.name == "umbrella")
    text = explanation(
        "Automatic umbrella", umbrella, "nonsense", "cool, rain, 11 C", "nothing", "nothing", TAXONOMY, 0.4
    )
    assert "rain" in text
    assert text.endswith(".")


def test_felt_weather_is_felt() -> None:
    """Words of a context that count as a signal go with readings under which the world feels it."""
    words, strength = weathers(7)
    for told, felt in zip(words, strength, strict=True):
        for key in felt_weather(told):
            assert felt[WEATHER_SIGNALS.index(key)] > 0.0
    told = [key in felt_weather(text) for text in words for key in WEATHER_SIGNALS]
    assert strength.ravel()[np.array(told)].mean() > 5.0 * strength.ravel()[~np.array(told)].mean()
