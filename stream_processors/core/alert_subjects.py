"""What alerts and limits are about, and how their records say so."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Position = Mapping[str, Any]  # src_epoch, src_partition, src_offset, block_offset


class Subject(NamedTuple):
    """What alerts are about: one budget, scope and window."""

    budget_id: str
    organization: str
    scope_kind: str
    scope: str
    window_kind: str
    window_start: int


class Member(NamedTuple):
    """One scope of a budget, whatever the window."""

    budget_id: str
    organization: str
    scope_kind: str
    scope: str


def instant(micros_utc: int) -> datetime:
    """As Avro's timestamp-micros is decoded."""
    return EPOCH + timedelta(microseconds=micros_utc)


def micros(at: datetime) -> int:
    """Microseconds UTC of a decoded timestamp."""
    return (at - EPOCH) // timedelta(microseconds=1)


def subject_of(record: Mapping[str, Any]) -> Subject:
    """What a decoded record is about."""
    return Subject(
        record["budget_id"],
        record["organization"],
        record["scope_kind"],
        record["scope"],
        record["window_kind"],
        micros(record["window_start"]),
    )


def scope_fields(subject: Subject, window_end: int) -> dict[str, Any]:
    """A subject as records of alerts and limits state it."""
    return {
        **subject._asdict(),
        "window_start": instant(subject.window_start),
        "window_end": instant(window_end),
    }


def unit_name(unit: str) -> str:
    """As people read it: `US dollars`, `output tokens`."""
    return "US dollars" if unit == "cost" else unit.replace("_", " ")
