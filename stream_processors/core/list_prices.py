"""The list prices of `genai-prices`: what it says of a model at a moment, under our names."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from stream_processors.core.counts import named, unit_of_price
from stream_processors.core.price_rules import Steps

#: How `genai-prices` names what we call a service tier.
TIER_CONTEXT: Mapping[str, dict[str, str]] = {
    "default": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
_SOME_DAY = date(1970, 1, 2)


def listed_prices(provider: Provider, model: ModelInfo, service_tier: str, moment: datetime) -> dict[str, Steps]:
    """The prices of a model as sold by `provider`; empty when none is known for that service tier and moment.

    A tier other than `default` has prices only where `genai-prices` states some for this very provider: the standard
    price would be a wrong one.
    """
    context = TIER_CONTEXT[service_tier]
    if context and not any(
        variant.constraint is None or variant.constraint.active(moment)
        for variant in _variants(model, provider, context)
    ):
        return {}
    prices = vars(model.get_prices(moment, context))
    units = [(unit_of_price(key), price) for key, price in prices.items() if price is not None]
    return {named(unit): tuple(_steps(price, unit.per)) for unit, price in units}


def _steps(price: Decimal | TieredPrices, per: int) -> Iterator[tuple[int, Fraction]]:
    if not isinstance(price, TieredPrices):
        yield -1, Fraction(price) / per
        return
    yield -1, Fraction(price.base) / per
    for tier in price.tiers:
        yield tier.start, Fraction(tier.price) / per


def boundaries(provider: Provider, model: ModelInfo, service_tier: str) -> tuple[list[date], list[time]]:
    """The days and the times of day (UTC) at which the price may change; there is always a time, midnight."""
    conditional = model.prices if isinstance(model.prices, list) else []
    return _boundaries([*conditional, *_variants(model, provider, TIER_CONTEXT[service_tier])])


def _variants(model: ModelInfo, provider: Provider, context: Mapping[str, str]) -> list[PriceVariant]:
    if not context or not any(model is own for own in provider.models):
        return []
    return [variant for variant in model.price_variants or () if variant.when.items() <= context.items()]


def _boundaries(priced: Iterable[ConditionalPrice | PriceVariant]) -> tuple[list[date], list[time]]:
    days: set[date] = set()
    times = {time()}
    for constraint in (entry.constraint for entry in priced):
        if isinstance(constraint, StartDateConstraint):
            days.add(constraint.start_date)
        elif isinstance(constraint, TimeOfDateConstraint):
            times |= {_utc(constraint.start_time), _utc(constraint.end_time)}
    return sorted(days), sorted(times)


def _utc(at: time) -> time:
    moment = datetime.combine(_SOME_DAY, at)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).time()
