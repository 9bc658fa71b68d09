"""Which rejected events are sent again: what rating would take, each identity once, nothing that is booked."""

from typing import Any

from schemas.codec import avro_text, encode
from stream_processors.rejects import Candidate, Identity, Replay, differences, plan_replay

BOOKED_MS = 1_772_366_400_000


def value(event_id: str, **fields: Any) -> bytes:
    event = {
        "event_id": event_id,
        "source": "gateway",
        "occurred_at": BOOKED_MS * 1000,
        "organization": "acme",
        "user": "u1",
        "provider": "openai",
        "model": "gpt-4o",
        **fields,
    }
    return encode(event, "usage_event.v1", 1)


def plan(*values: bytes, key: bytes | None = None, booked: set[Identity] = frozenset()) -> Replay:  # type: ignore[assignment]
    candidates = [Candidate(f"line {number}", key, one) for number, one in enumerate(values)]
    return plan_replay(candidates, BOOKED_MS, lambda _: avro_text("usage_event.v1"), lambda ids: booked)


def test_what_is_booked_or_repeated_is_left_out() -> None:
    there = {("gateway", "a", 0)}
    replay = plan(value("a"), value("b"), value("b", input_tokens=1), value("a", revision=1), booked=there)
    assert (replay.booked, replay.repeated) == (1, 1)
    assert [record.value for record in replay.records] == [value("b"), value("a", revision=1)]


def test_what_would_be_rejected_again_is_named() -> None:
    replay = plan(b"\1poison", value("a", input_tokens=-1), value("b"))
    assert [record.value for record in replay.records] == [value("b")]
    (first, second) = replay.wrong
    assert (first[0], first[1]) == ("line 0", "decode")
    assert second == ("line 1", "invalid", "input_tokens = -1: not negative")


def test_the_key_is_that_of_the_first_emission() -> None:
    assert plan(value("a"), key=b"first").records[0].key == b"first"
    assert plan(value("a")).records[0].key == b"acme/u1"
    assert plan(value("a", user="")).records[0].key == b"a"


def test_two_contents_differ_field_by_field() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3}) == [("b", 2, 3)]
