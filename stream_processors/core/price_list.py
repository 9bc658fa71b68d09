"""The price book as rows of ClickHouse's table `prices`, for people who ask what a token cost."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.arrow import MICROS, NAME
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rate_card import Card, class_prices

_SECOND_US = 1_000_000
PRICE_ROWS = pa.schema(
    [
        ("price_version", NAME),
        ("provider", NAME),
        ("model", pa.string()),
        ("service_tier", NAME),
        ("class", NAME),
        ("usd_per_million", pa.decimal128(38, 18)),
        ("above_input_tokens", pa.int64()),
        ("valid_from", MICROS),
        ("valid_to", MICROS),
        ("daily_from_s", pa.int32()),
    ]
)


def price_rows(book: PriceBook) -> pa.RecordBatch:
    """Every price that the book knows, zero ones left out where a class is free."""
    rows = [
        {"price_version": book.version, "provider": provider, "model": model, "service_tier": tier, **row}
        for provider, model, tier, card in book.cards()
        for row in _rows_of(card)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=PRICE_ROWS)


def _rows_of(card: Card) -> Iterator[dict[str, Any]]:
    starts = [None, *card.starts.tolist(), None]
    times = [0, *card.times.tolist()]
    for (start, end), eras in zip(pairwise(starts), card.eras, strict=True):
        for daily_from, era in zip(times, eras, strict=True):
            if era is None:
                continue
            for above, rates in zip(np.concatenate(([-1], era.bounds)).tolist(), era.rates, strict=True):
                for name, price in class_prices(rates).items():
                    if price:
                        yield {
                            "class": name,
                            "usd_per_million": price,
                            "above_input_tokens": above,
                            "valid_from": start,
                            "valid_to": end,
                            "daily_from_s": daily_from // _SECOND_US,
                        }
