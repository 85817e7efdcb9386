"""What a training's YAML may say. Knows no world's log and no model."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from experiments.world_config import GeneratedWorld
from policies.training.facts import KnowledgeParams
from policies.training.settings import SchoolParams
from simulator.parameters import Parameters

UNSEEN_OCCASIONS = ("halloween", "lunar_new_year", "fathers_day")
UNSEEN_TOPICS = (
    "capybara",
    "pickleball",
    "retro_film_cameras",
    "glass_skin",
    "cosy_gaming",
    "solar_eclipse",
    "crochet",
    "pistachio_chocolate",
    "house_jungle",
    "van_life",
    "rescue_dogs",
    "power_cuts",
)


class TrainingWorld(Parameters):
    """A generated world whose log is taught."""

    seed: int = Field(ge=0, description="of all its draws")
    start: date = Field(description="first day")
    days: int = Field(default=380, ge=30, description="days logged")
    world: GeneratedWorld = Field(description="users, items, cities")


def _world(seed: int, start: date, users: int) -> TrainingWorld:
    return TrainingWorld(
        seed=seed,
        start=start,
        world=GeneratedWorld(
            kind="generated",
            users=users,
            items=3000,
            cities=("seattle", "new_york"),
            country="US",
            unseen=UNSEEN_OCCASIONS + UNSEEN_TOPICS,
        ),
    )


class TrainingConfig(Parameters):
    """What a language model is taught, and how."""

    kind: Literal["training"] = "training"
    seed: int = Field(default=20_210, ge=0, description="of weights, mixtures and general knowledge")
    worlds: tuple[TrainingWorld, ...] = Field(
        default=(
            _world(910_001, date(2012, 3, 1), 2000),
            _world(910_002, date(2012, 8, 15), 2000),
            _world(910_003, date(2013, 2, 1), 2000),
        ),
        min_length=1,
        description="whose logs are taught; none may be the world of an experiment",
    )
    judge: TrainingWorld | None = Field(
        default=_world(910_009, date(2013, 9, 1), 1200), description="whose log the result is scored on, never taught"
    )
    knowledge: KnowledgeParams = KnowledgeParams()
    sentences: Annotated[int, Field(ge=0, description="general sentences")] = 20_000
    questions: Annotated[int, Field(ge=0, description="general questions")] = 20_000
    entity_questions: Annotated[int, Field(ge=0, description="questions about single items")] = 8_000
    modifiers: Annotated[
        int, Field(ge=0, description="words of titles that may stand before a category's name in a tag; 0: names alone")
    ] = 0
    school: SchoolParams = SchoolParams()
