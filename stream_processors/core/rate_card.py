"""What one model costs in one service tier, compiled to integers.

Counts of an event are inclusive totals and parts of them; each token is charged once, at its most specific price. That
is linear, so a price set becomes one signed integer a count ("a cached token costs this much more or less than plain
input") and the cost of an event is a dot product.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from genai_prices.types import ModelInfo, Provider

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.counts import LATENCY, REQUESTS, UNITS, is_part, meeting
from stream_processors.core.currencies import Currency
from stream_processors.core.dated import EPOCH, instant_us
from stream_processors.core.list_prices import boundaries, listed_prices
from stream_processors.core.overrides import Override
from stream_processors.core.price_rules import Price, Steps, resolve

#: Rates are integers of this many to a pico-dollar: prices of up to 18 decimals per million tokens are exact, and so
#: are prices an hour, of which a second is a 3 600th. What a percentage leaves beyond is rounded, half to even.
SCALE = 9 * 10**12
#: An event says how much of these it used, or that it used none; of other counts it may say nothing.
ALWAYS_STATED = frozenset({*TOKEN_CLASSES, REQUESTS})

#: What one more of each count adds, in pico-dollars / SCALE; parts may subtract.
Rates = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Era:
    """The prices of one stretch of time. `rates[i]` holds for events with more than `bounds[i - 1]` input tokens."""

    bounds: npt.NDArray[np.int64]
    rates: tuple[Rates, ...]
    #: Counts that have a price, the most specific first.
    priced: tuple[str, ...]
    #: Whether none of them is stated by every event: one that states none of them is unpriced.
    needs_unit: bool
    #: Token totals without a price, and counts whose price lacks its rate: an event that has some of it is unpriced.
    uncovered: tuple[str, ...]
    #: Pairs of priced counts that meet, and the count of what they share: an event that has both must state how many.
    meetings: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """`eras[i][j]` is in force from the i-th start and the j-th time of day (microseconds UTC); None: no price then."""

    starts: npt.NDArray[np.int64]  # of all stretches but the first, which has none
    times: npt.NDArray[np.int64]
    eras: tuple[tuple[Era | None, ...], ...]
    #: Counts that are charged as this many at least, when there are any.
    least: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Offer:
    """What decides a price: the model in the list (None: not listed), the tier, overrides and their currencies."""

    listed: tuple[Provider, ModelInfo] | None
    service_tier: str
    overrides: tuple[Override, ...] = ()
    currencies: Mapping[str, Currency] = field(default_factory=dict)  # of these overrides

    def prices_at(self, moment: datetime) -> dict[str, Price]:
        """The price of each count, empty when there is none; one without steps is not known."""
        listed = listed_prices(*self.listed, self.service_tier, moment) if self.listed else {}
        return resolve(listed, self.overrides, self.currencies, instant_us(moment))


def compile_card(offer: Offer) -> Card | None:
    """None when no price is known at any time."""
    days, times = boundaries(*offer.listed, offer.service_tier) if offer.listed else ([], [time()])
    starts = {instant_us(datetime.combine(day, time(), UTC)) for day in days}
    own = (dated for override in offer.overrides for dated in override.ranges)
    rates = (rate for currency in offer.currencies.values() for rate in currency.ranges)
    for dated in (*own, *rates):
        starts |= {dated.start_us} if dated.end_us is None else {dated.start_us, dated.end_us}
    ordered = sorted(starts)
    first = ordered[0] - 1 if ordered else 0
    eras = tuple(tuple(_era_at(offer, start, at) for at in times) for start in (first, *ordered))
    if not any(era for of_day in eras for era in of_day):
        return None
    return Card(
        np.array(ordered, np.int64),
        np.array([instant_us(datetime.combine(EPOCH.date(), at, UTC)) for at in times[1:]], np.int64),
        eras,
        least_charged(*offer.listed) if offer.listed else {},
    )


def _era_at(offer: Offer, start_us: int, at: time) -> Era | None:
    """The list's constraints ask for a day and a time of day apart, so any time of that day will do for the day."""
    start = EPOCH + timedelta(microseconds=start_us)
    listed = listed_prices(*offer.listed, offer.service_tier, datetime.combine(start, at, UTC)) if offer.listed else {}
    return _compile_era(resolve(listed, offer.overrides, offer.currencies, start_us))


def least_charged(provider: Provider, model: ModelInfo) -> Mapping[str, int]:
    """As `genai-prices` has it in its code: Groq bills at least ten seconds of a transcription."""
    whisper = provider.id == "groq" and model.id in ("whisper-large-v3", "whisper-large-v3-turbo")
    return {"audio_seconds": 10, "input_audio_seconds": 10} if whisper else {}


def _compile_era(prices: Mapping[str, Price]) -> Era | None:
    unknown = {name for name, price in prices.items() if not price.steps}
    prices = {name: price for name, price in prices.items() if name not in unknown}
    if not prices or unknown & {REQUESTS, LATENCY}:  # every event has those
        return None
    missing = [name for name in ("input_tokens", "output_tokens") if name not in prices]
    bounds = sorted({above for price in prices.values() for above, _ in price.steps if above >= 0})
    priced = sorted(prices, key=lambda name: (-_depth(name), name))
    return Era(
        np.array(bounds, np.int64),
        tuple(_rates({name: _at(price.steps, above) for name, price in prices.items()}) for above in (-1, *bounds)),
        tuple(priced),
        not ALWAYS_STATED & prices.keys(),
        (*missing, *sorted(unknown.difference(missing))),
        tuple(_meetings(priced)),
    )


def class_prices(rates: Rates) -> dict[str, Decimal]:
    """Dollars per million of each token class and of each other count that has a price: what one more costs in all."""
    return {
        name: _dollars(sum(rate for whole, rate in rates.items() if whole == name or is_part(name, whole)) * 1_000_000)
        for name in dict.fromkeys((*TOKEN_CLASSES, *rates))
    }


def _dollars(scaled: int) -> Decimal:
    """To 18 decimals; of prices an hour, a second's share is rounded."""
    return Decimal(round(Fraction(scaled * 10**6, SCALE))).scaleb(-18)


def _at(steps: Steps, above: int) -> Fraction:
    """The price for events of more than `above` input tokens, up to the next boundary."""
    return next(price for start, price in reversed(steps) if above >= start)


def _rates(prices: Mapping[str, Fraction]) -> Rates:
    own: dict[str, int] = {}
    for name in sorted(prices, key=_depth):
        # What this count adds to what the counts it is a part of already pay.
        own[name] = round(prices[name] * 10**12 * SCALE) - sum(own[whole] for whole in own if is_part(name, whole))
    return {name: rate for name, rate in own.items() if rate}


def _depth(name: str) -> int:
    return len(UNITS[name].dimensions) if name in UNITS else 0


def _meetings(priced: list[str]) -> Iterator[tuple[str, str, str]]:
    for place, first in enumerate(priced):
        for second in priced[place + 1 :]:
            join = meeting(first, second)
            if join is not None:
                yield first, second, join
