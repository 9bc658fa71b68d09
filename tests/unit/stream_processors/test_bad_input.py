"""Bad input, line by line: each is refused where it can first be known, with field, value and rule."""

import json
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from producers.collector import InvalidEventsError, parse_events
from schemas.codec import avro_text, encode
from schemas.event import UsageEvent, explain
from stream_processors.commands import adjust, prices, rerate
from stream_processors.core.directory_forms import parse_people
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_file import conflicts, parse_prices
from stream_processors.core.rating import RawBatch, rate
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen
from stream_processors.reference import Partition

OCCURRED = datetime(2026, 9, 21, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "event_id": "e",
    "source": "s",
    "organization": "acme",
    "provider": "openai",
    "model": "gpt-4o",
    "input_tokens": 1_000,
    "output_tokens": 100,
}
PRICE = """
[[price]]
id = "own"
provider = "openai"
model = "gpt-4o"
service_tier = "default"

[[price.range]]
from = 2026-01-01T00:00:00Z
to = 2026-02-01T00:00:00Z
per_million = { input_tokens = "1.00" }
each = { image = "0.04" }
"""
PEOPLE = "organization,user,from,department\nacme,ada,2026-01-01T00:00:00Z,sales\n"

NEGATIVE = [
    ({"input_tokens": -1}, "input_tokens = -1: ", "only an adjustment may be negative", "input_tokens = -1: not"),
    ({"units": {"image": -2}}, "units['image'] = -2: ", "only an adjustment may be negative", "units = -2: not"),
    ({"input_parts": {"files": -3}}, "input_parts.files = -3: ", "greater than or equal to 0", "input_parts = -3: not"),
    ({"latency_ms": -4}, "latency_ms = -4: ", "greater than or equal to 0", "latency_ms = -4: not negative"),
    ({"max_output_tokens": -5}, "max_output_tokens = -5: ", "greater than or equal to 0", "tokens = -5: not negative"),
    ({"attachments": [{"file_id": "f", "tokens": -6}]}, "attachments.0.tokens = -6: ", "or equal to 0", "= -6: not"),
]
ABSURD = [
    ({"input_tokens": 2 * 10**9}, "input_tokens = 2000000000: ", "less than or equal to 1000000000", "at most 1000000"),
    ({"units": {"image": 2 * 10**9}}, "units.image = 2000000000: ", "less than or equal to 1000000000", "at most 1000"),
]
PARTS = [
    ({"cache_read_tokens": 1_001}, "cache_read_tokens + cache_write_tokens = 1001: ", "at most input_tokens = 1000"),
    ({"cache_write_1h_tokens": 1}, "cache_write_1h_tokens = 1: ", "at most cache_write_tokens = 0"),
    (
        {"input_audio_tokens": 600, "input_image_tokens": 401},
        "input_audio_tokens + input_image_tokens = 1001: ",
        "at most input_tokens = 1000",
    ),
    ({"reasoning_tokens": 101}, "reasoning_tokens = 101: ", "at most output_tokens = 100"),
    ({"output_audio_tokens": 101}, "output_audio_tokens = 101: ", "at most output_tokens = 100"),
    ({"input_parts": {"files": 1_001}}, "sum of input_parts = 1001: ", "at most input_tokens = 1000"),
    ({"output_parts": {"text": 101}}, "sum of output_parts = 101: ", "at most output_tokens = 100"),
    ({"attachments": [{"file_id": "f", "tokens": 1_001}]}, "sum of attachments' tokens = 1001: ", "at most input"),
]


def built(fields: dict[str, Any]) -> str:
    """What a producer is told."""
    with pytest.raises(ValidationError) as refused:
        UsageEvent(**EVENT | {"occurred_at": OCCURRED} | fields)
    return explain(refused.value)


def posted(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """What the collector answers."""
    with pytest.raises(InvalidEventsError) as refused:
        parse_events(json.dumps(EVENT | {"occurred_at": "2026-09-21T00:00:00Z"} | fields).encode())
    return refused.value.faults


def rated(fields: dict[str, Any]) -> tuple[str, str]:
    """The reject of an event that no model of ours has checked; the reference rejects it likewise."""
    occurred_us = int(OCCURRED.timestamp()) * 1_000_000
    value = encode(EVENT | {"occurred_at": occurred_us} | fields, "usage_event.v1", 1)
    batch = RawBatch([value], [b"k"], np.array([7]), np.array([occurred_us // 1_000]))
    rejects = rate(batch, lambda _: avro_text("usage_event.v1"), PriceBook.compiled(), Seen(), Revisions()).rejects
    [reject] = rejects.to_pylist()
    assert Partition(lambda _: avro_text("usage_event.v1")).judge(value, occurred_us).reason == reject["reason"]
    return reject["reason"], reject["detail"]


@pytest.mark.parametrize(("fields", "told", "rule", "detail"), NEGATIVE)
def test_negative_counts(fields: dict[str, Any], told: str, rule: str, detail: str) -> None:
    assert built(fields).startswith(told)
    assert rule in built(fields)
    assert rule in posted(fields)[0]["rule"]
    assert rated(fields)[0] == "invalid"
    assert detail in rated(fields)[1]


@pytest.mark.parametrize(("fields", "told", "rule", "detail"), ABSURD)
def test_absurd_counts(fields: dict[str, Any], told: str, rule: str, detail: str) -> None:
    assert built(fields).startswith(told)
    assert rule in built(fields)
    assert rule in posted(fields)[0]["rule"]
    assert rated(fields)[0] == "too_large"
    assert detail in rated(fields)[1]


@pytest.mark.parametrize(("fields", "told", "rule"), PARTS)
def test_parts_larger_than_the_whole(fields: dict[str, Any], told: str, rule: str) -> None:
    assert built(fields).startswith(told + rule)
    assert posted(fields)[0]["rule"].startswith(told + rule)
    assert rated(fields)[0] == "parts_exceed_whole"
    assert told.partition(" = ")[0] in rated(fields)[1]


def test_tokens_among_the_units_larger_than_what_they_are_part_of() -> None:
    """Rating is the first to know what a unit is part of: producers do not know the list's units."""
    fields = {"cache_read_tokens": 9, "input_audio_tokens": 5, "units": {"cache_audio_read_tokens": 6}}
    assert rated(fields) == (
        "parts_exceed_whole",
        "units.cache_audio_read_tokens = 6, input_audio_tokens = 5: "
        "units.cache_audio_read_tokens is part of input_audio_tokens",
    )


def refused(old: str, new: str) -> str:
    assert old in PRICE
    with pytest.raises(ValueError, match=r"^prices\.toml: ") as caught:
        parse_prices(PRICE.replace(old, new), "prices.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-9", "1E-9"),  # a million tokens: 1e-15 dollars a token
        ("1e12", "1E+12"),  # a million dollars a token
        ('"0.0000001"', "'0.0000001'"),
        ("100000.01", "100000.01"),
        ("-1", "-1"),
        ("nan", "NaN"),
        ("inf", "Infinity"),
        ("true", "True"),
        ('"cheap"', "'cheap'"),
    ],
)
def test_an_absurd_price(written: str, value: str) -> None:
    told = refused('input_tokens = "1.00"', f"input_tokens = {written}")
    assert f"price own: range.0.per_million.input_tokens = {value}: " in told


@pytest.mark.parametrize(("written", "value"), [("1e-15", "1E-15"), ("1e6", "1E+6")])
def test_an_absurd_price_of_one(written: str, value: str) -> None:
    told = refused('image = "0.04"', f"image = {written}")
    assert told == (
        f"prices.toml: price own: range.0.each.image = {value}: a price of one is 0 to 100000 with at most 12 decimals"
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("EUX", "price own: currency = 'EUX': no rate of it is known; a [[currency]] with code = 'EUX' has them"),
        ("euro", "price own: currency = 'euro': String should match pattern '^[A-Z]{3}$'"),
    ],
)
def test_an_unknown_currency(written: str, told: str) -> None:
    """The file may rely on a currency that was applied before, so `prices apply` asks for all that will hold."""
    text = PRICE.replace('service_tier = "default"', f'service_tier = "default"\ncurrency = "{written}"')
    with pytest.raises(ValueError, match="currency") as caught:
        raise ValueError(next(conflicts(parse_prices(text, "prices.toml"))))
    assert told in str(caught.value)


def test_a_price_for_a_model_that_no_list_has() -> None:
    """`prices apply` then asks the ledger whether anybody uses it (tests/integration/test_price_commands.py)."""
    [own, misspelt, nobody] = (
        parse_prices(text, "prices.toml")[0]
        for text in (
            PRICE,
            PRICE.replace("gpt-4o", "gtp-4o"),
            PRICE.replace("gpt-4o", "*").replace('"openai"', '"openay"'),
        )
    )
    book = PriceBook.compiled()
    assert [book.lists(price) for price in (own, misspelt, nobody)] == [True, False, False]


@pytest.mark.parametrize(
    ("written", "value", "rule"),
    [
        ("2026-01-01T00:00:00", "2026-01-01 00:00:00", "timezone"),
        ("2026-01-01", "2026-01-01", "timezone"),
        ('"2026-01-01T00:00:00"', "'2026-01-01T00:00:00'", "timezone"),
        ("20260101", "20260101", "not a time like"),
        ('"20260101"', "'20260101'", "not a time like"),
        ("0001-01-01T00:00:00+05:00", "0001-01-01 00:00:00+05:00", "from 1970-01-01 to 2100-01-01"),
    ],
)
def test_dates_of_a_price(written: str, value: str, rule: str) -> None:
    told = refused("2026-01-01T00:00:00Z", written)
    assert f"price own: range.0.from = {value}: " in told
    assert rule in told


@pytest.mark.parametrize(("written", "rule"), [("2026-01-01T00:00:00", "timezone"), ("20260101", "not a time like")])
def test_dates_of_the_directory(written: str, rule: str) -> None:
    with pytest.raises(ValueError, match=f"people.csv:2: from = '{written}': .*{rule}"):
        parse_people(PEOPLE.replace("2026-01-01T00:00:00Z", written), "people.csv")


@pytest.mark.parametrize("written", ["2026-09-21T00:00:00", "2026-09-21", "20260921", 1789948800])
def test_dates_of_an_event(written: str | int) -> None:
    [fault] = posted({"occurred_at": written})
    assert (fault["field"], fault["value"]) == ("occurred_at", written)
    assert "occurred_at = datetime" not in built({"occurred_at": datetime(2026, 9, 21)})
    assert built({"occurred_at": datetime(2026, 9, 21)}).startswith("occurred_at = 2026-09-21 00:00:00: ")


@pytest.mark.parametrize(
    ("command", "arguments", "option"),
    [
        (prices.prices, ["show", "gpt-4o", "--at"], "--at"),
        (rerate.rerate, ["--dry-run", "--from"], "--from"),
        (
            adjust.adjust,
            ["enter", "credit", "--organization", "o", "--amount", "-1", "--reason", "r", "--author", "a", "--at"],
            "--at",
        ),
    ],
)
@pytest.mark.parametrize(("written", "rule"), [("2026-03-01T00:00:00", "a time has a zone"), ("soon", "not a time")])
def test_dates_of_commands(command: click.Command, arguments: list[str], option: str, written: str, rule: str) -> None:
    done = CliRunner().invoke(command, [*arguments, written])
    assert done.exit_code == 1
    assert f"{option} = '{written}': {rule}" in done.output


def test_the_event_and_the_price_are_right_but_for_what_each_line_changes() -> None:
    UsageEvent(**EVENT | {"occurred_at": OCCURRED})
    [event] = parse_events(json.dumps(EVENT | {"occurred_at": "2026-09-21T00:00:00Z"}).encode())
    assert event.occurred_at == OCCURRED
    assert [price.id for price in parse_prices(PRICE, "prices.toml")] == ["own"]
    assert list(parse_people(PEOPLE, "people.csv")) == ["acme/ada"]
