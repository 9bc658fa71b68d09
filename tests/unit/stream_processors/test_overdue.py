"""When a reader counts as far behind, and that saying so twice is one alert."""

import pytest

from schemas.topics import BLOCKS, EVENTS
from stream_processors.overdue import Reader, overdue_alerts

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000  # 2026-09-21 14:13:20 UTC
DAY = {EVENTS: 24 * HOUR_MS, BLOCKS: -1}


@pytest.mark.parametrize(
    ("topic", "age_ms", "told"),
    [
        (EVENTS, 12 * HOUR_MS - 1, False),
        (EVENTS, 12 * HOUR_MS, True),
        (EVENTS, 30 * HOUR_MS, True),  # after the whole of it, too
        (BLOCKS, 9_000 * HOUR_MS, False),  # kept for ever
    ],
)
def test_half_of_the_retention_is_told(topic: str, age_ms: int, told: bool) -> None:
    alerts = overdue_alerts([Reader("sink", topic, 2, NOW_MS - age_ms)], DAY, NOW_MS * 1000)
    assert bool(alerts) == told


def test_what_is_said_names_reader_place_and_time_and_has_one_id_a_day() -> None:
    def said(reader: Reader, now_ms: int = NOW_MS) -> dict[str, object]:
        [alert] = overdue_alerts([reader], DAY, now_ms * 1000)
        return alert

    first = said(Reader("rating", EVENTS, 2, NOW_MS - 13 * HOUR_MS))
    assert first["detail"] == (
        "rating has not read usage.events[2] since 2026-09-21 01:13 UTC: half of the retention of 24 hours has "
        "passed, after all of it records are lost"
    )
    assert (first["type"], first["scope"], first["severity"]) == ("pipeline", "usage.events[2]", "critical")
    later = said(Reader("rating", EVENTS, 2, NOW_MS - 12 * HOUR_MS), NOW_MS + HOUR_MS)
    assert later["alert_id"] == first["alert_id"]
    others = [
        Reader("rating", EVENTS, 2, NOW_MS - 23 * HOUR_MS),  # a day before
        Reader("rating", EVENTS, 1, NOW_MS - 13 * HOUR_MS),
        Reader("sink", EVENTS, 2, NOW_MS - 13 * HOUR_MS),
    ]
    assert len({said(reader)["alert_id"] for reader in others} | {first["alert_id"]}) == 4
