"""The numbers of the world, each with its meaning and its default.

These models are what the ``world.*`` section of an experiment's YAML is checked against. They know nothing of arms:
there is no field here by which one policy could be favoured over another.

Where a default has a published source it is named beside it. The others are choices, made so that
rates come out in the range that public logs show, and are meant to be changed; those of what follows a click, so that
favourites, carts and orders come out near the shares of the Taobao log (docs/decisions/0040-carts-bought-later.md).
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Chance = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A probability of going on, which may not be certain: it would never end."""
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]


class Parameters(BaseModel):
    """Base of every parameter block: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PopulationParameters(Parameters):
    """Who the users are."""

    interests: int = Field(default=12, ge=1, le=64, description="long-term interest categories of a user")
    interest_concentration: Positive = Field(
        default=0.5,
        description="Dirichlet-like concentration of the interest weights; small means few strong interests",
    )
    style_dimensions: int = Field(default=4, ge=1, le=64, description="dimensions of latent taste within a category")
    visits_per_day: Positive = Field(default=0.55, description="median visits a user and day before satisfaction acts")
    visits_spread: NonNegative = Field(default=0.6, description="log-sd of visits per day over users")
    patience: float = Field(default=0.55, description="mean logit of asking for one more page")
    patience_spread: NonNegative = Field(default=0.5, description="sd of that logit over users")


class CatalogParameters(Parameters):
    """What there is to show."""

    quality_spread: NonNegative = Field(default=1.0, description="sd of latent item quality (in units of itself)")
    max_age_days: int = Field(default=720, ge=1, description="oldest listing at the horizon's start, days")
    category_skew: NonNegative = Field(default=0.6, description="Zipf exponent of items per category")


class IntentParameters(Parameters):
    """What a visit is for: a mixture of long-term interest, recent intent and contextual need ."""

    long_term: NonNegative = Field(default=0.45, description="mean weight of long-term interests")
    recent: NonNegative = Field(default=0.25, description="mean weight of continuing what was clicked lately")
    contextual: NonNegative = Field(
        default=0.30, description="mean weight of what weather, occasions and trends call for"
    )
    weight_spread: NonNegative = Field(default=0.5, description="log-sd of a user's own weights around the means")
    recent_days: Positive = Field(default=4.0, description="decay time of recent intent, days")
    kept: NonNegative = Field(
        default=2.0, description="how many clicks a favourite or a carted item weighs in what was clicked lately"
    )
    context_half: Positive = Field(
        default=12.0,
        description="total contextual need at which the contextual weight reaches half of its value",
    )


Strength = Annotated[float, Field(ge=0.0, le=5.0)]


def _or_one_number(schema: dict[str, Any]) -> None:
    """Let editors accept one number in place of the block."""
    block = dict(schema)
    schema.clear()
    schema["description"] = block.pop("description")
    schema["anyOf"] = [{"type": "number", "minimum": 0.0, "maximum": 5.0}, block]


class ContextParameters(Parameters):
    """How much each signal of the context matters to users; 0 switches it off for them, while it can still be observed.

    A single number stands for all four.
    """

    model_config = ConfigDict(json_schema_extra=_or_one_number)

    weather: Strength = Field(default=1.0, description="what the day's weather in the user's city calls for")
    holidays: Strength = Field(default=1.0, description="what holidays and other occasions call for, lead-up included")
    trends: Strength = Field(default=1.0, description="what topics of the day call for")
    seasons: Strength = Field(
        default=1.0, description="how far interest in what is out of season wanes; more than 1 acts as 1"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_for_all(cls, value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return dict.fromkeys(cls.model_fields, value)
        for name, strength in value.items() if isinstance(value, dict) else ():
            if name in cls.model_fields and (isinstance(strength, bool) or strength in ("off", "no", "on", "yes")):
                raise ValueError(f"{name}: {strength!r} is no strength; 0 switches it off, and 1 is its default")
        return value


class ResponseParameters(Parameters):
    """How a page is answered. The logit of a click on an examined item is a sum of the terms named here."""

    examination_decay: NonNegative = Field(
        default=0.35,
        description="position bias: P(examine slot k) = (1 + k)^-decay, the power law of Joachims et al. 2017 (WSDM)",
    )
    click_base: float = Field(default=-3.6, description="click logit of an irrelevant item of average quality")
    intent: NonNegative = Field(default=2.2, description="the item's category is one the visit is for")
    department: NonNegative = Field(default=0.5, description="the item is in the department of such a category")
    interest: NonNegative = Field(default=2.0, description="per unit of long-term interest in the category (0..1)")
    need: NonNegative = Field(default=1.6, description="per unit of contextual need for the category")
    style: NonNegative = Field(default=0.9, description="per unit of taste match within a category")
    quality: NonNegative = Field(default=0.45, description="per unit of item quality")
    price: NonNegative = Field(default=0.5, description="per unit of price misfit, times the user's price sensitivity")
    satiation: NonNegative = Field(
        default=1.5, description="per recent purchase in the category, decaying; less for what is bought again soon"
    )
    satiation_days: Positive = Field(default=14.0, description="decay time of satiation, days")
    fatigue: NonNegative = Field(default=0.35, description="per time the item was shown lately without a click")
    novelty: NonNegative = Field(default=0.4, description="per unit of novelty seeking, for items not met before")
    explanation: NonNegative = Field(
        default=0.25,
        description="per unit of what an explanation beside the item is worth to its reader (-3..3); 0: none is read",
    )
    buy_base: float = Field(default=-4.8, description="logit of buying a clicked item at once")
    cart_base: float = Field(default=-2.5, description="logit of putting it into the cart, where it is not bought")
    favourite_base: float = Field(default=-3.15, description="logit of making it a favourite, where it is neither")
    conversion_match: NonNegative = Field(default=0.8, description="what intent match adds to these three logits")
    cart_days: Positive = Field(default=14.0, description="days after which an item in the cart is forgotten")
    checkout_base: float = Field(
        default=-0.5, description="logit of beginning a visit at the checkout, with something in the cart"
    )
    line_base: float = Field(default=-2.5, description="logit of buying an item of the cart there")
    extra_views: Chance = Field(default=0.5, description="P(one more item-page view) after a click, geometric")
    extra_quantity: Chance = Field(
        default=0.12, description="P(one more piece) in an order, geometric, 9 pieces at most"
    )
    refund_base: float = Field(default=-3.0, description="logit of returning an order of average quality")
    refund_quality: NonNegative = Field(default=0.6, description="what one unit of quality takes off the refund logit")
    max_pages: int = Field(default=6, ge=1, le=20, description="pages a visit can have")
    page_reward: NonNegative = Field(
        default=0.6, description="what a click on a page adds to the logit of one more page"
    )
    page_weariness: NonNegative = Field(default=0.35, description="what each page takes off that logit")
    visit_reward: Positive = Field(
        default=0.9, description="visit satisfaction = 1 - exp(-reward x value of the visit)"
    )


class ReturnParameters(Parameters):
    """When users come back: a thinned Poisson process that remembers satisfaction (Lewis and Shedler 1979)."""

    memory: Share = Field(default=0.25, description="how far one visit moves satisfaction (exponential average)")
    memory_days: Positive = Field(default=10.0, description="time in which satisfaction drifts back to neutral, days")
    sensitivity: NonNegative = Field(
        default=1.0, description="intensity = base x exp(sensitivity x (satisfaction - neutral))"
    )
    neutral: Share = Field(default=0.25, description="satisfaction that neither raises nor lowers the intensity")
    excitation: NonNegative = Field(
        default=0.0,
        description="self-excitation: right after a visit the intensity is 1 + this times what it would be; 0: none",
    )
    excitation_hours: Positive = Field(default=6.0, description="time in which that kick decays, hours")
    churn_base: float = Field(
        default=-5.5, description="logit of leaving for good after a visit at neutral satisfaction"
    )
    churn_sensitivity: NonNegative = Field(default=4.0, description="what dissatisfaction adds to that logit")


class FeedParameters(Parameters):
    """The mixed feed: item cards compete with content, ads and live cards for the same attention."""

    other_share: Share = Field(default=0.4, description="share of a feed page's positions taken by other cards")
    other_appeal: Share = Field(default=0.12, description="P(an examined other card is opened)")
    other_distraction: Share = Field(
        default=0.3, description="P(an opened card ends attention to the rest of the page)"
    )
    other_reward: NonNegative = Field(default=0.25, description="value of an opened card to the visit's satisfaction")


class BehaviourParameters(Parameters):
    """Everything about how users behave, whatever the source of the world."""

    population: PopulationParameters = PopulationParameters()
    catalog: CatalogParameters = CatalogParameters()
    intent: IntentParameters = IntentParameters()
    response: ResponseParameters = ResponseParameters()
    returning: ReturnParameters = ReturnParameters()
    feed: FeedParameters = FeedParameters()
