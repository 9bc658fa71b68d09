"""Prices, in the open and against `genai_prices.calc_price` event by event, in Decimal."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.data_units import unit_data
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from priced_events import Sold, events_of, every_model, generate, rows_of
from rating_events import columns

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.price_book import PriceBook

BOOK = PriceBook.compiled()
TOKENS = dict.fromkeys(TOKEN_CLASSES, 0)


def costs(book: PriceBook, events: list[dict[str, Any]]) -> list[int | None]:
    cost, priced = book.price(columns([TOKENS | event for event in events]))
    return [pico if known else None for pico, known in zip(cost.tolist(), priced.tolist(), strict=True)]


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def book_of(*models: ModelInfo) -> PriceBook:
    provider = Provider(id="shop", name="Shop", api_pattern="shop", models=list(models))
    return PriceBook([provider], "test")


def model_of(prices: ModelPrice | list[ConditionalPrice]) -> ModelInfo:
    return ModelInfo(id="m", match=ClauseEquals(equals="m"), prices=prices)


SOLD = {"provider": "shop", "model": "m"}
SEARCHED = ModelPrice(input_mtok=Decimal(5), web_searches_kcount=Decimal(10))
TIERED = ModelPrice(
    input_mtok=TieredPrices(base=Decimal("5.00"), tiers=[Tier(start=500, price=Decimal("8.00"))]),
    output_mtok=Decimal("20"),
)


# ---- sums that anyone can check; all prices per million tokens


@pytest.mark.parametrize(
    ("prices", "counts", "pico"),
    [
        # $5.00 = 5 000 000 pico-dollars a token
        (ModelPrice(input_mtok=Decimal("5")), {"input_tokens": 550}, 550 * 5_000_000),
        (
            ModelPrice(input_mtok=Decimal("5"), output_mtok=Decimal("8")),
            {"input_tokens": 550, "output_tokens": 250},
            550 * 5_000_000 + 250 * 8_000_000,
        ),
        (
            ModelPrice(input_mtok=Decimal("3"), cache_read_mtok=Decimal("0.30"), cache_write_mtok=Decimal("3.75")),
            {"input_tokens": 1000, "cache_read_tokens": 600, "cache_write_tokens": 100},
            300 * 3_000_000 + 600 * 300_000 + 100 * 3_750_000,
        ),
        (
            ModelPrice(input_mtok=Decimal("3"), cache_write_mtok=Decimal("3.75"), cache_write_1h_mtok=Decimal("6")),
            {"input_tokens": 1000, "cache_write_tokens": 100, "cache_write_1h_tokens": 40},
            900 * 3_000_000 + 60 * 3_750_000 + 40 * 6_000_000,
        ),
        # no price of its own: a part costs what its whole costs
        (
            ModelPrice(input_mtok=Decimal("3"), output_mtok=Decimal("9")),
            {
                "input_tokens": 10,
                "cache_read_tokens": 5,
                "input_audio_tokens": 2,
                "output_tokens": 7,
                "reasoning_tokens": 7,
            },
            10 * 3_000_000 + 7 * 9_000_000,
        ),
        # the tier is decided by all input tokens, and holds for all of them: more than 500, not 500
        (TIERED, {"input_tokens": 500, "output_tokens": 1}, 500 * 5_000_000 + 20_000_000),
        (TIERED, {"input_tokens": 501, "output_tokens": 1}, 501 * 8_000_000 + 20_000_000),
        # half-even, once per row: 0.5 and 1.5 and 2.5 pico-dollars, and three parts whose fractions add up
        (ModelPrice(input_mtok=Decimal("0.0000005")), {"input_tokens": 1}, 0),
        (ModelPrice(input_mtok=Decimal("0.0000005")), {"input_tokens": 3}, 2),
        (ModelPrice(input_mtok=Decimal("0.0000005")), {"input_tokens": 5}, 2),
        (ModelPrice(input_mtok=Decimal("0.000000500000000001")), {"input_tokens": 1}, 1),
        (
            ModelPrice(input_mtok=Decimal("0.0000004"), output_mtok=Decimal("0.0000004")),
            {"input_tokens": 1, "output_tokens": 1},
            1,
        ),
        (ModelPrice(input_mtok=Decimal("1"), requests_kcount=Decimal("5")), {"input_tokens": 0}, 5_000_000_000),
        (ModelPrice(input_mtok=Decimal("0"), output_mtok=Decimal("0")), {"input_tokens": 9}, 0),
        # other things than tokens: $10 a thousand searches, $0.36 an hour of audio = $0.0001 a second
        (SEARCHED, {"input_tokens": 550, "units": [("web_searches", 3)]}, 550 * 5_000_000 + 3 * 10_000_000_000),
        (SEARCHED, {"input_tokens": 0, "units": [("web_search", 1), ("web_searches", 1)]}, 2 * 10_000_000_000),
        (ModelPrice(audio_hours=Decimal("0.36")), {"units": [("audio_seconds", 90)]}, 90 * 100_000_000),
        # $1 an hour for 1 and for 2 seconds: 277 777 777.77... and 555 555 555.55... pico-dollars
        (ModelPrice(audio_hours=Decimal("1")), {"units": [("audio_second", 1)]}, 277_777_778),
        (ModelPrice(audio_hours=Decimal("1")), {"units": [("audio_second", 2)]}, 555_555_556),
        # pages: 7 of them, 2 annotated, at $1 and $3 a thousand
        (
            ModelPrice(input_document_kpages=Decimal(1), input_annotated_document_kpages=Decimal(3)),
            {"units": [("input_document_pages", 7), ("input_annotated_document_pages", 2)]},
            5 * 1_000_000_000 + 2 * 3_000_000_000,
        ),
        # a part of the output that the event states among its units: 100 plain at $2, 40 of images at $30
        (
            ModelPrice(output_mtok=Decimal(2), output_image_mtok=Decimal(30)),
            {"output_tokens": 140, "units": [("output_image_tokens", 40)]},
            100 * 2_000_000 + 40 * 30_000_000,
        ),
        # what has no price is not free
        (ModelPrice(audio_hours=Decimal("1")), {}, None),
        (SEARCHED, {"input_tokens": 1, "units": [("storage_searches", 1)]}, None),
        (SEARCHED, {"input_tokens": 1, "units": [("input_tokens", 1)]}, None),
        (
            ModelPrice(input_document_kpages=Decimal(1), input_annotated_document_kpages=Decimal(3)),
            {"units": [("input_document_pages", 1), ("input_annotated_document_pages", 2)]},
            None,
        ),
        (ModelPrice(), {}, None),
        (ModelPrice(input_mtok=Decimal("1")), {"output_tokens": 1}, None),
        (ModelPrice(output_mtok=Decimal("1")), {"input_tokens": 1, "output_tokens": 1}, None),
        (ModelPrice(audio_hours=Decimal("1")), {"input_tokens": 1}, None),
        (ModelPrice(input_mtok=Decimal("1")), {"input_tokens": 1, "units": [("web_search", 1)]}, None),
        (ModelPrice(input_mtok=Decimal("1")), {"input_tokens": 1, "units": [("web_search", 0)]}, 1_000_000),
        (ModelPrice(input_mtok=Decimal("1")), {"input_tokens": 1, "service_tier": "batch"}, None),
    ],
)
def test_sums(prices: ModelPrice, counts: dict[str, Any], pico: int | None) -> None:
    assert costs(book_of(model_of(prices)), [SOLD | counts]) == [pico]


def test_the_price_is_the_one_in_force_when_it_happened() -> None:
    dated = model_of(
        [
            ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(1))),
            ConditionalPrice(StartDateConstraint(date(2026, 3, 1)), prices=ModelPrice(input_mtok=Decimal(2))),
            ConditionalPrice(
                TimeOfDateConstraint(time(16, 30, tzinfo=UTC), time(0, 30, tzinfo=UTC)),
                prices=ModelPrice(input_mtok=Decimal(3)),
            ),
        ]
    )
    moments = {
        datetime(2026, 2, 28, 12, tzinfo=UTC): 1,
        datetime(2026, 2, 28, 16, 29, 59, 999_999, tzinfo=UTC): 1,
        datetime(2026, 2, 28, 16, 30, tzinfo=UTC): 3,
        datetime(2026, 3, 1, 0, 29, 59, 999_999, tzinfo=UTC): 3,
        datetime(2026, 3, 1, 0, 30, tzinfo=UTC): 2,
        datetime(2015, 1, 1, 1, tzinfo=UTC): 1,
        datetime(2099, 1, 1, 1, tzinfo=UTC): 2,
    }
    events = [SOLD | {"input_tokens": 1, "occurred_at": micros(moment)} for moment in moments]
    assert costs(book_of(dated), events) == [dollars * 1_000_000 for dollars in moments.values()]


def test_an_event_with_both_of_two_classes_priced_apart_where_they_meet_is_unpriced() -> None:
    audio = ModelPrice(
        input_mtok=Decimal(1), cache_read_mtok=Decimal(2), input_audio_mtok=Decimal(4), cache_audio_read_mtok=Decimal(8)
    )
    cached = SOLD | {"input_tokens": 10, "cache_read_tokens": 3}
    book = book_of(model_of(audio))
    assert costs(book, [cached]) == [7 * 1_000_000 + 3 * 2_000_000]
    assert costs(book, [cached | {"cache_read_tokens": 0, "input_audio_tokens": 3}]) == [7 * 1_000_000 + 3 * 4_000_000]
    assert costs(book, [cached | {"input_audio_tokens": 1}]) == [None]
    # 10 in all: 3 cached, 4 audio, of which 2 both, so 5 neither
    stated = cached | {"input_audio_tokens": 4, "units": [("cache_audio_read_tokens", 2)]}
    assert costs(book, [stated]) == [5 * 1_000_000 + 1 * 2_000_000 + 2 * 4_000_000 + 2 * 8_000_000]


def test_groq_bills_ten_seconds_of_a_transcription_at_least() -> None:
    """At $0.111 an hour; nothing for nothing."""
    whisper = {"provider": "groq", "model": "whisper-large-v3", "input_tokens": 0, "output_tokens": 0}
    events = [whisper | {"units": [("input_audio_seconds", seconds)]} for seconds in (0, 1, 10, 3_600)]
    assert costs(BOOK, events) == [0, 308_333_333, 308_333_333, 111_000_000_000]


def test_a_provider_is_never_guessed_from_the_model() -> None:
    events = [
        {"provider": name, "model": "claude-sonnet-4-5", "input_tokens": 1}
        for name in ("anthropic", "Anthropic", "corner-shop", "")
    ]
    assert costs(BOOK, events) == [3_000_000, 3_000_000, None, None]


def test_another_sellers_price_stands_in_for_the_standard_price_only() -> None:
    bought = {"model": "gpt-4o", "input_tokens": 1000, "occurred_at": micros(datetime(2026, 11, 20, tzinfo=UTC))}
    offers = [("openai", "default"), ("openai", "batch"), ("azure", "default"), ("azure", "batch")]
    events = [bought | {"provider": provider, "service_tier": tier} for provider, tier in offers]
    assert costs(BOOK, events) == [1000 * 2_500_000, 1000 * 1_250_000, 1000 * 2_500_000, None]


def test_a_cost_beyond_64_bits_is_known_not_to_fit() -> None:
    dear = book_of(model_of(ModelPrice(input_mtok=Decimal(10_000_000))))
    assert costs(dear, [SOLD | {"input_tokens": count} for count in (900_000, 10**9)]) == [9 * 10**18, -1]


def test_the_version_names_the_data_and_changes_with_it() -> None:
    assert PriceBook.compiled().version == BOOK.version
    assert BOOK.version.startswith("genai-prices ")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=8))
def test_the_price_is_additive(uses: list[tuple[int, int]]) -> None:
    names = {"provider": "openai", "model": "gpt-4o"}
    each = costs(BOOK, [names | {"input_tokens": i, "cache_read_tokens": i // 2, "output_tokens": o} for i, o in uses])
    total = {
        "input_tokens": sum(i for i, _ in uses),
        "cache_read_tokens": sum(i // 2 for i, _ in uses),
        "output_tokens": sum(o for _, o in uses),
    }
    assert [sum(cost or 0 for cost in each)] == costs(BOOK, [names | total])


# ---- every model, against the package's own arithmetic

CONTEXT = {
    "default": None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
WHOLES = {
    "input_audio_seconds": "audio_seconds",
    "output_audio_seconds": "audio_seconds",
    "input_annotated_document_pages": "input_document_pages",
}
UNIT_NAMES = {name: "output_reasoning_tokens" if name == "reasoning_tokens" else name for name in TOKEN_CLASSES}


def expected_pico(event: dict[str, Any]) -> int | None:
    """The package's price to the pico-dollar, and None for the exceptions that price_book.py states."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["occurred_at"])
    units = {"web_searches" if name == "web_search" else name: count for name, count in event["units"].items()}
    known = {name: count for name, count in units.items() if name in unit_data}
    for part, whole in WHOLES.items():
        if part in known and whole not in known:
            known[whole] = sum(known.get(each, 0) for each, of in WHOLES.items() if of == whole)
    context = CONTEXT[event["service_tier"]]
    try:
        found = calc_price(
            Usage(**{UNIT_NAMES[name]: event[name] for name in TOKEN_CLASSES}, **known),
            event["model"],
            provider_id=event["provider"],
            genai_request_timestamp=moment,
            price_context=context,
        )
    except (LookupError, ValueError):
        return None
    if context and not (found.model in found.provider.models and has_variant(found.model, context, moment)):
        return None
    priced = {name for name, unit in unit_data.items() if getattr(found.model_price, unit["price_key"]) is not None}
    counted = {"input_tokens": event["input_tokens"], "output_tokens": event["output_tokens"]} | units
    if any(count and not covered(name, priced) for name, count in counted.items()):
        return None
    if not priced & {"input_tokens", "output_tokens", "requests", *units}:
        return None
    with localcontext() as exact:
        exact.prec = 60
        return int((found.total_price * 10**12).to_integral_value(ROUND_HALF_EVEN))


def covered(name: str, priced: set[str]) -> bool:
    own = unit_data.get(name, {"dimensions": {}})["dimensions"].items()
    return any(unit_data[whole]["dimensions"].items() <= own for whole in priced)


def has_variant(model: ModelInfo, context: dict[str, str], moment: datetime) -> bool:
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(moment))
        for variant in model.price_variants or []
    )


def sold_by_others() -> list[Sold]:
    """Models that one provider sells at another one's list price."""
    fallbacks = [(seller.id, own) for seller in providers for own in seller.fallback_model_providers or []]
    return [
        replace(sold, provider=seller) for sold in every_model() for seller, own in fallbacks if sold.provider == own
    ]


@pytest.mark.parametrize(
    ("models", "least"), [(every_model(), 3_000), (sold_by_others(), 700)], ids=["own", "fallback"]
)
def test_every_model_costs_what_the_package_says(models: list[Sold], least: int) -> None:
    generated = generate(20260921, 12_000, models)
    events = list(events_of(generated))
    with localcontext() as exact:
        exact.prec = 60
        expected = [expected_pico(event) for event in events]
    cost, known = BOOK.price(rows_of(generated))
    got = [pico if has else None for pico, has in zip(cost.tolist(), known.tolist(), strict=True)]
    differing = [(event, a, b) for event, a, b in zip(events, expected, got, strict=True) if a != b]
    assert differing == []
    priced = Counter(event["service_tier"] for event, pico in zip(events, got, strict=True) if pico is not None)
    assert priced["default"] > least


def test_every_service_tier_is_priced_for_some_model() -> None:
    generated = generate(1, 20_000, [sold for sold in every_model() if sold.provider == "openai"])
    _, known = BOOK.price(rows_of(generated))
    priced = Counter(tier for tier, has in zip(generated["service_tier"], known.tolist(), strict=True) if has)
    assert min(priced[tier] for tier in CONTEXT) > 100
