from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.environment.weather import (
    CONDITIONS,
    UNKNOWN_CONDITION,
    WET_MM,
    Climate,
    Weather,
    cities_of,
    fit_climate,
    load_climates,
    no_weather,
    simulate_weather,
    weather_signals,
)
from simulator.taxonomy import WEATHER_SIGNALS

CSV = Path(__file__).parents[4] / "shared/data/weather/weather_seattle_newyork.csv"
START = date(2015, 1, 1)
READINGS = ("precipitation", "temp_max", "temp_min", "wind")


@pytest.fixture(scope="module")
def real() -> pl.DataFrame:
    """Daily series of both cities."""
    if not CSV.exists():
        pytest.skip(f"{CSV.name} is absent")
    return pl.read_csv(CSV, try_parse_dates=True)


@pytest.fixture(scope="module", params=["Seattle", "New York"])
def city(request: pytest.FixtureRequest, real: pl.DataFrame) -> tuple[pl.DataFrame, Climate]:
    """One city's rows, and the climate fitted to all its years but 2015."""
    rows = real.filter(pl.col("location") == request.param).sort("date")
    train = rows.filter(pl.col("date").dt.year() < 2015)
    climate = fit_climate(train["date"].to_list(), *(train[c].to_numpy() for c in READINGS), name=request.param)
    return rows, climate


def fields(weather: Weather) -> list[np.ndarray]:
    """Every array of a weather."""
    return [
        weather.temp_max,
        weather.temp_min,
        weather.precipitation,
        weather.wind,
        weather.condition,
        weather.signals,
    ]


def year_figures(rain: np.ndarray, high: np.ndarray) -> list[float]:
    """Wet-day share, mean wet and dry spell in days, lag-1 correlation of the maxima without their season."""
    wet = rain >= WET_MM
    turns = np.diff(wet.astype(int))
    wet_spell = wet.sum() / max((turns == 1).sum() + wet[0], 1)
    dry_spell = (~wet).sum() / max((turns == -1).sum() + (not wet[0]), 1)
    angle = 2.0 * np.pi * np.arange(high.size) / 365.25
    season = np.stack([np.ones_like(angle), *(f(k * angle) for k in (1, 2) for f in (np.cos, np.sin))], axis=1)
    anomaly = high - season @ np.linalg.lstsq(season, high, rcond=None)[0]
    lag_1 = np.corrcoef(anomaly[:-1], anomaly[1:])[0, 1]
    return [float(wet.mean()), float(wet_spell), float(dry_spell), float(lag_1)]


def test_the_held_out_year_looks_like_a_simulated_one(city: tuple[pl.DataFrame, Climate]) -> None:
    """Wet share, spells and lag-1 correlation of 2015 lie in the range of 60 years fitted to 2012-14."""
    rows, climate = city
    held_out = rows.filter(pl.col("date").dt.year() == 2015)
    truth = year_figures(held_out["precipitation"].to_numpy(), held_out["temp_max"].to_numpy())
    worlds = [simulate_weather([climate], START, 365, seed) for seed in range(60)]
    simulated = np.array([year_figures(w.precipitation[0], w.temp_max[0]) for w in worlds])
    assert np.all(truth >= simulated.min(axis=0) - 0.02)
    assert np.all(truth <= simulated.max(axis=0) + 0.02)


def test_simulated_years_average_to_the_real_years(city: tuple[pl.DataFrame, Climate]) -> None:
    """Figures over many simulated years lie in the real years' range, widened by half on each side."""
    rows, climate = city
    by_year = [rows.filter(pl.col("date").dt.year() == year) for year in range(2012, 2016)]
    real_years = np.array([year_figures(y["precipitation"].to_numpy(), y["temp_max"].to_numpy()) for y in by_year])
    low, high = real_years.min(axis=0), real_years.max(axis=0)
    weather = simulate_weather([climate], START, 60 * 365, 7)
    simulated = np.array(year_figures(weather.precipitation[0], weather.temp_max[0]))
    assert np.all(simulated >= low - (high - low) / 2)
    assert np.all(simulated <= high + (high - low) / 2)


def test_monthly_temperatures_follow_the_real_seasons(city: tuple[pl.DataFrame, Climate]) -> None:
    """Monthly means are near the years fitted to, and as near to 2015 as those years are to one another.

    The second bound is wide because months differ by degrees from year to year: New York had an
    extremely cold February and a warm December in 2015, and the generator knows no such anomalies.
    """
    rows, climate = city
    weather = simulate_weather([climate], START, 60 * 365, 11)
    months = np.array([(START + timedelta(days=day)).month for day in range(60 * 365)])
    for column, simulated in (("temp_max", weather.temp_max[0]), ("temp_min", weather.temp_min[0])):
        mean = np.array([simulated[months == month].mean() for month in range(1, 13)])
        years = rows.group_by(pl.col("date").dt.year().alias("y"), pl.col("date").dt.month().alias("m"))
        real = years.agg(pl.col(column).mean()).sort("y", "m")[column].to_numpy().reshape(4, 12)
        fitted_to, held_out = real[:3], real[3]
        assert np.abs(mean - fitted_to.mean(axis=0)).max() < 1.6
        apart = [np.abs(real[a] - real[b]).mean() for a in range(4) for b in range(a)]
        assert np.abs(mean - held_out).mean() <= max(apart)


def test_amounts_and_wind_have_the_real_quantiles(city: tuple[pl.DataFrame, Climate]) -> None:
    """Median and 90th percentile of wet-day amounts and of wind are within 30 percent of the real ones.

    The gamma's median is about a quarter too high in New York, whose real amounts have a heavier tail.
    """
    rows, climate = city
    weather = simulate_weather([climate], START, 40 * 365, 5)
    rain, real_rain = weather.precipitation[0], rows["precipitation"].to_numpy()
    for simulated, truth in (
        (rain[rain >= WET_MM], real_rain[real_rain >= WET_MM]),
        (weather.wind[0], rows["wind"].to_numpy()),
    ):
        quantiles = [0.5, 0.9]
        assert np.quantile(simulated, quantiles) == pytest.approx(np.quantile(truth, quantiles), rel=0.3)


def test_the_shipped_file_is_the_fit_of_the_named_data(real: pl.DataFrame) -> None:
    """climates.yaml holds what fit_climate gives on the whole series."""
    for climate in load_climates().values():
        rows = real.filter(pl.col("location") == climate.name).sort("date")
        fitted = fit_climate(rows["date"].to_list(), *(rows[c].to_numpy() for c in READINGS), name=climate.name)
        assert fitted.as_dict() == climate.as_dict()


def test_a_fit_recovers_the_climate_it_was_given() -> None:
    """Fitting forty years of a climate without monthly differences returns its parameters."""
    seattle = load_climates()["seattle"]
    monthly = {
        "wet_after_dry": 0.25,
        "wet_after_wet": 0.6,
        "amount_shape": 0.75,
        "amount_scale": 8.0,
        "temp_max_sd": 3.3,
        "log_wind": 1.1,
        "log_wind_sd": 0.4,
    }
    truth = replace(seattle, **{name: (value,) * 12 for name, value in monthly.items()})
    days = 40 * 365
    weather = simulate_weather([truth], START, days, 3)
    dates = [START + timedelta(days=day) for day in range(days)]
    readings = (weather.precipitation[0], weather.temp_max[0], weather.temp_min[0], weather.wind[0])
    fitted = fit_climate(dates, *readings)
    for name, value in monthly.items():
        assert getattr(fitted, name) == pytest.approx((value,) * 12, rel=0.12), name
    assert fitted.temp_max == pytest.approx(truth.temp_max, abs=0.4)
    assert fitted.log_range == pytest.approx(truth.log_range, abs=0.04)
    assert fitted.temp_max_lag == pytest.approx(truth.temp_max_lag, abs=0.02)
    assert fitted.log_range_on_temp == pytest.approx(truth.log_range_on_temp, abs=0.02)
    assert fitted.log_range_sd == pytest.approx(truth.log_range_sd, abs=0.02)


@given(st.integers(1, 90), st.integers(0, 2**31))
def test_a_longer_horizon_does_not_change_the_days_before(days: int, seed: int) -> None:
    """The first days are the same bytes whatever the horizon."""
    seattle = load_climates()["seattle"]
    short, long = (
        simulate_weather([seattle], START, days, seed),
        simulate_weather([seattle], START, 101, seed),
    )
    for a, b in zip(fields(short), fields(long), strict=True):
        assert np.array_equal(a, b[:, :days])


def test_another_city_does_not_change_a_city() -> None:
    """A city's weather is the same bytes alone, second, or beside others; other seeds and names differ."""
    climates = load_climates()
    alone = simulate_weather([climates["new_york"]], START, 60, 4)
    both = simulate_weather([climates["seattle"], climates["new_york"]], START, 60, 4)
    for a, b in zip(fields(alone), fields(both), strict=True):
        assert np.array_equal(a[0], b[1])
    renamed = simulate_weather([replace(climates["new_york"], name="Elsewhere")], START, 60, 4)
    assert not np.array_equal(alone.temp_max, renamed.temp_max)
    assert not np.array_equal(alone.temp_max, simulate_weather([climates["new_york"]], START, 60, 5).temp_max)


def test_readings_are_consistent() -> None:
    """Maxima exceed minima, rain is zero or wet, and conditions and signals agree with the readings."""
    weather = simulate_weather(list(load_climates().values()), START, 1500, 9)
    assert np.all(weather.temp_max >= weather.temp_min)
    assert np.all((weather.precipitation == 0.0) | (weather.precipitation >= WET_MM))
    assert np.all(weather.wind >= 0.0)
    wet = weather.precipitation >= WET_MM
    assert np.array_equal(wet, weather.condition >= CONDITIONS.index("drizzle"))
    assert set(np.unique(weather.condition)) == set(range(len(CONDITIONS)))
    again = weather_signals(weather.precipitation, weather.temp_max, weather.temp_min, weather.wind)
    assert np.array_equal(again, weather.signals)
    assert not any(values.flags.writeable for values in fields(weather))


@given(
    st.floats(0.0, 200.0),
    st.floats(-30.0, 45.0),
    st.floats(0.0, 25.0),
    st.floats(0.0, 40.0),
    st.floats(0.0, 5.0),
)
def test_signals_are_monotone_intensities(rain: float, high: float, spread: float, wind: float, more: float) -> None:
    """Signals lie in [0, 1]; heat rises and cold falls with warmth, wind with speed, water with mm."""
    heat, cold, gust = (WEATHER_SIGNALS.index(name) for name in ("heat", "cold", "wind"))
    falling = [WEATHER_SIGNALS.index("rain"), WEATHER_SIGNALS.index("snow")]

    def at(mm: float, top: float, speed: float) -> np.ndarray:
        values = (np.array([v]) for v in (mm, top, top - spread, speed))
        return weather_signals(*values)[0]

    base = at(rain, high, wind)
    assert np.all((base >= 0.0) & (base <= 1.0))
    warmer = at(rain, high + more, wind)
    assert warmer[heat] >= base[heat]
    assert warmer[cold] <= base[cold]
    assert at(rain, high, wind + more)[gust] >= base[gust]
    assert at(rain + more, high, wind)[falling].sum() >= base[falling].sum() - 1e-12


def test_documented_thresholds_of_signals() -> None:
    """Heat runs from 24 to 35 C, cold from 10 to -5 C; water is rain at 10 C and snow at -5 C."""
    high = np.array([24.0, 35.0, 10.0, -5.0])
    signals = weather_signals(np.full(4, 10.0), high, high, np.array([4.0, 10.0, 4.0, 4.0]))
    by_name = {name: signals[:, index].round(3).tolist() for index, name in enumerate(WEATHER_SIGNALS)}
    assert by_name["heat"] == [0.0, 1.0, 0.0, 0.0]
    assert by_name["cold"] == [0.0, 0.0, 0.0, 1.0]
    assert by_name["wind"] == [0.0, 1.0, 0.0, 0.0]
    assert by_name["rain"] == [0.865, 0.865, 0.865, 0.0]
    assert by_name["snow"] == [0.0, 0.0, 0.0, 0.964]


def test_unknown_weather_is_silent() -> None:
    """A world without climate has no signal, no condition and no readings."""
    weather = no_weather(3, 5)
    assert weather.signals.shape == (3, 5, len(WEATHER_SIGNALS))
    assert not weather.signals.any()
    assert np.all(weather.condition == UNKNOWN_CONDITION)
    assert np.isnan(weather.temp_max).all()
    assert np.isnan(weather.wind).all()


def test_bad_series_are_refused() -> None:
    """Short, unequal, unsorted or impossible series, and repeated names, raise a telling error."""
    days = 400
    dates = [START + timedelta(days=day) for day in range(days)]
    rain, high, low, wind = (np.full(days, v) for v in (1.0, 10.0, 5.0, 3.0))
    with pytest.raises(ValueError, match="same length"):
        fit_climate(dates, rain[:-1], high, low, wind)
    with pytest.raises(ValueError, match="at least 365"):
        fit_climate(dates[:10], rain[:10], high[:10], low[:10], wind[:10])
    with pytest.raises(ValueError, match="sort them"):
        fit_climate(dates[::-1], rain, high, low, wind)
    with pytest.raises(ValueError, match="missing readings"):
        fit_climate(dates, np.full(days, np.nan), high, low, wind)
    with pytest.raises(ValueError, match="under its minimum"):
        fit_climate(dates, rain, low, high, wind)
    seattle = load_climates()["seattle"]
    with pytest.raises(ValueError, match="names must differ"):
        simulate_weather([seattle, seattle], START, 3, 0)
    with pytest.raises(ValueError, match="at least 1"):
        simulate_weather([seattle], START, 0, 0)


def test_three_years_foretell_the_fourth_as_well_as_years_foretell_each_other(
    city: tuple[pl.DataFrame, Climate],
) -> None:
    """Fitted on 2012-14, wet share, spells and autocorrelation are as near to 2015 as real years are to one another.

    Simulated are the means of sixty years; the spread is the largest gap between any two of the four real years. Day
    to day, autocorrelation is that of temperatures without their season and that of rain against no rain.
    """
    rows, climate = city

    def figures(rain: np.ndarray, high: np.ndarray) -> np.ndarray:
        wet = (rain >= WET_MM).astype(float)
        return np.array([*year_figures(rain, high), np.corrcoef(wet[:-1], wet[1:])[0, 1]])

    by_year = [rows.filter(pl.col("date").dt.year() == year) for year in range(2012, 2016)]
    real = np.array([figures(y["precipitation"].to_numpy(), y["temp_max"].to_numpy()) for y in by_year])
    worlds = [simulate_weather([climate], START, 365, seed) for seed in range(60)]
    simulated = np.mean([figures(w.precipitation[0], w.temp_max[0]) for w in worlds], axis=0)
    spread = real.max(axis=0) - real.min(axis=0)
    assert np.all(np.abs(simulated - real[3]) <= spread)


def test_climates_hold_possible_numbers() -> None:
    """A climate without a name, with a month missing, or with impossible numbers is refused by the field's name."""
    seattle = load_climates()["seattle"]
    for change, part in (
        ({"name": ""}, "name: empty"),
        ({"log_wind": (1.0,) * 11}, "log_wind: 11 numbers; give 12"),
        ({"temp_max": (1.0,) * 12}, "temp_max: 12 numbers; give 11"),
        ({"wet_after_dry": (-0.1,) * 12}, "wet_after_dry"),
        ({"amount_shape": (0.0,) * 12}, "amount_shape"),
        ({"temp_max_lag": 1.0}, "temp_max_lag"),
    ):
        with pytest.raises(ValueError, match=part):
            replace(seattle, **change)


def test_cities_of_a_climate_have_weather_of_their_own() -> None:
    """The first city of a climate is the climate's own; the others are as wet, and not on the same days."""
    climates = load_climates()
    cities = cities_of(climates, 3)
    assert list(cities)[:3] == ["new_york", "new_york_2", "new_york_3"]
    alone = simulate_weather(list(climates.values()), START, 3000, 7)
    many = simulate_weather(list(cities.values()), START, 3000, 7)
    assert np.array_equal(many.precipitation[::3], alone.precipitation)
    wet = many.precipitation >= WET_MM
    assert np.ptp(wet[:3].mean(axis=1)) < 0.05
    for first, second in ((0, 1), (0, 2), (1, 2)):
        both = np.corrcoef(wet[first], wet[second])[0, 1]
        assert abs(both) < 0.2  # the season is common, the days are not


@pytest.mark.parametrize(
    ("keys", "name", "each", "said"),
    [
        (["seattle"], "Seattle", 0, "each: 0"),
        (["seattle", "seattle_2"], "Elsewhere", 2, "'seattle_2' would be two cities; rename"),
        (["seattle", "port"], "Seattle 2", 2, "'seattle_2' and 'port' would both be named 'Seattle 2'; rename"),
    ],
)
def test_cities_need_names_of_their_own(keys: list[str], name: str, each: int, said: str) -> None:
    """No city at all, or two of one key or one name, which keys the draws, is refused."""
    climate = load_climates()["seattle"]
    given = dict(zip(keys, [climate, replace(climate, name=name)], strict=False))
    with pytest.raises(ValueError, match=said):
        cities_of(given, each)
    assert len(cities_of(given, 1)) == len(keys)
