"""Alerts about the pipeline are records of alert.v1, and the newest of a halt says whether it stands."""

from schemas.codec import avro_schema, decode, encode
from stream_processors.core.pipeline_alerts import (
    REJECTED_EVENTS,
    newest_halts,
    pipeline_alert,
    pipeline_id,
)

AT = 1_790_000_000_000_000


def test_it_is_a_record_of_the_schema() -> None:
    alert = pipeline_alert(pipeline_id("gap", "epoch", 3, 41), "usage.blocks", 3, "It is gone", AT)
    record = decode(encode(alert, "alert.v1", 1), avro_schema("alert.v1"))
    assert record["alert_id"] == pipeline_id("gap", "epoch", 3, 41)
    assert record["detail"] == "It is gone"
    assert (record["type"], record["scope_kind"], record["scope"]) == ("pipeline", "partition", "usage.blocks[3]")


def test_the_same_place_has_the_same_id_and_another_place_another() -> None:
    assert pipeline_id("gap", "epoch", 1, 7) == pipeline_id("gap", "epoch", 1, 7)
    places = [("gap", "epoch", 1, 7), ("gap", "epoch", 1, 8), ("gap", "epoch", 2, 7), ("rejects", "epoch", 1, 7)]
    assert len({pipeline_id(*place) for place in places}) == 4


def test_a_halt_stands_until_it_is_taken_back() -> None:
    halt = pipeline_alert("a", "usage.events", 0, "", AT, unit=REJECTED_EVENTS)
    other = pipeline_alert("b", "usage.events", 1, "", AT, unit=REJECTED_EVENTS)
    taken_back = halt | {"state": "retracted"}
    log = [halt, other, taken_back, {**other, "type": "threshold"}]
    assert {name: record["state"] for name, record in newest_halts(log).items()} == {"a": "retracted", "b": "raised"}
    assert newest_halts([*log, halt])["a"]["state"] == "raised"
