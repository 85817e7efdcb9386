import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.lexicon import AUDIENCES, Lexicon, Named
from simulator.taxonomy import OCCASIONS, SEASONS, WEATHER_SIGNALS, load_taxonomy
from simulator.world import World

TAXONOMY = load_taxonomy()


@pytest.fixture(scope="module")
def lexicon(world: World) -> Lexicon:
    """The lexicon of a generated shop."""
    catalog, environment = world.catalog.observed, world.environment
    return Lexicon(
        catalog.category_names,
        catalog.department_names,
        environment.calendar.occasions,
        environment.calendar.titles,
        environment.topic_names,
        TAXONOMY,
        shelved=True,
    )


def called(lexicon: Lexicon, named: Named) -> set[str]:
    """The concepts that a text names, by their keys."""
    keys = [*WEATHER_SIGNALS, *OCCASIONS, *(topic.key for topic in TAXONOMY.topics), *SEASONS]
    keys += [category.name for category in TAXONOMY.categories]
    keys += [*TAXONOMY.department_names, *AUDIENCES]
    assert len(keys) == lexicon.audiences + len(AUDIENCES)
    return {keys[concept] for concept in named.concepts}


@pytest.mark.parametrize(
    ("text", "concepts"),
    [
        ("It is a rainy day.", {"rain"}),
        ("Sunshine and a chilly wind", {"sun", "cold", "wind"}),
        ("Halloween is coming, so think of the kids!", {"halloween", "families"}),
        ("For Valentine\u2019s Day", {"valentines_day"}),
        ("everyone talks about matcha", {"matcha"}),
        ("Raincoats keep out no snow", {"snow", "raincoat"}),
        ("A women's winter coat", {"womens_winter_coat"}),
        ("CARDIGANS for autumn", {"cardigan", "autumn"}),
        ("Everything in Kids & Toys", {"kids_toys"}),
        ("We picked this one for you, since you like it.", set()),
        ("", set()),
        ("?!", set()),
    ],
)
def test_texts_name_concepts(lexicon: Lexicon, text: str, concepts: set[str]) -> None:
    """Names are found in any case, number and punctuation, the longest first, and fillers name nothing."""
    assert called(lexicon, lexicon.read(text)) == concepts


@pytest.mark.parametrize("kind", ["weather", "occasion", "topic", "season", "category", "department"])
def test_every_name_is_found(lexicon: Lexicon, world: World, kind: str) -> None:
    """Whatever the taxonomy and the calendar have a name for is named by that name."""
    calendar = world.environment.calendar
    first, names = {
        "weather": (lexicon.weather, WEATHER_SIGNALS),
        "occasion": (lexicon.occasions, calendar.titles),
        "topic": (lexicon.topics, world.environment.topic_names),
        "season": (lexicon.seasons, SEASONS),
        "category": (lexicon.categories, world.catalog.observed.category_names),
        "department": (lexicon.departments, world.catalog.observed.department_names),
    }[kind]
    for n, name in enumerate(names):
        assert first + n in lexicon.read(f"Look at {name} and see.").concepts, name


def test_attributes_are_claimed_of_the_thing_they_stand_before(lexicon: Lexicon) -> None:
    """A modifier is a claim right before a category's name, a material wherever it stands."""
    claimed = lexicon.read("a hooded waterproof raincoat")
    loose = lexicon.read("waterproof, they say, is hooded")
    assert claimed.modifiers == tuple(sorted(lexicon.words_of(["hooded waterproof"])))
    assert loose.modifiers == ()
    for text in ("a merino wool cardigan", "merino wool keeps you warm"):
        assert lexicon.read(text).materials == tuple(sorted(lexicon.words_of(["merino wool"])))
    assert max(claimed.modifiers) < lexicon.attribute_words


def test_names_say_nothing_beyond_themselves(lexicon: Lexicon) -> None:
    """Words of a name are no free words; all others but fillers are, and a title counts every word."""
    named = lexicon.read("On a rainy day the women's winter coat by Larkmoor")
    assert named.words == tuple(lexicon.words_of(["Larkmoor"]))
    assert set(named.all_words) == set(lexicon.words_of(["rainy women's winter coat Larkmoor"]))


def test_topics_that_are_things_are_known_to_be_ambiguous(lexicon: Lexicon, world: World) -> None:
    """A topic made of attributes and a category's name is ambiguous; one with a word of its own is not."""
    names = {world.environment.topic_names[c - lexicon.topics] for c in lexicon.ambiguous}
    assert "retro film cameras" in names
    assert not {"capybara", "world cup"} & names


@given(
    st.lists(st.sampled_from(["rain", "Halloween", "raincoat", "cotton", "so", "capybara", "zeppelin"]), max_size=12)
)
@settings(deadline=None)
def test_a_gist_is_of_the_set_of_words(lexicon: Lexicon, words: list[str]) -> None:
    """Neither order nor repetition changes a gist, and a text within another has a gist within the other's."""
    gist = lexicon.read(" ".join(words)).gist
    assert lexicon.read(" ".join(sorted(words) + words)).gist == gist
    assert lexicon.read(" ".join(words[1:])).gist & ~gist == 0
    assert 0 <= gist < 1 << 64
