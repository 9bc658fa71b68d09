"""What one model costs in one service tier, compiled from `genai-prices` to integers.

Token counts of an event are inclusive totals and parts of them; `genai-prices` charges each token once, at its most
specific price. That is linear, so a price set becomes one signed integer a token class ("cache read costs this much
more or less than plain input") and the cost of an event is a dot product.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from genai_prices.data_units import unit_data
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.units import UnitDef, UnitRegistry

from schemas.arrow import TOKEN_CLASSES

#: Rates are integers of this many to a pico-dollar: prices of up to 18 decimals per million tokens are exact.
SCALE = 10**12
#: How `genai-prices` names what we call a service tier.
TIER_CONTEXT = {
    "default": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
_UNITS = UnitRegistry(unit_data)
#: Unit of `genai-prices` for each of our token classes, in the order of TOKEN_CLASSES.
_CLASS_UNITS = tuple(
    _UNITS.units["output_reasoning_tokens" if name == "reasoning_tokens" else name] for name in TOKEN_CLASSES
)
#: What an event counts; prices of anything else (seconds, pages) do not apply to it.
_COUNTED = {unit.usage_key for unit in _CLASS_UNITS} | {"requests"}
_DAY = timedelta(days=1)
_EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rates:
    """One linear form: what a token of each class adds, in pico-dollars / SCALE; parts may subtract."""

    per_token: tuple[int, ...]
    per_request: int


@dataclass(frozen=True, slots=True)
class Era:
    """The prices of one stretch of time. `rates[i]` holds for events with more than `bounds[i - 1]` input tokens."""

    bounds: npt.NDArray[np.int64]
    rates: tuple[Rates, ...]
    #: Token classes without a price: an event that has such tokens is unpriced.
    uncovered: tuple[int, ...]
    #: Pairs of classes that are priced apart where they meet (cached audio): how far they meet is not in an event,
    #: so one that has both is unpriced.
    ambiguous: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """`eras[i][j]` is in force from the i-th day and the j-th time of day (microseconds UTC); None: no price then."""

    days: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    eras: tuple[tuple[Era | None, ...], ...]


def compile_card(model: ModelInfo, provider: Provider, service_tier: str) -> Card | None:
    """The card of a model as sold by `provider`, None when no price is known for that service tier.

    A tier other than `default` has a price only where `genai-prices` says so for this very provider: the standard
    price would be a wrong one. Raises ValueError for a price of more than 18 decimals per million tokens.
    """
    context = TIER_CONTEXT[service_tier]
    variants = [v for v in model.price_variants or () if context and v.when.items() <= context.items()]
    if context and (not variants or not any(model is own for own in provider.models)):
        return None
    conditional = model.prices if isinstance(model.prices, list) else []
    days, times = _boundaries([*conditional, *variants])
    eras = tuple(tuple(_era_at(model, variants, context, day, at) for at in times) for day in days)
    return Card(
        np.array([_micros(datetime.combine(day, time(), UTC)) for day in days[1:]], np.int64),
        np.array([_micros(datetime.combine(date(1970, 1, 1), at, UTC)) for at in times[1:]], np.int64),
        eras,
    )


def _boundaries(priced: Iterable[ConditionalPrice | PriceVariant]) -> tuple[list[date], list[time]]:
    """First day and time of day of each stretch in which the same constraints hold; the first day is any before."""
    days: set[date] = set()
    times = {time()}
    for constraint in (entry.constraint for entry in priced):
        if isinstance(constraint, StartDateConstraint):
            days.add(constraint.start_date)
        elif isinstance(constraint, TimeOfDateConstraint):
            times |= {_utc(constraint.start_time), _utc(constraint.end_time)}
    return [min(days, default=date(1970, 1, 2)) - _DAY, *sorted(days)], sorted(times)


def _utc(at: time) -> time:
    moment = datetime.combine(date(1970, 1, 2), at)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).time()


def _era_at(model: ModelInfo, variants: list[PriceVariant], context: dict[str, str], day: date, at: time) -> Era | None:
    moment = datetime.combine(day, at, UTC)
    if context and not any(v.constraint is None or v.constraint.active(moment) for v in variants):
        return None
    return _compile_era(model.get_prices(moment, context))


def _compile_era(prices: ModelPrice) -> Era | None:
    priced = {
        _UNITS.unit_for_price_key(key).usage_key: value for key, value in vars(prices).items() if value is not None
    }
    if not priced.keys() & {"input_tokens", "output_tokens", "requests"}:
        return None
    tiers = {tier.start for value in priced.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    bounds = sorted(tiers)
    return Era(
        np.array(bounds, np.int64),
        tuple(_rates({key: _at(value, above) for key, value in priced.items()}) for above in (-1, *bounds)),
        tuple(i for i, name in enumerate(("input_tokens", "output_tokens")) if name not in priced),
        tuple(_priced_joins(priced)),
    )


def class_prices(rates: Rates) -> dict[str, Decimal]:
    """Dollars per million tokens of each class, and per million `requests`: what one more of them costs in all."""
    prices = {
        name: sum(
            rates.per_token[number]
            for number, whole in enumerate(_CLASS_UNITS)
            if whole is unit or _is_part(unit, whole)
        )
        for name, unit in zip(TOKEN_CLASSES, _CLASS_UNITS, strict=True)
    } | {"requests": rates.per_request}
    # SCALE of a rate make a pico-dollar: per million, 18 decimals of a dollar are exact.
    return {name: Decimal(rate).scaleb(-18) for name, rate in prices.items()}


def _at(price: Decimal | TieredPrices, above: int) -> Decimal:
    """The price for events of more than `above` input tokens, up to the next boundary."""
    if not isinstance(price, TieredPrices):
        return price
    return next((tier.price for tier in reversed(price.tiers) if above >= tier.start), price.base)


def _rates(prices: dict[str, Decimal]) -> Rates:
    scaled = {key: _scaled(price, _UNITS.units[key]) for key, price in prices.items() if key in _COUNTED}
    own: dict[str, int] = {}
    for unit in sorted(_CLASS_UNITS, key=lambda unit: len(unit.dimensions)):
        # What this class adds to what the classes it is a part of already pay.
        within = sum(own[whole] for whole in own if _is_part(unit, _UNITS.units[whole]))
        own[unit.usage_key] = scaled.get(unit.usage_key, within) - within
    return Rates(tuple(own[unit.usage_key] for unit in _CLASS_UNITS), scaled.get("requests", 0))


def _is_part(unit: UnitDef, whole: UnitDef) -> bool:
    return unit is not whole and whole.dimensions.items() <= unit.dimensions.items()


def _scaled(price: Decimal, unit: UnitDef) -> int:
    exact = Fraction(price) / unit.per * 10**12 * SCALE
    if exact.denominator != 1:
        raise ValueError(f"price {unit.price_key} = {price}: more decimals than an integer rate can hold")
    return int(exact)


def _priced_joins(keys: Container[str]) -> Iterator[tuple[int, int]]:
    for i, first in enumerate(_CLASS_UNITS):
        for j, second in enumerate(_CLASS_UNITS[i + 1 :], i + 1):
            if not (_is_part(first, second) or _is_part(second, first)):
                join = _UNITS.find_join(first, second)
                if join is not None and join.usage_key in keys:
                    yield i, j


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH_DAY) // _MICRO
