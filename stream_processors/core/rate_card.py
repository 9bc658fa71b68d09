"""What one model costs in one service tier, compiled to integers.

Counts of an event are inclusive totals and parts of them; each token is charged once, at its most specific price. That
is linear, so a price set becomes one signed integer a count ("a cached token costs this much more or less than plain
input") and the cost of an event is a dot product.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from genai_prices.types import ModelInfo, Provider, TieredPrices

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.counts import REQUESTS, UNITS, is_part, meeting
from stream_processors.core.list_prices import Listed, boundaries, listed_prices

#: Rates are integers of this many to a pico-dollar: prices of up to 18 decimals per million tokens are exact, and so
#: are prices an hour, of which a second is a 3 600th.
SCALE = 9 * 10**12
#: An event says how much of these it used, or that it used none; of other counts it may say nothing.
ALWAYS_STATED = frozenset({"input_tokens", "output_tokens", REQUESTS})
_DAY = timedelta(days=1)
_EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)

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
    #: Token totals without a price: an event that has such tokens is unpriced.
    uncovered: tuple[str, ...]
    #: Pairs of priced counts that meet, and the count of what they share: an event that has both must state how many.
    meetings: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """`eras[i][j]` is in force from the i-th day and the j-th time of day (microseconds UTC); None: no price then."""

    days: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    eras: tuple[tuple[Era | None, ...], ...]
    #: Counts that are charged as this many at least, when there are any.
    least: Mapping[str, int]


def compile_card(model: ModelInfo, provider: Provider, service_tier: str) -> Card | None:
    """The card of a model as sold by `provider`, None when no price is known for that service tier.

    Raises ValueError for a price of more decimals than an integer rate can hold.
    """
    days, times = boundaries(model, provider, service_tier)
    eras = tuple(
        tuple(
            _compile_era(listed_prices(model, provider, service_tier, datetime.combine(day, at, UTC))) for at in times
        )
        for day in days
    )
    if not any(era for of_day in eras for era in of_day):
        return None
    return Card(
        np.array([_micros(datetime.combine(day, time(), UTC)) for day in days[1:]], np.int64),
        np.array([_micros(datetime.combine(date(1970, 1, 1), at, UTC)) for at in times[1:]], np.int64),
        eras,
        least_charged(model, provider),
    )


def least_charged(model: ModelInfo, provider: Provider) -> Mapping[str, int]:
    """As `genai-prices` has it in its code: Groq bills at least ten seconds of a transcription."""
    whisper = provider.id == "groq" and model.id in ("whisper-large-v3", "whisper-large-v3-turbo")
    return {"audio_seconds": 10, "input_audio_seconds": 10} if whisper else {}


def _compile_era(prices: Mapping[str, Listed]) -> Era | None:
    if not prices:
        return None
    bounds = sorted(
        {tier.start for price in prices.values() if isinstance(price, TieredPrices) for tier in price.tiers}
    )
    priced = sorted(prices, key=lambda name: (-_depth(name), name))
    return Era(
        np.array(bounds, np.int64),
        tuple(_rates({name: _at(price, above) for name, price in prices.items()}) for above in (-1, *bounds)),
        tuple(priced),
        not ALWAYS_STATED & prices.keys(),
        tuple(name for name in ("input_tokens", "output_tokens") if name not in prices),
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


def _at(price: Listed, above: int) -> Decimal:
    """The price for events of more than `above` input tokens, up to the next boundary."""
    if not isinstance(price, TieredPrices):
        return price
    return next((tier.price for tier in reversed(price.tiers) if above >= tier.start), price.base)


def _rates(prices: Mapping[str, Decimal]) -> Rates:
    own: dict[str, int] = {}
    for name in sorted(prices, key=_depth):
        # What this count adds to what the counts it is a part of already pay.
        own[name] = _scaled(name, prices[name]) - sum(own[whole] for whole in own if is_part(name, whole))
    return {name: rate for name, rate in own.items() if rate}


def _depth(name: str) -> int:
    return len(UNITS[name].dimensions)


def _scaled(name: str, price: Decimal) -> int:
    exact = Fraction(price) / UNITS[name].per * 10**12 * SCALE
    if exact.denominator != 1:
        raise ValueError(f"price of {name} = {price}: more decimals than an integer rate can hold")
    return int(exact)


def _meetings(priced: list[str]) -> Iterator[tuple[str, str, str]]:
    for place, first in enumerate(priced):
        for second in priced[place + 1 :]:
            join = meeting(first, second)
            if join is not None:
                yield first, second, join


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH_DAY) // _MICRO
