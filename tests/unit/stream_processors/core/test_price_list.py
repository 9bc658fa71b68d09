"""The list of prices says what the price book charges."""

from decimal import Decimal
from typing import Any

import pyarrow.compute as pc
import pytest

from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_list import price_rows


@pytest.fixture(scope="module")
def listed() -> Any:
    return price_rows(PriceBook.compiled())


def _prices(listed: Any, provider: str, model: str) -> dict[tuple[str, int], Decimal]:
    chosen = pc.and_(
        pc.and_(pc.equal(listed.column("provider"), provider), pc.equal(listed.column("model"), model)),
        pc.equal(listed.column("service_tier"), "default"),
    )
    return {(r["class"], r["above_input_tokens"]): r["usd_per_million"] for r in listed.filter(chosen).to_pylist()}


def test_a_class_costs_its_own_price_not_a_difference(listed: Any) -> None:
    prices = _prices(listed, "openai", "gpt-4o")
    assert prices["input_tokens", -1] == Decimal("2.5")
    assert prices["cache_read_tokens", -1] == Decimal("1.25")  # not 1.25 - 2.5
    assert prices["output_tokens", -1] == Decimal(10)


def test_context_tiers_are_rows_of_their_own(listed: Any) -> None:
    prices = _prices(listed, "anthropic", "claude-sonnet-4-5")
    assert (prices["input_tokens", -1], prices["input_tokens", 200_000]) == (3, 6)


def test_each_price_is_listed_once(listed: Any) -> None:
    key = ("provider", "model", "service_tier", "class", "above_input_tokens", "valid_from", "daily_from_s")
    rows = [tuple(row[name] for name in key) for row in listed.to_pylist()]
    assert len(rows) == len(set(rows))
