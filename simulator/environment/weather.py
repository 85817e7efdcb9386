"""Weather of a city, day by day: a generator fitted to a daily series, and the signals people feel.

The generator is Richardson's (1981, "Stochastic simulation of daily precipitation, temperature, and solar
radiation", Water Resources Research 17): a two-state Markov chain of wet and dry days, gamma amounts on wet
days, and temperatures that swing around a seasonal mean which depends on the day and the one before being
wet. Cities are independent of one another, years differ only by chance (no El Nino, no warming, so single
months scatter less than real ones do; Katz and Parlange 1998, Journal of Climate 11), and wind does not
depend on rain.

This module knows neither users nor shops. What a rainy day is worth is decided elsewhere; here it only rains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml
from scipy.special import gammaincinv

from simulator.streams import Stream
from simulator.taxonomy import WEATHER_SIGNALS

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int8]

CONDITIONS: Final = ("sun", "cloud", "drizzle", "rain", "snow")
UNKNOWN_CONDITION: Final = -1
WET_MM: Final = 0.1
RAIN_MM: Final = 1.0
SNOW_MEAN_TEMP: Final = 1.0
SUN_SHARE: Final = 0.6

_CLIMATES: Final = Path(__file__).with_name("climates.yaml")
_BURN_IN_DAYS: Final = 60
_MONTHS: Final = 12
_CURVE: Final = 11
_CURVES: Final = ("temp_max", "log_range")
_DRAW_WET, _DRAW_AMOUNT, _DRAW_TEMPERATURE, _DRAW_RANGE, _DRAW_WIND = range(5)


@dataclass(frozen=True)
class Climate:
    """Fitted parameters of one city. Monthly tuples start with January.

    A seasonal curve of an angle ``a`` (2 pi times the share of the year gone by) is
    ``c0 + c1 cos a + c2 sin a + c3 cos 2a + c4 sin 2a``, on wet days ``+ c5 + c6 cos a + c7 sin a``, and
    after wet days ``+ c8 + c9 cos a + c10 sin a``, because rain still cools the day that follows it.

    Attributes:
        name: the city in words; also names its draws.
        wet_after_dry: probability that a day is wet after a dry one, by month.
        wet_after_wet: the same after a wet day.
        amount_shape: gamma shape of the amount above ``WET_MM`` on a wet day, by month.
        amount_scale: gamma scale of it, mm, by month.
        temp_max: eleven coefficients of the seasonal curve of the daily maximum, C.
        temp_max_sd: standard deviation around that curve, C, by month.
        temp_max_lag: lag-1 autocorrelation of the standardised departures.
        log_range: eleven coefficients of the seasonal curve of ln(temp_max - temp_min).
        log_range_on_temp: change of that logarithm for one standardised departure of the maximum.
        log_range_sd: standard deviation left around it.
        log_wind: mean of ln(wind in m/s), by month.
        log_wind_sd: its standard deviation, by month.

    Raises:
        ValueError: if a tuple has another length, or a number is impossible.
    """

    name: str
    wet_after_dry: tuple[float, ...]
    wet_after_wet: tuple[float, ...]
    amount_shape: tuple[float, ...]
    amount_scale: tuple[float, ...]
    temp_max: tuple[float, ...]
    temp_max_sd: tuple[float, ...]
    temp_max_lag: float
    log_range: tuple[float, ...]
    log_range_on_temp: float
    log_range_sd: float
    log_wind: tuple[float, ...]
    log_wind_sd: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: empty; call the city something, since its name keys its draws")
        for field in fields(self):
            values = getattr(self, field.name)
            wanted = _CURVE if field.name in _CURVES else _MONTHS
            if isinstance(values, tuple) and len(values) != wanted:
                raise ValueError(f"{field.name}: {len(values)} numbers; give {wanted}")
        for name in ("wet_after_dry", "wet_after_wet"):
            if not all(0.0 <= share <= 1.0 for share in getattr(self, name)):
                raise ValueError(f"{name}: {getattr(self, name)}; probabilities lie in 0..1")
        for name in ("amount_shape", "amount_scale", "temp_max_sd", "log_wind_sd"):
            if not all(value > 0.0 for value in getattr(self, name)):
                raise ValueError(f"{name}: {getattr(self, name)}; all must be above 0")
        if not -1.0 < self.temp_max_lag < 1.0 or not self.log_range_sd > 0.0:
            raise ValueError(
                f"temp_max_lag, log_range_sd: {self.temp_max_lag}, {self.log_range_sd}; a correlation within -1..1 "
                "and a deviation above 0"
            )

    def as_dict(self) -> dict[str, Any]:
        """The parameters as plain lists and numbers, as ``climates.yaml`` holds them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Weather:
    """Weather of every city and day; read-only arrays.

    Attributes:
        temp_max: daily maximum, C, [cities, days]; NaN where the weather is unknown.
        temp_min: daily minimum, C, [cities, days].
        precipitation: mm of water, [cities, days].
        wind: mean wind speed, m/s, [cities, days].
        condition: index into ``CONDITIONS``, int8 [cities, days]; ``UNKNOWN_CONDITION`` where unknown.
        signals: how strongly each of ``WEATHER_SIGNALS`` is felt, 0 to 1, [cities, days, signals].
    """

    temp_max: Floats
    temp_min: Floats
    precipitation: Floats
    wind: Floats
    condition: Indices
    signals: Floats

    def __post_init__(self) -> None:
        for field in fields(self):
            getattr(self, field.name).setflags(write=False)


def load_climates() -> dict[str, Climate]:
    """The climates shipped with the package, by key such as ``new_york``; sources are named in the file."""
    cities = yaml.safe_load(_CLIMATES.read_text(encoding="utf-8"))["cities"]
    climates = {}
    for key, values in cities.items():
        parameters: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        climates[key] = Climate(**parameters)
    return climates


def cities_of(climates: Mapping[str, Climate], each: int) -> dict[str, Climate]:
    """Cities with these climates, ``each`` for every climate, by key: ``seattle``, ``seattle_2``, ``seattle_3``...

    The cities of a climate have its parameters and draws of their own: as likely to be wet, and not on the same days.

    Raises:
        ValueError: if ``each`` is below 1, or two cities would have one key or one name.
    """
    if each < 1:
        raise ValueError(f"each: {each} (must be at least 1)")
    named = [
        (key if number == 1 else f"{key}_{number}", climate, number)
        for key, climate in climates.items()
        for number in range(1, each + 1)
    ]
    found: dict[str, Climate] = {}
    taken: dict[str, str] = {}
    for key, climate, number in named:
        city = climate if number == 1 else replace(climate, name=f"{climate.name} {number}")
        if key in found:
            raise ValueError(f"climates: {key!r} would be two cities; rename one of the climates")
        if city.name in taken:  # a name keys the city's draws
            raise ValueError(
                f"climates: {taken[city.name]!r} and {key!r} would both be named {city.name!r}; "
                "rename one of the climates"
            )
        found[key], taken[city.name] = city, key
    return found


def fit_climate(
    dates: Sequence[date],
    precipitation: npt.ArrayLike,
    temp_max: npt.ArrayLike,
    temp_min: npt.ArrayLike,
    wind: npt.ArrayLike,
    *,
    name: str = "city",
) -> Climate:
    """Fit a climate to daily series of one place.

    A day is wet with at least ``WET_MM`` of precipitation. What is estimated by month borrows from its
    neighbours: each month counts double, the months before and after once. Gamma shapes use Thom's estimate
    (1958, "A note on the gamma distribution", Monthly Weather Review 86).

    Args:
        dates: the days, ascending, [days]; where one is missing the pair around the gap is left out.
        precipitation: mm, [days].
        temp_max: C, [days].
        temp_min: C, [days].
        wind: m/s, [days].
        name: the city in words.

    Raises:
        ValueError: if the series differ in length, hold gaps (NaN), cover less than a year, are not
            ascending, or a maximum lies under its minimum.
    """
    rain, high, low, speed = (np.asarray(v, dtype=np.float64) for v in (precipitation, temp_max, temp_min, wind))
    ordinal = np.array([day.toordinal() for day in dates], dtype=np.int64)
    _check_series(name, ordinal, rain, high, low, speed)

    angle, month = _angles_and_months(ordinal)
    wet = rain >= WET_MM
    paired = np.diff(ordinal) == 1
    was_wet, now_wet, pair_month = wet[:-1][paired], wet[1:][paired], month[1:][paired]
    after_dry = _smooth_share(pair_month[~was_wet], now_wet[~was_wet])
    after_wet = _smooth_share(pair_month[was_wet], now_wet[was_wet])

    excess = np.maximum(rain[wet] - WET_MM, 0.01)
    mean_excess = _smooth_mean(month[wet], excess)
    spread = np.log(mean_excess) - _smooth_mean(month[wet], np.log(excess))
    shape = (1.0 + np.sqrt(1.0 + 4.0 * spread / 3.0)) / (4.0 * spread)

    follows_wet = np.concatenate([[wet[0]], np.where(paired, wet[:-1], wet[1:])])
    design = _design(angle, wet, follows_wet)
    high_curve = np.linalg.lstsq(design, high, rcond=None)[0]
    departure = high - design @ high_curve
    high_sd = np.sqrt(_smooth_mean(month, departure**2))
    standard = departure / high_sd[month]
    lag = float(np.corrcoef(standard[:-1][paired], standard[1:][paired])[0, 1])

    log_range = np.log(np.maximum(high - low, 0.1))
    with_departure = np.column_stack([design, standard])
    range_curve = np.linalg.lstsq(with_departure, log_range, rcond=None)[0]
    range_sd = float(np.std(log_range - with_departure @ range_curve))

    log_wind = np.log(np.maximum(speed, 0.1))
    wind_mean = _smooth_mean(month, log_wind)
    wind_sd = np.sqrt(_smooth_mean(month, (log_wind - wind_mean[month]) ** 2))

    return Climate(
        name=name,
        wet_after_dry=_rounded(after_dry),
        wet_after_wet=_rounded(after_wet),
        amount_shape=_rounded(shape),
        amount_scale=_rounded(mean_excess / shape),
        temp_max=_rounded(high_curve),
        temp_max_sd=_rounded(high_sd),
        temp_max_lag=round(lag, 4),
        log_range=_rounded(range_curve[:-1]),
        log_range_on_temp=round(float(range_curve[-1]), 4),
        log_range_sd=round(range_sd, 4),
        log_wind=_rounded(wind_mean),
        log_wind_sd=_rounded(wind_sd),
    )


def simulate_weather(climates: Sequence[Climate], start: date, days: int, seed: int) -> Weather:
    """Weather of every city for ``days`` days from ``start``.

    A draw depends on (seed, city name, day counted from ``start``) and nothing else: another city, or a
    longer horizon, leaves the rest as it was. The chains start 60 days early so that the first day is as
    typical as any. Readings carry one decimal, as published series do.

    Raises:
        ValueError: if two climates share a name or ``days`` is under 1.
    """
    names = [climate.name for climate in climates]
    if len(set(names)) < len(names):
        raise ValueError(f"climates: {names} (names must differ, since a name keys the city's draws)")
    if days < 1:
        raise ValueError(f"days: {days} (must be at least 1)")
    by_city = [_simulate_city(climate, start, days, seed) for climate in climates]
    rain, high, low, wind = (np.array(series).reshape(len(names), days) for series in zip(*by_city, strict=True))
    return Weather(
        temp_max=high,
        temp_min=low,
        precipitation=rain,
        wind=wind,
        condition=conditions(rain, high, low),
        signals=weather_signals(rain, high, low, wind),
    )


def no_weather(cities: int, days: int) -> Weather:
    """Unknown weather, for worlds without climate (a log): NaN readings, no condition, all signals zero."""
    unknown = np.full((cities, days), np.nan)
    return Weather(
        temp_max=unknown,
        temp_min=unknown,
        precipitation=unknown,
        wind=unknown,
        condition=np.full((cities, days), UNKNOWN_CONDITION, dtype=np.int8),
        signals=np.zeros((cities, days, len(WEATHER_SIGNALS))),
    )


def weather_signals(precipitation: Floats, temp_max: Floats, temp_min: Floats, wind: Floats) -> Floats:
    """How strongly each signal is felt, a smooth function of one day's readings, [..., signals] in [0, 1].

    The order is ``WEATHER_SIGNALS``. Ramps are smoothsteps between the two thresholds; the daily mean
    temperature is halfway between maximum and minimum.

    * rain: ``1 - exp(-mm / 5)``, times the share that falls as rain.
    * snow: ``1 - exp(-mm / 3)``, times the share that falls as snow, which goes from all at a daily mean of
      -1 C to none at 3 C (half at 1 C: Jennings et al. 2018, Nature Communications 9:1148).
    * heat: daily maximum from 24 C up to 35 C.
    * cold: daily mean from 10 C down to -5 C.
    * wind: mean speed from 4 to 10 m/s (a moderate breeze begins at 5.5, a strong one at 10.8 on Beaufort's
      scale).
    * sun: the share of clear-sky radiation that the day's temperature range implies (``sunshine``), fading
      with ``exp(-mm)``.

    The constants of the ramps are modelling choices, not measurements.
    """
    mean = (temp_max + temp_min) / 2.0
    frozen = _ramp(mean, 3.0, -1.0)
    by_name = {
        "rain": (1.0 - np.exp(-precipitation / 5.0)) * (1.0 - frozen),
        "snow": (1.0 - np.exp(-precipitation / 3.0)) * frozen,
        "heat": _ramp(temp_max, 24.0, 35.0),
        "cold": _ramp(mean, 10.0, -5.0),
        "wind": _ramp(wind, 4.0, 10.0),
        "sun": sunshine(temp_max, temp_min) * np.exp(-precipitation),
    }
    return np.stack([by_name[name] for name in WEATHER_SIGNALS], axis=-1)


def sunshine(temp_max: Floats, temp_min: Floats) -> Floats:
    """Share of clear-sky radiation implied by the day's temperature range, in [0, 1).

    Clear days warm and cool more. Bristow and Campbell (1984, Agricultural and Forest Meteorology 31):
    ``1 - exp(-B range^2.4)`` with ``B = 0.036 exp(-0.154 mean range)``; the mean range is taken as 8.2 C,
    that of the daily series shipped in ``climates.yaml``.
    """
    spread = np.maximum(temp_max - temp_min, 0.0)
    return 1.0 - np.exp(-0.036 * np.exp(-0.154 * 8.2) * spread**2.4)


def conditions(precipitation: Floats, temp_max: Floats, temp_min: Floats) -> Indices:
    """One word a day, as an index into ``CONDITIONS``.

    Wet days (at least ``WET_MM``) are snow at a daily mean of ``SNOW_MEAN_TEMP`` or less, else rain from
    ``RAIN_MM`` and drizzle below; dry days are sun from a ``sunshine`` of ``SUN_SHARE`` and cloud below.
    """
    snowy = (temp_max + temp_min) / 2.0 <= SNOW_MEAN_TEMP
    wet = np.where(snowy, 4, np.where(precipitation >= RAIN_MM, 3, 2))
    dry = np.where(sunshine(temp_max, temp_min) >= SUN_SHARE, 0, 1)
    return np.where(precipitation >= WET_MM, wet, dry).astype(np.int8)


def _simulate_city(climate: Climate, start: date, days: int, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Precipitation, temp_max, temp_min and wind of one city, each [days]."""
    stream = Stream(seed, f"weather/{climate.name}")
    day = np.arange(-_BURN_IN_DAYS, days, dtype=np.int64)
    angle, month = _angles_and_months(start.toordinal() + day)

    threshold = np.column_stack([climate.wet_after_dry, climate.wet_after_wet])[month].tolist()
    wet_draw = stream.uniform(_DRAW_WET, day).tolist()
    shock = stream.normal(_DRAW_TEMPERATURE, day).tolist()
    lag, innovation = climate.temp_max_lag, float(np.sqrt(1.0 - climate.temp_max_lag**2))
    wet_days, departures = [], []
    is_wet, departure = 0, 0.0
    for probabilities, draw, noise in zip(threshold, wet_draw, shock, strict=True):
        is_wet = int(draw < probabilities[is_wet])
        departure = lag * departure + innovation * noise
        wet_days.append(is_wet)
        departures.append(departure)
    wet, standard = np.array(wet_days, dtype=bool), np.array(departures)
    design = _design(angle, wet, np.concatenate([[False], wet[:-1]]))

    shape, scale = np.array(climate.amount_shape)[month], np.array(climate.amount_scale)[month]
    amount = WET_MM + scale * gammaincinv(shape, stream.uniform(_DRAW_AMOUNT, day))
    rain = np.where(wet, amount, 0.0)
    high = _curve(climate.temp_max, design) + np.array(climate.temp_max_sd)[month] * standard
    log_range = (
        _curve(climate.log_range, design)
        + climate.log_range_on_temp * standard
        + climate.log_range_sd * stream.normal(_DRAW_RANGE, day)
    )
    log_wind = np.array(climate.log_wind)[month] + np.array(climate.log_wind_sd)[month] * stream.normal(_DRAW_WIND, day)
    rain, high, low, wind = (
        np.round(series[_BURN_IN_DAYS:], 1) for series in (rain, high, high - np.exp(log_range), np.exp(log_wind))
    )
    return rain, high, low, wind


def _angles_and_months(ordinal: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Angle of the year and month index (January 0) of proleptic Gregorian ordinals, each [days]."""
    calendar_day = np.datetime64("0001-01-01", "D") + (ordinal - 1)
    month = calendar_day.astype("datetime64[M]")
    day_of_year = (calendar_day - calendar_day.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64)
    return 2.0 * np.pi * day_of_year / 365.25, month.astype(np.int64) % 12


def _design(angle: Floats, wet: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> Floats:
    """The eleven columns of a seasonal curve for days that are wet, or come after a wet one, [days, 11]."""
    cos, sin = np.cos(angle), np.sin(angle)
    yearly = [np.ones_like(angle), cos, sin, np.cos(2 * angle), np.sin(2 * angle)]
    return np.column_stack([*yearly, wet, wet * cos, wet * sin, after, after * cos, after * sin])


def _curve(coefficients: tuple[float, ...], design: Floats) -> Floats:
    """A seasonal curve, [days]; summed term by term so that no day depends on the batch."""
    total = np.zeros(design.shape[0])
    for coefficient, column in zip(coefficients, design.T, strict=True):
        total = total + coefficient * column
    return total


def _ramp(value: Floats, begin: float, full: float) -> Floats:
    """Smoothstep from 0 at ``begin`` to 1 at ``full``; either may be the larger."""
    share = np.clip((value - begin) / (full - begin), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _neighbours(by_month: Floats) -> Floats:
    """Sums over a month counted twice and its neighbours once, the year taken as a ring, [12]."""
    return 2.0 * by_month + np.roll(by_month, 1) + np.roll(by_month, -1)


def _smooth_mean(month: npt.NDArray[np.int64], value: Floats) -> Floats:
    """Mean of a value by month with the weights of ``_neighbours``, [12]."""
    total = np.bincount(month, weights=value, minlength=12).astype(np.float64)
    count = np.bincount(month, minlength=12).astype(np.float64)
    return _neighbours(total) / np.maximum(_neighbours(count), 1.0)


def _smooth_share(month: npt.NDArray[np.int64], happened: npt.NDArray[np.bool_]) -> Floats:
    """Share of days on which something happened, by month, with four pseudo-days of the year, [12]."""
    total = _neighbours(np.bincount(month, weights=happened, minlength=12).astype(np.float64))
    count = _neighbours(np.bincount(month, minlength=12).astype(np.float64))
    overall = float(np.mean(happened)) if happened.size else 0.5
    return (total + 4.0 * overall) / (count + 4.0)


def _rounded(values: npt.NDArray[np.floating[Any]]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _check_series(name: str, ordinal: npt.NDArray[np.int64], *series: Floats) -> None:
    lengths = {ordinal.size, *(values.size for values in series)}
    if len(lengths) > 1:
        raise ValueError(f"{name}: series of {sorted(lengths)} days (all five must have the same length)")
    if ordinal.size < 365:
        raise ValueError(f"{name}: {ordinal.size} days (a climate needs at least 365)")
    if np.any(np.diff(ordinal) <= 0):
        raise ValueError(f"{name}: dates repeat or go back (sort them and keep one row a day)")
    if not all(np.isfinite(values).all() for values in series):
        raise ValueError(f"{name}: missing readings (drop those days)")
    rain, high, low, _ = series
    if np.any(rain < 0.0) or np.any(high < low) or not np.any(rain >= WET_MM):
        raise ValueError(f"{name}: negative rain, a maximum under its minimum, or no wet day (clean the series)")
