"""Generated events of every priced model, as columns: quick enough to try hundreds of thousands."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from genai_prices.data import providers
from genai_prices.data_units import unit_data
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    MatchLogic,
    ModelInfo,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from schemas.arrow import COUNTS, EVENT_COLUMNS, TOKEN_CLASSES
from stream_processors.core.price_book import PriceBook
from stream_processors.reference_prices import Overrides, price_pico

SERVICE_TIERS = ("default", "default", "default", "batch", "flex", "priority")
FIRST_US, SPAN_US = 1_704_067_200_000_000, 4 * 365 * 86_400_000_000  # 2024 to 2027
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CLASS_UNITS = {*TOKEN_CLASSES, "output_reasoning_tokens", "requests"} - {"reasoning_tokens"}


@dataclass(frozen=True)
class Sold:
    """A model as one provider sells it: what it is called, and where its price changes."""

    provider: str
    names: tuple[str, ...]
    instants: tuple[int, ...]  # microseconds
    contexts: tuple[int, ...]
    units: tuple[str, ...]  # priced ones that are no token class


def every_model() -> list[Sold]:
    """What genai-prices sells."""
    return [_sold(provider.id, model) for provider in providers for model in provider.models]


def _sold(provider: str, model: ModelInfo) -> Sold:
    conditional = model.prices if isinstance(model.prices, list) else []
    entries = [*conditional, *(model.price_variants or [])]
    prices = [entry.prices for entry in entries] or [model.prices]
    values = {key: value for price in prices for key, value in vars(price).items() if value is not None}
    starts = {tier.start for value in values.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    units = [unit for unit, definition in unit_data.items() if definition["price_key"] in values]
    return Sold(
        provider,
        (model.id, *references(model.match)),
        tuple(sorted({at for entry in entries for at in _instants(entry.constraint)})),
        tuple(sorted(starts)),
        tuple(unit for unit in units if unit not in CLASS_UNITS),
    )


def references(match: MatchLogic) -> Iterator[str]:
    """Names that a match rule spells out."""
    if isinstance(match, ClauseEquals):
        yield match.equals
    elif isinstance(match, ClauseOr):
        for clause in match.or_:
            yield from references(clause)


def _instants(constraint: object) -> Iterator[int]:
    if isinstance(constraint, StartDateConstraint):
        yield _micros(datetime.combine(constraint.start_date, time(), UTC))
    elif isinstance(constraint, TimeOfDateConstraint):
        for at in (constraint.start_time, constraint.end_time):
            yield _micros(datetime.combine(date(2026, 6, 1), at))


def _micros(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


Columns = dict[str, Any]


def generate(seed: int, count: int, models: list[Sold], tiers: tuple[str, ...] = SERVICE_TIERS) -> Columns:
    """`count` valid events: plain lists and arrays by column name; a third at the edges of eras and context tiers."""
    random = np.random.default_rng(seed)
    which = random.integers(len(models), size=count)
    sold = [models[index] for index in which.tolist()]
    edge, place = random.random(count), random.random(count)
    names = [each.names[int(of * len(each.names))] for each, of in zip(sold, place.tolist(), strict=True)]
    whole = _amounts(random, count, 400_000)
    output = _amounts(random, count, 100_000)
    at = FIRST_US + random.integers(SPAN_US, size=count)
    for row in np.flatnonzero(edge < 0.3).tolist():
        if sold[row].contexts:
            whole[row] = random.choice(sold[row].contexts) + random.integers(2)
        if sold[row].instants:
            at[row] = random.choice(sold[row].instants) - random.integers(2)
    read = _part(random, whole)
    write = _part(random, whole - read)
    audio = _part(random, whole, 0.8)
    return {
        "provider": [each.provider for each in sold],
        "model": names,
        "service_tier": [tiers[index] for index in random.integers(len(tiers), size=count).tolist()],
        "occurred_at": at,
        "input_tokens": whole,
        "output_tokens": output,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "cache_write_1h_tokens": _part(random, write),
        "input_audio_tokens": audio,
        "input_image_tokens": _part(random, whole - audio, 0.8),
        "reasoning_tokens": _part(random, output),
        "output_audio_tokens": _part(random, output, 0.8),
        "units": [_units(random, each, use) for each, use in zip(sold, random.random(count).tolist(), strict=True)],
    }


def _amounts(random: np.random.Generator, count: int, most: int) -> npt.NDArray[np.int64]:
    kinds = np.array([0, 1, 999, 10**9])[random.integers(4, size=count)]
    return np.where(random.random(count) < 0.4, kinds, random.integers(most, size=count))


def _part(random: np.random.Generator, whole: npt.NDArray[np.int64], without: float = 0.5) -> npt.NDArray[np.int64]:
    return np.where(random.random(len(whole)) < without, 0, (random.random(len(whole)) * (whole + 1)).astype(np.int64))


def _units(random: np.random.Generator, sold: Sold, use: float) -> dict[str, int]:
    if use < 0.6 or not (sold.units or use > 0.97):
        return {}
    named = sold.units if use < 0.97 else ("web_search", "parsec", "cache_audio_read_tokens")
    return {name: int(random.integers(4) * random.choice([0, 1, 500])) for name in named if random.random() < 0.8}


def rows_of(columns: Columns) -> pa.RecordBatch:
    """As the price book takes them."""
    arrays = {
        name: pa.array([list(units.items()) for units in values], COUNTS)
        if name == "units"
        else pa.array(values).cast(EVENT_COLUMNS.field(name).type)
        for name, values in columns.items()
    }
    return pa.RecordBatch.from_pydict(arrays)


def events_of(columns: Columns) -> Iterator[dict[str, Any]]:
    """One dict an event, as the reference takes them."""
    lists = [values if isinstance(values, list) else values.tolist() for values in columns.values()]
    for values in zip(*lists, strict=True):
        yield dict(zip(columns, values, strict=True))


def unequal(book: PriceBook, columns: Columns, overrides: Overrides = ()) -> tuple[list[str], int]:
    """Where engine and reference differ, and how many events have a price."""
    cost, known = book.price(rows_of(columns))
    differing = []
    for event, pico, has in zip(events_of(columns), cost.tolist(), known.tolist(), strict=True):
        expected = price_pico(event, overrides)
        if expected is not None and expected >= 2**63:
            expected = -1
        if expected != (pico if has else None):
            differing.append(f"engine {pico if has else None}, reference {expected}: {event}")
    return differing, int(known.sum())
