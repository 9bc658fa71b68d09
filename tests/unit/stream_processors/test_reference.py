"""The second opinion: its rules one by one, its prices against `genai-prices`, and both against the engine."""

import io
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, localcontext
from random import Random
from typing import Any

import fastavro
import numpy as np
import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers

from schemas.arrow import TOKEN_CLASSES
from schemas.codec import avro_text, encode, frame
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import RawBatch, rate
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen
from stream_processors.reference import INT64_MAX, Partition, Verdict
from stream_processors.reference_prices import price_pico

BOOKED = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOOKED_US = int(BOOKED.timestamp()) * 1_000_000
HOUR_US = 3_600_000_000
ID = 7
TIERS = ("default", "batch", "flex", "priority")


def schema_of(schema_id: int) -> str | None:
    return avro_text("usage_event.v1") if schema_id == ID else None


def event(**fields: Any) -> dict[str, Any]:
    return {
        "event_id": "e1",
        "source": "test",
        "organization": "acme",
        "occurred_at": BOOKED_US - HOUR_US,
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 1000,
        "output_tokens": 100,
    } | fields


def framed(**fields: Any) -> bytes:
    return encode(event(**fields), "usage_event.v1", ID)


def whole(**fields: Any) -> dict[str, Any]:
    """The event as it is read: every field, instants as microseconds."""
    return {"service_tier": "default", "units": {}} | dict.fromkeys(TOKEN_CLASSES, 0) | event(**fields)


def judged(*values: bytes, booked_us: int = BOOKED_US) -> list[Verdict]:
    partition = Partition(schema_of)
    return [partition.judge(value, booked_us) for value in values]


def test_a_row_holds_what_was_emitted_and_its_exact_price() -> None:
    [verdict] = judged(framed(department="engineering", cache_read_tokens=400))
    assert verdict.values is not None
    assert verdict.values["department"] == "engineering"
    assert verdict.values["occurred_at"] == BOOKED_US - HOUR_US
    # 600 at 2.50, 400 at 1.25 and 100 at 10 dollars a million.
    assert verdict.values["cost_pico"] == 600 * 2_500_000 + 400 * 1_250_000 + 100 * 10_000_000
    assert (verdict.values["requests"], verdict.values["unpriced_requests"]) == (1, 0)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "decode"),
        (b"\0\0\0", "decode"),
        (b"\1" + framed()[1:], "decode"),
        (frame(ID + 1) + framed()[5:], "schema"),
        (framed()[:-3], "decode"),
        (framed() + b"\0", "decode"),
        (framed(team="team").replace(b"team", b"\xff\xfeam"), "decode"),
        (framed(task_title="x" * 1_000_001), "too_large"),
        (framed(event_id=""), "invalid"),
        (framed(organization="o" * 129), "invalid"),
        (framed(model=""), "invalid"),
        (framed(kind="adjustment"), "invalid"),
        (framed(kind="adjustment", adjustment_type="credit", reason="r", author="a"), "invalid"),
        (framed(attachments=[{"file_id": "f", "bytes": -1}]), "invalid"),
        (framed(latency_ms=-1), "invalid"),
        (framed(time_to_first_token_ms=-1), "invalid"),
        (framed(max_output_tokens=-1), "invalid"),
        (framed(output_tokens=-1), "invalid"),
        (framed(units={"web_search": -1}), "invalid"),
        (framed(cache_read_tokens=600, cache_write_tokens=401), "parts_exceed_whole"),
        (framed(input_audio_tokens=600, input_image_tokens=401), "parts_exceed_whole"),
        (framed(reasoning_tokens=101), "parts_exceed_whole"),
        (framed(input_parts={"files": 1001}), "parts_exceed_whole"),
        (framed(attachments=[{"file_id": "f", "tokens": 1001}]), "parts_exceed_whole"),
        (framed(cache_read_tokens=9, input_audio_tokens=5, units={"cache_audio_read_tokens": 6}), "parts_exceed_whole"),
        (framed(occurred_at=BOOKED_US + 300_000_001), "future"),
        (framed(occurred_at=0), "out_of_range"),
        (framed(input_tokens=10**9 + 1), "too_large"),
    ],
)
def test_each_rule_rejects(value: bytes, reason: str) -> None:
    [verdict] = judged(value)
    assert (verdict.values, verdict.reason) == (None, reason)


@pytest.mark.parametrize(
    "value",
    [
        framed(occurred_at=BOOKED_US + 300_000_000),
        framed(cache_read_tokens=600, cache_write_tokens=400),
        framed(event_id="x" * 128),
    ],
)
def test_the_edge_of_a_rule_is_inside(value: bytes) -> None:
    [verdict] = judged(value)
    assert verdict.reason == ""


def test_a_record_of_an_older_schema_takes_defaults() -> None:
    names = ("event_id", "source", "occurred_at", "organization", "provider", "model", "input_tokens", "output_tokens")
    older = json.loads(avro_text("usage_event.v1"))
    older["fields"] = [field for field in older["fields"] if field["name"] in names]
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(older), event())
    verdict = Partition(lambda _: json.dumps(older)).judge(frame(ID) + body.getvalue(), BOOKED_US)
    assert verdict.values is not None
    assert (verdict.values["department"], verdict.values["status"]) == ("", "ok")


def test_the_first_of_an_identity_counts() -> None:
    other = framed(output_tokens=99)
    verdicts = judged(framed(), framed(), other, framed(revision=1), framed(source="elsewhere"))
    assert [verdict.reason for verdict in verdicts] == ["", "duplicate", "conflict", "", ""]


def test_a_rejected_event_does_not_stand_in_the_way_of_its_repair() -> None:
    assert [v.reason for v in judged(framed(output_tokens=-1), framed())] == ["invalid", ""]


def test_the_horizon_forgets() -> None:
    partition = Partition(schema_of)
    verdicts = [partition.judge(framed(), BOOKED_US + hours * HOUR_US) for hours in (0, 23, 24, 25, 26)]
    assert [verdict.reason for verdict in verdicts] == ["", "duplicate", "duplicate", "", "duplicate"]
    assert [verdict.doubtful for verdict in verdicts] == [False, False, True, False, False]


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "no-such-model"},
        {"provider": "no-such-provider"},
        {"provider": "acme", "model": "gpt-4o"},
        {"units": {"image": 1}},
        {"service_tier": "flex", "model": "gpt-4-turbo"},
    ],
)
def test_unpriced_is_not_zero(fields: dict[str, Any]) -> None:
    assert price_pico(whole(**fields)) is None


def test_units_have_a_price_each() -> None:
    """1000 at 2.50 and 100 at 10 dollars a million, one search at 10 dollars a thousand."""
    assert price_pico(whole(units={"web_search": 1})) == 1000 * 2_500_000 + 100 * 10_000_000 + 10_000_000_000


def test_a_cost_beyond_64_bits_is_too_large() -> None:
    dear = {"id": "dear", **dict.fromkeys(("organization", "provider", "model", "tool", "service_tier"), "*")}
    ranges = [{"from": "2015-01-01T00:00:00Z", "per_million": {"input_tokens": "100000"}}]
    verdict = Partition(schema_of).judge(framed(input_tokens=10**9), BOOKED_US, [{**dear, "range": ranges}])
    assert (verdict.values, verdict.reason) == (None, "too_large")
    assert INT64_MAX < 10**9 * 10**11


def models() -> list[tuple[str, str]]:
    return [(provider.id, model.id) for provider in providers for model in provider.models]


def test_every_price_is_that_of_genai_prices() -> None:
    """Plain input and output of every model, exact to the pico-dollar."""
    rng = Random(1)
    compared = 0
    for provider, model in models():
        counts = {"input_tokens": rng.randrange(10**6), "output_tokens": rng.randrange(10**5)}
        pico = price_pico(whole(provider=provider, model=model, **counts))
        if pico is None:
            continue
        with localcontext() as context:
            context.prec = 60
            moment = BOOKED - timedelta(hours=1)
            total = calc_price(Usage(**counts), model, provider_id=provider, genai_request_timestamp=moment).total_price
            assert pico == int((total * 10**12).to_integral_value(ROUND_HALF_EVEN)), (provider, model)
        compared += 1
    assert compared > 500


def any_event(rng: Random, number: int, known: list[tuple[str, str]]) -> bytes:
    """Mostly sound events of every model, tier and year; some that break a rule, some repeated."""
    provider, model = rng.choice(known)
    whole_input, whole_output = rng.choice((0, 1, 999, 250_000)), rng.choice((0, 7, 4_000))
    fields: dict[str, Any] = {
        "event_id": f"e{rng.randrange(number)}" if rng.random() < 0.1 else f"n{number}",
        "provider": provider,
        "model": model,
        "service_tier": rng.choice(TIERS),
        "occurred_at": BOOKED_US - rng.randrange(3 * 365 * 24) * HOUR_US + rng.choice((0, 1)),
        "input_tokens": whole_input,
        "output_tokens": whole_output,
    }
    parts = rng.sample(TOKEN_CLASSES[2:], rng.randrange(3))
    for name in parts:
        of = whole_output if name in ("reasoning_tokens", "output_audio_tokens") else whole_input
        fields[name] = rng.randrange(of // 2 + 2)
    value = framed(**fields)
    return value[:-1] if rng.random() < 0.01 else value


@pytest.mark.parametrize("seed", range(4))
def test_the_engine_comes_to_the_same_verdicts(seed: int) -> None:
    rng = Random(seed)
    known = [*models(), ("openai", "no-such-model")]
    values = [any_event(rng, number, known) for number in range(1, 4_000)]
    values += rng.choices(values, k=50)
    booked_ms = np.full(len(values), BOOKED_US // 1000)
    batch = RawBatch(values, [None] * len(values), np.arange(len(values)), booked_ms)
    rated = rate(batch, schema_of, PriceBook.compiled(), Seen(), Revisions())
    rows = {
        row["src_offset"]: row for row in rated.rows.select(["src_offset", "cost_pico", *TOKEN_CLASSES]).to_pylist()
    }
    reasons = {row["src_offset"]: row["reason"] for row in rated.rejects.to_pylist()}
    seen: Counter[str] = Counter()
    for offset, verdict in enumerate(judged(*values)):
        assert reasons.get(offset, "") == verdict.reason, offset
        seen[verdict.reason] += 1
        if not verdict.reason:
            assert verdict.values is not None
            named = ("cost_pico", *TOKEN_CLASSES)
            assert {n: rows[offset][n] for n in named} == {n: verdict.values[n] for n in named}, values[offset]
            seen["priced" if verdict.values["cost_pico"] is not None else "unpriced"] += 1
    met = ("", "decode", "duplicate", "conflict", "parts_exceed_whole", "priced", "unpriced")
    assert all(seen[name] for name in met), seen
