"""Prices, in the open and against `genai_prices.calc_price` event by event, in Decimal."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from random import Random
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ConditionalPrice,
    MatchLogic,
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
        # what has no price is not free
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
UNIT_NAMES = {name: "output_reasoning_tokens" if name == "reasoning_tokens" else name for name in TOKEN_CLASSES}


def references(match: MatchLogic) -> Iterator[str]:
    if isinstance(match, ClauseEquals):
        yield match.equals
    elif isinstance(match, ClauseOr):
        for clause in match.or_:
            yield from references(clause)


def boundaries(model: ModelInfo) -> tuple[list[int], list[datetime]]:
    """Token counts and moments at which a price of the model changes."""
    conditional = model.prices if isinstance(model.prices, list) else []
    entries = [*conditional, *(model.price_variants or [])]
    prices = [entry.prices for entry in entries] or [model.prices]
    values = [value for price in prices for value in vars(price).values()]
    starts = [tier.start for value in values if isinstance(value, TieredPrices) for tier in value.tiers]
    moments = []
    for constraint in (entry.constraint for entry in entries):
        if isinstance(constraint, StartDateConstraint):
            moments.append(datetime.combine(constraint.start_date, time(), UTC))
        elif isinstance(constraint, TimeOfDateConstraint):
            moments += [datetime.combine(date(2026, 6, 1), at) for at in (constraint.start_time, constraint.end_time)]
    return starts, moments


def generated(random: Random, provider: Provider, model: ModelInfo, tier: str) -> dict[str, Any]:
    starts, moments = boundaries(model)
    tokens = random.choice([0, 1, 999, random.randrange(400_000), 10**9, *(s + d for s in starts for d in (0, 1))])
    output = random.choice([0, 1, random.randrange(100_000), 10**9])
    read = random.choice([0, random.randint(0, tokens)])
    write = random.choice([0, random.randint(0, tokens - read)])
    audio = random.choice([0, 0, random.randint(0, tokens)])
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(microseconds=random.randrange(4 * 365 * 86_400 * 10**6))
    at_boundary = [at + timedelta(microseconds=d) for at in moments for d in (-1, 0)]
    return TOKENS | {
        "provider": provider.id,
        "model": random.choice([model.id, *references(model.match)]),
        "service_tier": tier,
        "occurred_at": micros(random.choice([moment, *at_boundary])),
        "input_tokens": tokens,
        "output_tokens": output,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "cache_write_1h_tokens": random.choice([0, random.randint(0, write)]),
        "input_audio_tokens": audio,
        "input_image_tokens": random.choice([0, 0, random.randint(0, tokens - audio)]),
        "reasoning_tokens": random.choice([0, random.randint(0, output)]),
        "output_audio_tokens": random.choice([0, 0, random.randint(0, output)]),
    }


def expected_pico(event: dict[str, Any]) -> int | None:
    """The package's price to the pico-dollar, and None for the exceptions that price_book.py states."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["occurred_at"])
    usage = Usage(**{UNIT_NAMES[name]: event[name] for name in TOKEN_CLASSES})
    context = CONTEXT[event["service_tier"]]
    try:
        found = calc_price(
            usage,
            event["model"],
            provider_id=event["provider"],
            genai_request_timestamp=moment,
            price_context=context,
        )
    except (LookupError, ValueError):
        return None
    if context and not (found.model in found.provider.models and has_variant(found.model, context, moment)):
        return None
    prices = found.model_price
    if prices.input_mtok is None and prices.output_mtok is None and prices.requests_kcount is None:
        return None
    if (prices.input_mtok is None and event["input_tokens"]) or (prices.output_mtok is None and event["output_tokens"]):
        return None
    with localcontext() as exact:
        exact.prec = 60
        return int((found.total_price * 10**12).to_integral_value(ROUND_HALF_EVEN))


def has_variant(model: ModelInfo, context: dict[str, str], moment: datetime) -> bool:
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(moment))
        for variant in model.price_variants or []
    )


def test_every_model_costs_what_the_package_says() -> None:
    random = Random(20260921)
    events = [
        generated(random, provider, model, tier)
        for provider in providers
        for model in provider.models
        for tier in ["default"] * 8 + ["batch", "flex", "priority"]
    ]
    events += [  # sold by one provider, priced by another
        generated(random, provider, model, tier) | {"provider": seller.id}
        for seller in providers
        for provider in providers
        if provider.id in (seller.fallback_model_providers or [])
        for model in provider.models
        for tier in ("default", "batch", "flex", "priority")
    ]
    assert len(events) >= 20_000
    with localcontext() as exact:
        exact.prec = 60
        expected = [expected_pico(event) for event in events]
    got = costs(BOOK, events)
    differing = [(event, a, b) for event, a, b in zip(events, expected, got, strict=True) if a != b]
    assert differing == []
    priced = Counter(event["service_tier"] for event, pico in zip(events, got, strict=True) if pico is not None)
    assert priced["default"] > 15_000
    assert min(priced[tier] for tier in ("batch", "flex", "priority")) > 10
