"""What people answer to alerts, for the command line and the console alike: seen, or not now.

Raises KafkaException and RegistryAwayError when one of them is away; then nothing is written.
"""

from datetime import UTC, datetime, timedelta

from schemas.responses import Acknowledgement, Snooze, parse_response
from schemas.settings import Settings
from schemas.topics import RESPONSES
from stream_processors.alert_log import read_alerts
from stream_processors.budget_actions import RefusedError, history_of, whose_of
from stream_processors.core.budget_history import current
from stream_processors.core.dated import instant_us
from stream_processors.logs import LogReader, append_records

MOST_HOURS = 24 * 366
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def acknowledge(settings: Settings, alert_id: str, note: str, author: str, now: int) -> Acknowledgement:
    """Notes that the alert was seen; who was first keeps it. Raises RefusedError when there is no such alert."""
    if not any(record["alert_id"] == alert_id for record in read_alerts(settings, follow=False)):
        raise RefusedError("alert_id", alert_id, "no alert has this id")
    for response in read_responses(settings.kafka):
        if isinstance(response, Acknowledgement) and response.alert_id == alert_id:
            raise RefusedError("alert_id", alert_id, f"acknowledged by {response.author} already")
    said = Acknowledgement(alert_id=alert_id, note=note, author=author, at=_instant(now))
    append_records(settings.kafka, RESPONSES, {said.key.decode(): said.model_dump_json().encode()})
    return said


def snooze(
    settings: Settings, budget_id: str, whose: tuple[str | None, str | None], hours: float, author: str, now: int
) -> Snooze:
    """No alert of a budget but a critical one is told for `hours` from `now`; 0 ends a snooze. Raises RefusedError.

    `whose`: organization and scope; what is left out is the budget's.
    """
    if not 0 <= hours <= MOST_HOURS:
        raise RefusedError("hours", hours, f"must be 0 to {MOST_HOURS}")
    organization, scope = whose_of(current(history_of(settings, budget_id), now), *whose)
    until = _instant(now) + timedelta(hours=hours)
    said = Snooze(
        budget_id=budget_id, organization=organization, scope=scope, until=until, author=author, at=_instant(now)
    )
    append_records(settings.kafka, RESPONSES, {said.key.decode(): said.model_dump_json().encode()})
    return said


def snoozes_of(settings: Settings, budget_id: str, now: int) -> list[Snooze]:
    """Those of a budget that last."""
    return [
        response
        for response in read_responses(settings.kafka)
        if isinstance(response, Snooze) and response.budget_id == budget_id and instant_us(response.until) > now
    ]


def read_responses(kafka: str) -> list[Acknowledgement | Snooze]:
    """What stands: of each key the newest. ValueError for a record that is none."""
    found: dict[bytes, Acknowledgement | Snooze] = {}
    with LogReader(kafka) as reader:
        start, _ = reader.bounds(RESPONSES, 0)
        for message in reader.read(RESPONSES, 0, start):
            found[message.key() or b""] = parse_response(message.value() or b"")
    return list(found.values())


def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
