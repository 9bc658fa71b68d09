"""The model of a usage event: what it refuses, and how it says so."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.codec import avro_schema, decode, encode
from schemas.event import ADJUSTMENT_RULES, MAX_COUNT, AdjustmentType, UsageEvent, event_key, explain

NEEDED: dict[str, Any] = {
    "event_id": "e-1",
    "source": "gateway",
    "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
    "organization": "acme",
    "provider": "openai",
    "model": "gpt-4o",
}
ADJUSTMENT: dict[str, Any] = NEEDED | {
    "kind": "adjustment",
    "adjustment_type": "reversal",
    "corrects": "e-0",
    "reason": "sent twice",
    "author": "auditor",
}


def fault(values: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        UsageEvent(**values)
    return explain(caught.value)


@pytest.mark.parametrize("name", list(NEEDED))
def test_a_needed_field_is_missed_by_name(name: str) -> None:
    assert fault({key: value for key, value in NEEDED.items() if key != name}) == f"{name} = (missing): Field required"


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("event_id", "", "at least 1 character"),
        ("event_id", "x" * 129, "at most 128 characters"),
        ("source", "", "at least 1 character"),
        ("organization", "", "at least 1 character"),
        ("provider", "", "a use names it"),
        ("model", "", "a use names it"),
        ("occurred_at", datetime(2026, 1, 1), "timezone"),
        ("occurred_at", 1767225600, "not a time like 2026-03-01T00:00:00Z"),
        ("input_tokens", "12", "valid integer"),
        ("input_tokens", 1.0, "valid integer"),
        ("input_tokens", True, "valid integer"),
        ("input_tokens", -1, "only an adjustment may be negative"),
        ("input_tokens", MAX_COUNT + 1, "less than or equal to 1000000000"),
        ("revision", -1, "greater than or equal to 0"),
        ("latency_ms", -1, "greater than or equal to 0"),
        ("latency_ms", 2**31, "less than or equal to 2147483647"),
        ("kind", "use", "'usage', 'provisional', 'final' or 'adjustment'"),
        ("status", "failed", "'ok', 'error' or 'cancelled'"),
        ("service_tier", "", "'default', 'batch', 'flex' or 'priority'"),
        ("corrects", "e-0", "only an adjustment has it"),
        ("adjustment_type", "credit", "only an adjustment has it"),
        ("amount_pico", 0, "only an adjustment has it"),
        ("reason", "why", "only an adjustment has it"),
        ("author", "me", "only an adjustment has it"),
        ("prompt", "secret", "Extra inputs are not permitted"),
    ],
)
def test_a_fault_names_field_and_rule(field: str, value: object, rule: str) -> None:
    message = fault(NEEDED | {field: value})
    assert message.startswith(f"{field} = {value if isinstance(value, datetime) else repr(value)}"[:50])
    assert rule in message


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            {"input_tokens": 9, "cache_read_tokens": 5, "cache_write_tokens": 5},
            "cache_read_tokens + cache_write_tokens = 10: at most input_tokens = 9",
        ),
        (
            {"input_tokens": 9, "cache_write_tokens": 3, "cache_write_1h_tokens": 4},
            "cache_write_1h_tokens = 4: at most cache_write_tokens = 3",
        ),
        (
            {"input_tokens": 9, "input_audio_tokens": 5, "input_image_tokens": 5},
            "input_audio_tokens + input_image_tokens = 10: at most input_tokens = 9",
        ),
        ({"input_tokens": 9, "reasoning_tokens": 1}, "reasoning_tokens = 1: at most output_tokens = 0"),
        ({"input_tokens": 9, "output_audio_tokens": 1}, "output_audio_tokens = 1: at most output_tokens = 0"),
        (
            {"input_tokens": 9, "input_parts": {"a": 5, "b": 5}},
            "sum of input_parts = 10: at most input_tokens = 9",
        ),
        ({"output_parts": {"a": 1}}, "sum of output_parts = 1: at most output_tokens = 0"),
        (
            {"input_tokens": 1, "attachments": [{"file_id": "f", "tokens": 2}]},
            "sum of attachments' tokens = 2: at most input_tokens = 1",
        ),
        ({"units": {"web_search": -1}}, "units['web_search'] = -1: only an adjustment may be negative"),
        ({"input_parts": {"a": -1}}, "input_parts.a = -1: Input should be greater than or equal to 0"),
    ],
)
def test_parts_never_exceed_the_whole(counts: dict[str, Any], message: str) -> None:
    assert fault(NEEDED | counts) == message


def test_a_whole_of_nothing_but_parts_is_right() -> None:
    event = UsageEvent(
        **NEEDED, input_tokens=10, cache_read_tokens=4, cache_write_tokens=6, cache_write_1h_tokens=6,
        output_tokens=3, reasoning_tokens=3, input_parts={"message": 10},
    )  # fmt: skip
    assert event.cache_read_tokens + event.cache_write_tokens == event.input_tokens


def test_only_an_adjustment_is_signed() -> None:
    event = UsageEvent(**ADJUSTMENT, input_tokens=-100, cache_read_tokens=-60, amount_pico=-5, units={"image": -1})
    assert (event.input_tokens, event.amount_pico) == (-100, -5)


@pytest.mark.parametrize("field", ["adjustment_type", "corrects", "reason", "author"])
def test_an_adjustment_says_what_why_and_who(field: str) -> None:
    assert fault(ADJUSTMENT | {field: ""}).startswith(f"{field} = ''")


def test_a_credit_corrects_no_event() -> None:
    assert UsageEvent(**ADJUSTMENT | {"adjustment_type": "credit", "corrects": "", "amount_pico": -5}).corrects == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"revision": 1}, "revision = 1: an adjustment has none"),
        ({"adjustment_type": "credit"}, "amount_pico = None: adjustment_type = 'credit' states an amount"),
        ({"adjustment_type": "pricing"}, "amount_pico = None: adjustment_type = 'pricing' states an amount"),
        ({"adjustment_type": "refund"}, "adjustment_type = 'refund': Input should be '', 'reversal', 'reinstatement'"),
    ],
)
def test_an_adjustment_keeps_the_rules_of_its_type(fields: dict[str, Any], message: str) -> None:
    assert fault(ADJUSTMENT | fields).startswith(message)


def test_every_adjustment_type_has_its_rule() -> None:
    assert list(ADJUSTMENT_RULES) == list(get_args(AdjustmentType))


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        UsageEvent(**NEEDED).input_tokens = 5  # type: ignore[misc]


def test_faults_are_all_named() -> None:
    message = fault(NEEDED | {"organization": "", "input_tokens": "1"})
    assert "organization = ''" in message
    assert "input_tokens = '1'" in message


@pytest.mark.parametrize(
    ("at", "micros"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(2026, 1, 1, 1, 0, 0, 1, tzinfo=timezone(timedelta(hours=1))), 1767225600000001),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 253402300799999999),
    ],
)
def test_time_is_microseconds_utc(at: datetime, micros: int) -> None:
    assert UsageEvent(**NEEDED | {"occurred_at": at}).to_avro()["occurred_at"] == micros


def test_the_key_is_the_user_or_else_the_event() -> None:
    assert event_key("acme", "zoë", "e-1") == "acme/zoë".encode()
    assert event_key("acme", "", "e-1") == b"e-1"


names = st.text(max_size=20)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
counts = st.integers(0, MAX_COUNT // 2)


@st.composite
def events(draw: st.DrawFn) -> UsageEvent:
    """Any right event of kind `usage`."""
    read, written, made = draw(counts), draw(counts), draw(counts)
    return UsageEvent(
        event_id=draw(ids),
        source=draw(ids),
        organization=draw(ids),
        user=draw(names),
        provider=draw(ids),
        model=draw(ids),
        occurred_at=draw(st.datetimes(timezones=st.just(UTC))),
        input_tokens=read + written,
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=made,
        reasoning_tokens=draw(st.integers(0, made)),
        tags=draw(st.dictionaries(ids, names, max_size=3)),
        units=draw(st.dictionaries(ids, counts, max_size=3)),
        quality=draw(
            st.lists(
                st.fixed_dictionaries(
                    {"gate": names, "passed": st.booleans(), "score": st.none() | st.floats(0, 1)},
                ),
                max_size=2,
            )
        ),
        attachments=draw(st.lists(st.fixed_dictionaries({"file_id": ids, "bytes": counts}), max_size=2)),
        max_output_tokens=draw(st.none() | st.integers(0, 2**63 - 1)),
        latency_ms=draw(st.none() | st.integers(0, 2**31 - 1)),
        status=draw(st.sampled_from(["ok", "error", "cancelled"])),
    )


@given(events())
def test_any_event_survives_avro(event: UsageEvent) -> None:
    value = encode(event.to_avro(), "usage_event.v1", 1)
    assert UsageEvent(**decode(value, avro_schema("usage_event.v1"))) == event
