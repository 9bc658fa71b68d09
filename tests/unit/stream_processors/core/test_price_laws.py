"""Laws of the price book over every priced model: equal to the reference, additive, monotonic, exact at its edges."""

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from genai_prices.data import providers
from genai_prices.types import StartDateConstraint
from priced_events import EPOCH, Columns, every_model, generate, rows_of, unequal

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.price_book import PriceBook

BOOK = PriceBook.compiled()
MODELS = every_model()


def costs(columns: Columns) -> list[int | None]:
    cost, priced = BOOK.price(rows_of(columns))
    return [pico if known else None for pico, known in zip(cost.tolist(), priced.tolist(), strict=True)]


def test_the_engine_and_the_reference_charge_the_same() -> None:
    """A sample; tests/integration/test_every_price.py tries ten times as many."""
    differing, priced = unequal(BOOK, generate(0, 20_000, MODELS))
    assert differing == []
    assert priced > 5_000


def plain(seed: int) -> Columns:
    """Small events of one service tier without parts that meet: most have a price, and the first context tier's."""
    least_charged = ("whisper-large-v3", "whisper-large-v3-turbo")  # ten seconds at least: neither law holds below
    models = [sold for sold in MODELS if not set(least_charged) & set(sold.names)]
    columns = generate(seed, 20_000, models, ("default",))
    none = np.zeros(len(columns["occurred_at"]), np.int64)
    return columns | {
        "input_tokens": columns["input_tokens"] % 1_000,
        "cache_read_tokens": columns["cache_read_tokens"] % (columns["input_tokens"] % 1_000 + 1),
        **dict.fromkeys(TOKEN_CLASSES[3:7], none),
        "output_audio_tokens": none,
        "reasoning_tokens": columns["reasoning_tokens"] % (columns["output_tokens"] + 1),
    }


def test_prices_add_up() -> None:
    """Two uses cost together what they cost apart, but for rounding once, not twice, and one fee a request."""
    one = plain(1)
    tokens = {name: one[name] for name in TOKEN_CLASSES}
    units = [{name: 2 * count for name, count in row.items()} for row in one["units"]]
    double = one | {name: 2 * values for name, values in tokens.items()} | {"units": units}
    nothing = one | {name: 0 * values for name, values in tokens.items()}
    nothing["units"] = [dict.fromkeys(row, 0) for row in one["units"]]
    compared = 0
    for single, twice, fee in zip(costs(one), costs(double), costs(nothing), strict=True):
        if single is not None:
            assert twice is not None
            assert fee is not None
            assert abs(twice + fee - 2 * single) <= 2
            compared += 1
    assert compared > 5_000


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
def test_more_is_never_cheaper(name: str) -> None:
    columns = plain(2)
    more = columns | {name: columns[name] + 1 + columns[name] // 3}
    pairs = [(less, dear) for less, dear in zip(costs(columns), costs(more), strict=True) if None not in (less, dear)]
    assert len(pairs) > 5_000
    assert all(dear >= less for less, dear in pairs if less is not None and dear is not None)


def test_a_dated_price_begins_at_its_first_microsecond() -> None:
    """One microsecond before it the price is what the package says of the day before."""
    dated = [
        (provider.id, model, entry.constraint.start_date)
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, list)
        for entry in model.prices
        if isinstance(entry.constraint, StartDateConstraint)
    ]
    assert len(dated) > 100
    for provider, model, day in dated:
        begins = (day - EPOCH.date()) // timedelta(microseconds=1)
        one = {"provider": [provider] * 2, "model": [model.id] * 2, "service_tier": ["default"] * 2, "units": [{}] * 2}
        counts = dict.fromkeys(TOKEN_CLASSES, np.zeros(2, np.int64)) | {"input_tokens": np.full(2, 1_000)}
        got = costs(one | counts | {"occurred_at": np.array([begins - 1, begins])})
        for pico, at in zip(got, (begins - 1, begins), strict=True):
            price = model.get_prices(EPOCH + timedelta(microseconds=at)).input_mtok
            if isinstance(price, Decimal):
                assert pico in (None, round(Fraction(price) * 1_000 * 10**6))
