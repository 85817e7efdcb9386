"""The world's context: weather, calendar and trends, and what of them can be observed."""

from simulator.environment.calendar import Calendar, build_calendar
from simulator.environment.context import (
    Environment,
    ObservedContext,
    build_environment,
    season_of_month,
)
from simulator.environment.trends import Trends, simulate_trends
from simulator.environment.weather import (
    Climate,
    Weather,
    fit_climate,
    load_climates,
    no_weather,
    simulate_weather,
)

__all__ = [
    "Calendar",
    "Climate",
    "Environment",
    "ObservedContext",
    "Trends",
    "Weather",
    "build_calendar",
    "build_environment",
    "fit_climate",
    "load_climates",
    "no_weather",
    "season_of_month",
    "simulate_trends",
    "simulate_weather",
]
