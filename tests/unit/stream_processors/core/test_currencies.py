"""Prices in other currencies: at the rate of the event's time, exact, unpriced where there is none."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from priced_events import every_model, generate, unequal
from rating_events import columns

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.currencies import Currency
from stream_processors.core.overrides import Override
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_explain import Use, explain_price
from stream_processors.core.price_file import conflicts, only, parse_prices, without_rate
from stream_processors.core.price_history import changes_between, differences, entries_at, histories_after
from stream_processors.reference_prices import overrides_of, price_pico
from stream_processors.versioned_log import to_bytes

EURO = """
[[currency]]
code = "EUR"

[[currency.range]]
from = 2026-01-01T00:00:00Z
to = 2026-02-01T00:00:00Z
usd = "1.10"

[[currency.range]]
from = 2026-02-01T00:00:00Z
to = 2026-03-01T00:00:00Z
usd = 1.25
"""
CONTRACT = """
[[price]]
id = "contract"
provider = "openai"
model = "gpt-4o"
service_tier = "default"
currency = "EUR"

[[price.range]]
from = 2026-01-01T00:00:00Z
per_million = { input_tokens = "2.00", output_tokens = "8.00" }
each = { image = "0.04" }
"""
MARKUP = """
[[price]]
id = "overhead"
service_tier = "*"

[[price.range]]
from = 2026-01-01T00:00:00Z
markup_percent = 10
"""
HOUSE = """
[[price]]
id = "house"
provider = "house"
service_tier = "*"
currency = "EUR"

[[price.range]]
from = 2026-01-01T00:00:00Z
per_second = "0.001"
"""


def at(*day: int) -> int:
    return int(datetime(*day, tzinfo=UTC).timestamp()) * 10**6  # type: ignore[arg-type,misc]


JANUARY, FEBRUARY, MARCH = at(2026, 1, 31, 23, 59, 59) + 999_999, at(2026, 2, 1), at(2026, 3, 1)
GPT = {"provider": "openai", "model": "gpt-4o", "input_tokens": 550, "output_tokens": 250, "occurred_at": FEBRUARY}
LISTED = 550 * 2_500_000 + 250 * 10_000_000


def cost(toml: str, **fields: Any) -> int | None:
    book = PriceBook.compiled(parse_prices(toml, "prices.toml"), 1)
    pico, priced = book.price(columns([dict.fromkeys(TOKEN_CLASSES, 0) | GPT | fields]))
    return int(pico[0]) if priced[0] else None


@pytest.mark.parametrize(
    ("toml", "fields", "pico"),
    [
        (EURO + CONTRACT, {"occurred_at": JANUARY}, (550 * 2_000_000 + 250 * 8_000_000) * 110 // 100),
        (EURO + CONTRACT, {"occurred_at": FEBRUARY}, (550 * 2_000_000 + 250 * 8_000_000) * 125 // 100),
        (EURO + CONTRACT, {"occurred_at": MARCH - 1}, (550 * 2_000_000 + 250 * 8_000_000) * 125 // 100),
        # a markup is on all, also on what was converted
        (EURO + CONTRACT + MARKUP, {}, (550 * 2_000_000 + 250 * 8_000_000) * 125 * 110 // 10_000),
        # what the contract does not name stays as listed, in dollars: cached at 1.25
        (EURO + CONTRACT, {"cache_read_tokens": 50}, 500 * 2_500_000 + 50 * 1_250_000 + 250 * 10_000_000),
        (EURO + CONTRACT, {"output_tokens": 0, "units": [("image", 1)]}, 550 * 2_500_000 + 50_000_000_000),
        # no rate any more: not known, and neither the list's price nor 0
        (EURO + CONTRACT, {"occurred_at": MARCH}, None),
        (EURO + CONTRACT, {"occurred_at": MARCH, "input_tokens": 0}, None),
        (EURO + CONTRACT, {"occurred_at": MARCH, "model": "gpt-4o-mini"}, 550 * 150_000 + 250 * 600_000),
        # before the contract the list holds
        (EURO + CONTRACT, {"occurred_at": at(2025, 12, 31)}, LISTED),
        # 1.5 seconds
        (EURO + HOUSE, {"provider": "house", "latency_ms": 1_500}, 1_875_000_000),
        (EURO + HOUSE, {"provider": "house", "latency_ms": 1_500, "occurred_at": MARCH}, None),
        (EURO + HOUSE, {"provider": "house", "latency_ms": None, "input_tokens": 0, "occurred_at": MARCH}, None),
    ],
)
def test_sums(toml: str, fields: dict[str, Any], pico: int | None) -> None:
    assert cost(toml, **fields) == pico


def test_only_what_has_no_rate_is_unpriced() -> None:
    """An image in euros does not make usage without images unpriced."""
    images = CONTRACT.replace('per_million = { input_tokens = "2.00", output_tokens = "8.00" }', "")
    assert cost(EURO + images, occurred_at=MARCH) == LISTED
    assert cost(EURO + images, occurred_at=MARCH, units=[("image", 1)]) is None


@given(
    st.decimals(Decimal("0.000000000001"), 1_000, places=12),
    st.decimals(0, 100, places=6),
    st.integers(0, 10**9),
)
def test_the_product_is_exact_and_rounded_once_half_to_even(usd: Decimal, price: Decimal, tokens: int) -> None:
    toml = EURO.replace("1.25", f'"{usd}"') + CONTRACT.replace('"2.00"', f'"{price}"').replace('"8.00"', "0")
    exact = Fraction(price) * Fraction(usd) * tokens * 10**6
    expected = round(exact)
    got = cost(toml, input_tokens=tokens, output_tokens=0)
    assert got == (expected if expected < 2**63 * 0.99 else -1)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "from = 2026-02-01",
            "from = 2026-02-02",
            "2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z and 2026-02-02T00:00:00Z to 2026-03-01T00:00:00Z leave a gap",
        ),
        (
            "from = 2026-02-01",
            "from = 2026-01-31",
            "2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z and 2026-01-31T00:00:00Z to 2026-03-01T00:00:00Z overlap",
        ),
        ("to = 2026-02-01T00:00:00Z\n", "", "to further notice and 2026-02-01T00:00:00Z to 2026-03-01"),
        ('"1.10"', '"0"', "range.0.usd = '0': US dollars for one are more than 0"),
        ('"1.10"', '"1000.01"', "range.0.usd = '1000.01': US dollars for one"),
        ('"1.10"', '"0.0000000000001"', "at most 12 decimals"),
        ('"1.10"', '"-1"', "range.0.usd = '-1'"),
        ('"EUR"', '"USD"', "code = 'USD': amounts are in US dollars"),
        ('"EUR"', '"Euro"', "code = 'Euro'"),
        ("from = 2026-01-01T00:00:00Z", "from = 2026-01-01T00:00:00", "range.0.from = 2026-01-01 00:00:00"),
    ],
)
def test_a_wrong_rate_is_named(old: str, new: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^prices\.toml: currency [A-Za-z]+: ") as caught:
        parse_prices(EURO.replace(old, new, 1), "prices.toml")
    assert told in str(caught.value)


def test_what_cannot_be_in_force_together() -> None:
    assert list(conflicts(parse_prices(EURO + CONTRACT, "p"))) == []
    assert list(conflicts(parse_prices(CONTRACT, "p"))) == [
        "price contract: currency = 'EUR': no rate of it is known; a [[currency]] with code = 'EUR' has them"
    ]
    dear = CONTRACT.replace('"2.00"', '"90000"')
    assert list(conflicts(parse_prices(EURO + dear, "p"))) == [
        "price contract, range 2026-01-01T00:00:00Z to further notice: per_million.input_tokens = 90000 EUR: "
        "112500.00 US dollars from 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z, more than 100000"
    ]
    with pytest.raises(ValueError, match="price EUR: id = 'EUR': used twice"):
        parse_prices(EURO + CONTRACT.replace('"contract"', '"EUR"'), "p")


def test_when_there_is_no_rate_is_told() -> None:
    early = EURO + CONTRACT.replace("2026-01-01", "2025-11-01")
    assert list(without_rate(parse_prices(early, "p"))) == [
        "price contract, 2025-11-01T00:00:00Z to 2026-01-01T00:00:00Z: no rate of EUR; such usage is unpriced",
        "price contract, 2026-03-01T00:00:00Z to further notice: no rate of EUR; such usage is unpriced",
    ]
    open_end = EURO.replace("to = 2026-03-01T00:00:00Z\n", "") + CONTRACT
    assert list(without_rate(parse_prices(open_end, "p"))) == []


def test_the_rate_is_named() -> None:
    book = PriceBook.compiled(parse_prices(EURO + CONTRACT, "p"), 1)
    use = Use("openai", "gpt-4o", "default", "acme", "")
    told = explain_price(book, use, datetime(2026, 2, 3, tzinfo=UTC))
    [line] = [line for line in told["prices"] if line["count"] == "input_tokens"]
    assert (line["usd"], line["because"]) == (
        "2.5",
        "price contract, the most specific that names it; "
        "1 EUR at 1.25 US dollars from 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z",
    )
    told = explain_price(book, use, datetime(2026, 3, 3, tzinfo=UTC))
    assert not {line["count"] for line in told["prices"]} & {"input_tokens", "output_tokens", "image"}
    assert told["overrides"] == [
        {
            "id": "contract",
            "says": "has no rate of EUR then: usage with input_tokens, output_tokens, image is unpriced",
        }
    ]


def test_another_rate_touches_the_prices_in_its_currency_while_it_differs() -> None:
    old, new = parse_prices(EURO + CONTRACT, "p"), parse_prices(EURO.replace("1.25", "1.26") + CONTRACT, "p")
    [change] = changes_between(old, new)
    assert (change.id, change.what) == ("EUR", "changed")
    assert differences(change) == [
        "- 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z: 1 EUR at 1.25 US dollars",
        "+ 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z: 1 EUR at 1.26 US dollars",
    ]
    stretches = change.stretches(only(Override, new))
    assert {(price.id, dated.text()) for price, dated in stretches} == {
        ("contract", "2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z")
    }
    [change] = changes_between(new, parse_prices(EURO.replace("1.25", "1.26") + CONTRACT.replace("EUR", "USD"), "p"))
    assert [dated.text() for _, dated in change.stretches([])] == ["2026-01-01T00:00:00Z to further notice"] * 2
    assert differences(change)[:2] == [
        "- for model gpt-4o, provider openai, tier default, in EUR",
        "+ for model gpt-4o, provider openai, tier default",
    ]


def test_history_keeps_prices_and_currencies() -> None:
    entries = parse_prices(EURO + CONTRACT, "p")
    histories = {each.id: each for each in histories_after({}, changes_between([], entries), 1, datetime.now(UTC))}
    read = {key: type(history).model_validate_json(to_bytes(history)) for key, history in histories.items()}
    held = entries_at(read, 1)
    assert [type(each) for each in held] == [Currency, Override]
    assert changes_between(held, entries) == []


@pytest.mark.parametrize("seed", range(2))
def test_the_engine_and_the_reference_convert_alike(seed: int) -> None:
    """Over every model; events before, within and after the rates."""
    yen = EURO.replace("EUR", "JPY").replace('"1.10"', '"0.006712345678"').replace("to = 2026-03-01T00:00:00Z\n", "")
    calls = CONTRACT.replace("EUR", "JPY").replace('"contract"', '"calls"').replace('"openai"', '"anthropic"')
    calls = calls.replace('"gpt-4o"', '"*"').replace("per_million", "# per_million").replace("image =", "requests =")
    text = EURO + yen + CONTRACT.replace("gpt-4o", "*") + calls + HOUSE.replace('"house"', '"groq"') + MARKUP
    entries = parse_prices(text.replace('id = "groq"', 'id = "house"').replace("10\n", "7.25\n"), "p")
    assert list(conflicts(entries)) == []
    records = [to_bytes(each) for each in histories_after({}, changes_between([], entries), 1, datetime.now(UTC))]
    generated, random = generate(seed, 4_000, every_model()), np.random.default_rng(seed)
    count = len(generated["units"])
    generated["occurred_at"] = at(2025, 11, 1) + random.integers(180 * 86_400, size=count) * 10**6
    generated |= {"organization": [""] * count, "tool": [""] * count}
    generated["latency_ms"] = [None if place % 5 == 0 else place for place in random.integers(99, size=count).tolist()]
    overrides = overrides_of(records, 1)
    differing, priced = unequal(PriceBook.compiled(entries, 1), generated, overrides)
    assert differing == []
    assert priced > 800
    assert price_pico({**GPT, "service_tier": "default", "units": {}, "occurred_at": MARCH, "organization": "",
                       "tool": "", **dict.fromkeys(set(TOKEN_CLASSES) - set(GPT), 0)}, overrides) is None  # fmt: skip
