"""Prices of one's own: the sums in the open, which rule wins, what is refused, and both engines alike."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from priced_events import every_model, generate, unequal
from rating_events import columns

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_explain import Use, explain_price
from stream_processors.core.price_file import parse_prices
from stream_processors.core.price_history import changes_between, differences, entries_at, histories_after
from stream_processors.reference_prices import overrides_of
from stream_processors.versioned_log import to_bytes

CONTRACT = """
[[price]]
id = "contract"
organization = "acme"
provider = "openai"
model = "gpt-4o"
service_tier = "default"

[[price.range]]
from = 2026-01-01T00:00:00Z
to = 2026-07-01T00:00:00Z
per_million = { input_tokens = "2.00", output_tokens = 8 }

[[price.range]]
from = 2026-07-01T00:00:00Z
discount_percent = 15
"""
HOUSE = """
[[price]]
id = "house"
provider = "house"
model = "llama*"
service_tier = "*"

[[price.range]]
from = 2026-01-01T00:00:00Z
per_second = "0.0005"
"""
TOOLS = """
[[price]]
id = "calls"
tool = "jira"
service_tier = "*"

[[price.range]]
from = 2026-01-01T00:00:00Z
each = { requests = "0.02", image = "0.04", web_search = "0.008" }

[[price]]
id = "own-rate"
tool = "jira"
model = "gpt-4o"
service_tier = "*"

[[price.range]]
from = 2026-01-01T00:00:00Z
per_million = { input_tokens = "1.00" }
"""
MARKUP = """
[[price]]
id = "overhead"
service_tier = "*"

[[price.range]]
from = 2026-01-01T00:00:00Z
markup_percent = 10
"""
MARCH, AUGUST, BEFORE = (
    int(datetime(*day, tzinfo=UTC).timestamp()) * 10**6 for day in ((2026, 3, 1), (2026, 8, 1), (2025, 12, 31))
)
JULY = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp()) * 10**6
GPT = {"provider": "openai", "model": "gpt-4o", "occurred_at": MARCH, "input_tokens": 550, "output_tokens": 250}


def cost(toml: str, **fields: Any) -> int | None:
    book = PriceBook.compiled(parse_prices(toml, "prices.toml"), 1)
    pico, priced = book.price(columns([dict.fromkeys(TOKEN_CLASSES, 0) | GPT | fields]))
    return int(pico[0]) if priced[0] else None


@pytest.mark.parametrize(
    ("toml", "fields", "pico"),
    [
        ("", {}, 550 * 2_500_000 + 250 * 10_000_000),
        (CONTRACT, {}, 550 * 2_000_000 + 250 * 8_000_000),
        (CONTRACT, {"model": "gpt-4o-2024-08-06"}, 550 * 2_000_000 + 250 * 8_000_000),
        # what a contract does not name stays as listed: cached at 1.25
        (CONTRACT, {"cache_read_tokens": 50}, 500 * 2_000_000 + 50 * 1_250_000 + 250 * 8_000_000),
        (CONTRACT, {"organization": "other"}, 550 * 2_500_000 + 250 * 10_000_000),
        (CONTRACT, {"service_tier": "batch"}, None),  # no such price was published then
        (CONTRACT, {"occurred_at": BEFORE}, 550 * 2_500_000 + 250 * 10_000_000),
        (CONTRACT, {"occurred_at": JULY - 1}, 550 * 2_000_000 + 250 * 8_000_000),
        (CONTRACT, {"occurred_at": JULY}, (550 * 2_500_000 + 250 * 10_000_000) * 85 // 100),
        # a contract is net, so a discount on everything is not taken off it; a markup is on all
        (CONTRACT + MARKUP.replace("markup", "discount"), {}, 550 * 2_000_000 + 250 * 8_000_000),
        (CONTRACT + MARKUP, {}, (550 * 2_000_000 + 250 * 8_000_000) * 110 // 100),
        (CONTRACT + MARKUP, {"occurred_at": AUGUST}, (550 * 2_500_000 + 250 * 10_000_000) * 85 * 110 // 10_000),
        # 1.5 seconds at $0.0005; nobody knows how long it took
        (HOUSE, {"provider": "house", "model": "llama-3", "latency_ms": 1_500}, 750_000_000),
        (HOUSE, {"provider": "house", "model": "llama-3", "latency_ms": None}, None),
        (HOUSE, {"provider": "house", "model": "mixtral", "latency_ms": 1_500}, None),
        (HOUSE, {"latency_ms": 1_500}, 550 * 2_500_000 + 250 * 10_000_000),
        # a call, and its tokens at the tool's own rate
        (TOOLS, {"tool": "jira"}, 20_000_000_000 + 550 * 1_000_000 + 250 * 10_000_000),
        (TOOLS, {"tool": "jira", "units": [("image", 2)], "output_tokens": 0}, 100_000_000_000 + 550 * 1_000_000),
        (TOOLS, {"tool": "jira", "units": [("web_searches", 1)], "output_tokens": 0}, 28_000_000_000 + 550 * 1_000_000),
        (TOOLS, {"tool": "wiki"}, 550 * 2_500_000 + 250 * 10_000_000),
        (TOOLS, {"units": [("image", 2)]}, None),
    ],
)
def test_sums(toml: str, fields: dict[str, Any], pico: int | None) -> None:
    assert cost(toml, **{"organization": "acme", "tool": ""} | fields) == pico


def test_a_price_of_its_own_makes_another_version() -> None:
    assert PriceBook.compiled((), 7).version == f"{PriceBook.compiled().version} + overrides 7"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("to = 2026-07-01T00:00:00Z", "to = 2026-06-01T00:00:00Z", "T00:00:00Z to 2026-06-01T00:00:00Z and 2026-07-01"),
        ("to = 2026-07-01T00:00:00Z", "to = 2026-08-01T00:00:00Z", "overlap: each ends where the next begins"),
        ("to = 2026-07-01T00:00:00Z", "to = 2025-07-01T00:00:00Z", "must be after from = 2026-01-01"),
        ("from = 2026-01-01T00:00:00Z", "from = 2026-01-01T00:00:00", "range.0.from = "),
        ('"2.00"', '"0.000000001"', "per_million.input_tokens = '0.000000001'"),
        ('"2.00"', '"1000000000000"', "0 to 100000 with at most 6 decimals"),
        ("output_tokens = 8", "output_tokens = -8", "output_tokens = -8"),
        ("output_tokens = 8", "parsecs = 8", "not a class of tokens"),
        ("discount_percent = 15", "discount_percent = 101", "at most 100 percent"),
        ("discount_percent = 15", "", "a range has a price"),
        ('service_tier = "default"', "", "service_tier = (missing)"),
        ('provider = "openai"', 'providr = "openai"', "providr = 'openai'"),
        ('id = "contract"', 'id = "a b"', "id = 'a b'"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"prices\.toml: price") as refused:
        parse_prices(CONTRACT.replace(old, new, 1), "prices.toml")
    assert told in str(refused.value)


def test_two_prices_for_the_same_events_at_the_same_time_are_refused() -> None:
    with pytest.raises(ValueError, match=r"price contract, range .* and price other, range .* overlap"):
        parse_prices(CONTRACT + CONTRACT.replace('"contract"', '"other"'), "prices.toml")


def test_the_winner_is_explained() -> None:
    book = PriceBook.compiled(parse_prices(CONTRACT + TOOLS + MARKUP, "prices.toml"), 1)
    told = explain_price(book, Use("openai", "gpt-4o", "default", "acme", "wiki"), datetime(2026, 3, 1, tzinfo=UTC))
    because = {line["count"]: (line["usd"], line["because"]) for line in told["prices"]}
    markup = "10 % markup of overhead"
    assert because["input_tokens"] == ("2.2", f"price contract, the most specific that names it; {markup}")
    assert because["cache_read_tokens"] == ("1.375", f"the list; {markup}")
    assert {each["id"]: each["says"] for each in told["overrides"]} == {
        "contract": "sets input_tokens, output_tokens",
        "calls": "is for tool jira",
        "own-rate": "is for tool jira",
        "overhead": markup,
    }


def test_a_history_says_what_every_version_said() -> None:
    first, second = parse_prices(CONTRACT + HOUSE, "p"), parse_prices(CONTRACT.replace("15", "20"), "p")
    now = datetime(2026, 11, 1, tzinfo=UTC)
    one = {history.id: history for history in histories_after({}, changes_between([], first), 1, now)}
    changes = changes_between(entries_at(one, 1), second)
    assert [(change.id, change.what) for change in changes] == [("contract", "changed"), ("house", "removed")]
    assert differences(changes[0]) == [
        "- 2026-07-01T00:00:00Z to further notice: discount_percent 15",
        "+ 2026-07-01T00:00:00Z to further notice: discount_percent 20",
    ]
    two = one | {history.id: history for history in histories_after(one, changes, 2, now)}
    assert entries_at(two, 0) == []
    assert entries_at(two, 1) == sorted(first, key=lambda price: price.id)
    assert entries_at(two, 2) == second
    records = [to_bytes(history) for history in two.values()]
    assert [each["id"] for each in overrides_of(records, 2) if each["range"]] == ["contract"]
    assert json.loads(records[0])["revisions"][1]["price"]["range"][1]["discount_percent"] == "20"


@pytest.mark.parametrize("seed", range(3))
def test_the_engine_and_the_reference_apply_them_alike(seed: int) -> None:
    """Over every model, each with some of the overrides."""
    house = HOUSE.replace('provider = "house"', 'provider = "groq"').replace("2026-01-01", "2025-02-03")
    toml = CONTRACT.replace("gpt-4o", "gpt*") + house + TOOLS + MARKUP.replace("10", "7.25")
    overrides = parse_prices(toml.replace('"llama*"', '"*"'), "prices.toml")
    records = [to_bytes(each) for each in histories_after({}, changes_between([], overrides), 1, datetime.now(UTC))]
    generated, random = generate(seed, 6_000, every_model()), np.random.default_rng(seed)
    count = len(generated["units"])
    generated |= {
        "organization": [("acme", "other")[place] for place in random.integers(2, size=count).tolist()],
        "tool": [("", "jira")[place] for place in random.integers(2, size=count).tolist()],
        "latency_ms": [None if place % 5 == 0 else place for place in random.integers(9_999, size=count).tolist()],
    }
    differing, priced = unequal(PriceBook.compiled(overrides, 1), generated, overrides_of(records, 1))
    assert differing == []
    assert priced > 1_500
