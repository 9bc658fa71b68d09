"""What the collector takes and refuses, without a broker."""

from typing import Any

import orjson
import pytest

from producers.collector import MOST_EVENTS, InvalidEventsError, as_record, parse_events
from producers.limit_book import Standing

EVENT: dict[str, Any] = {
    "event_id": "e1",
    "source": "s",
    "occurred_at": "2026-03-01T00:00:00Z",
    "organization": "acme",
    "provider": "openai",
    "model": "gpt-4o-mini",
    "input_tokens": 5,
}


def faults(value: Any) -> list[dict[str, Any]]:
    with pytest.raises(InvalidEventsError) as refused:
        parse_events(value if isinstance(value, bytes) else orjson.dumps(value))
    return refused.value.faults


def test_one_event_or_a_list() -> None:
    assert [event.event_id for event in parse_events(orjson.dumps(EVENT))] == ["e1"]
    many = [EVENT | {"event_id": str(number)} for number in range(MOST_EVENTS)]
    assert len(parse_events(orjson.dumps(many))) == MOST_EVENTS


@pytest.mark.parametrize(
    ("change", "field", "value", "rule"),
    [
        ({"input_tokens": -5}, "", None, "input_tokens = -5: only an adjustment may be negative"),
        ({"input_tokens": "5"}, "input_tokens", "5", "Input should be a valid integer"),
        ({"event_id": ""}, "event_id", "", "String should have at least 1 character"),
        (
            {"occurred_at": "2026-03-01T00:00:00"},
            "occurred_at",
            "2026-03-01T00:00:00",
            "a time has a zone, as 2026-03-01T00:00:00Z or …+01:00",
        ),
        ({"prompt": "hello"}, "prompt", "hello", "Extra inputs are not permitted"),
        ({"reasoning_tokens": 9}, "", None, "reasoning_tokens = 9: at most output_tokens = 0"),
    ],
)
def test_a_fault_names_event_field_value_and_rule(change: dict[str, Any], field: str, value: Any, rule: str) -> None:
    assert faults([EVENT, EVENT | change]) == [{"event": 1, "field": field, "value": value, "rule": rule}]


def test_every_fault_of_a_request_is_told_at_once() -> None:
    told = faults([{**EVENT, "event_id": 1}, {**EVENT, "source": 2}, EVENT])
    assert [(fault["event"], fault["field"]) for fault in told] == [(0, "event_id"), (1, "source")]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", orjson.dumps([EVENT] * (MOST_EVENTS + 1))])
def test_what_is_no_list_of_events_is_refused(body: bytes) -> None:
    [fault] = faults(body)
    assert fault["event"] is None
    assert fault["rule"]


@pytest.mark.parametrize("body", [b"null", b"7", b'"text"', b"[[]]"])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    assert [fault["event"] for fault in faults(body)] == [0]


def test_amounts_are_text_beyond_json_s_numbers() -> None:
    standing = Standing("b", "cost", 2**70, 0, 150 * 10**12, "allow", 0)
    told = as_record(standing)
    assert (told["used"], told["limit"]) == ("1180591620.717411303424", "150.00")
    orjson.dumps(told)
