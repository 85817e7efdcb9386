"""Lessons tell what was known that morning, and are answered by what the log says came next."""

import numpy as np
import pytest

from policies.recgpt.encoding import TextEncoder
from policies.recgpt.wording import ROUTES, Entity
from policies.training.corpus import ShortNames
from policies.training.lessons import EXPERT_TAGS, ROUTE_TAGS, Lesson, Teacher, themes_of
from simulator.batches import DAY_SECONDS


@pytest.fixture(scope="module")
def lessons(teacher: Teacher) -> list[Lesson]:
    """The first lessons of the teacher."""
    return [teacher.lesson(number) for number in range(60)]


def test_a_lesson_is_a_function_of_its_number(teacher: Teacher, lessons: list[Lesson]) -> None:
    """The same number gives the same lesson in any order."""
    assert [teacher.lesson(number) for number in (7, 3)] == [lessons[7], lessons[3]]


def test_all_tasks_are_taught(lessons: list[Lesson]) -> None:
    """Routes, planner, experts, arbiter, interest mining, style and explanation all occur."""
    kinds = {task.kind for lesson in lessons for task in (*lesson.tasks, *lesson.alone)}
    assert kinds == {*(f"route/{r}" for r in ROUTES), "planner", "expert", "arbiter", "interests", "style", "explain"}


def test_answers_end_and_hold_what_was_asked(lessons: list[Lesson], teacher: Teacher) -> None:
    """Every answer ends with one line break; tags are valid, distinct, and no more than asked for."""
    for lesson in lessons:
        for task in (*lesson.tasks, *lesson.alone):
            assert task.answer.endswith("\n")
            assert task.answer.count("\n") == 1
            if task.kind.startswith("route") or task.kind == "expert":
                tags = [teacher.vocabulary.parse(part) for part in task.answer.strip().split(",") if part.strip()]
                assert -1 not in tags
                assert len(set(tags)) == len(tags) <= max(ROUTE_TAGS, EXPERT_TAGS)


def test_the_arbiter_chooses_from_what_was_proposed(lessons: list[Lesson]) -> None:
    """Everything that the arbiter is taught to keep was proposed to it."""
    for lesson in lessons:
        for task in lesson.tasks:
            if task.kind == "arbiter":
                asked = "".join(part for part in task.prompt if isinstance(part, str))
                proposed = set(asked.split("Proposed: ")[1].split(". Choose")[0].split(", "))
                assert set(task.answer.strip().split(", ")) <= proposed


def test_experts_see_no_history(lessons: list[Lesson]) -> None:
    """What stands alone names no item of the history: experts know the shopper and the persona."""
    experts = [task for lesson in lessons for task in lesson.alone if task.kind == "expert"]
    assert experts
    assert not any(isinstance(part, Entity) for task in experts for part in task.prompt)


def test_histories_end_before_the_morning(teacher: Teacher) -> None:
    """No moment's history holds an interaction of its own day or later; some are short."""
    rng = np.random.default_rng(2)
    lengths = []
    for pick in range(0, teacher.moments, teacher.moments // 80):
        user, day = int(teacher._user[pick]), int(teacher._time[pick] // DAY_SECONDS)
        moment = teacher.moment(user, day, rng)
        assert (moment.history[2] < day * DAY_SECONDS).all()
        lengths.append(len(moment.history[0]))
    assert min(lengths) < 4
    assert max(lengths) <= teacher.most_events


def test_entities_are_items(lessons: list[Lesson], teacher: Teacher) -> None:
    """Items named in lessons exist."""
    prompts = [
        text for lesson in lessons for text in (lesson.prefix, *(t.prompt for t in (*lesson.tasks, *lesson.alone)))
    ]
    items = {part.item for text in prompts for part in text if isinstance(part, Entity)}
    assert items
    assert items <= set(range(teacher.evidence.catalog.items))


def test_short_names_stand_for_titles(teacher: Teacher, lessons: list[Lesson]) -> None:
    """A lesson in short names holds the category names of its history's items and none of their titles."""
    catalog = teacher.evidence.catalog
    names = {item: catalog.category_names[catalog.category[item]] for item in range(catalog.items)}

    class Letters:
        """A tokenizer of characters."""

        def encode(self, text: str) -> list[int]:
            """Code points."""
            return [ord(letter) for letter in text]

    encoder = TextEncoder(Letters(), catalog.titles, 1 << 21)
    told = [lesson for lesson in lessons if any(isinstance(part, Entity) for part in lesson.prefix)]
    assert told
    for short in (names, ShortNames(catalog)):
        for lesson in told:
            text = "".join(map(chr, encoder.full(lesson.prefix, short)))
            for part in lesson.prefix:
                if isinstance(part, Entity):
                    assert names[part.item] in text
                    assert catalog.titles[part.item] not in text


def test_themes_cover_all_categories(teacher: Teacher) -> None:
    """Every category belongs to a theme with a name."""
    themes = themes_of(teacher.evidence)
    assert len(themes.of) == teacher.evidence.catalog.categories
    assert themes.of.max() < len(themes.names)
    assert all(themes.names)
