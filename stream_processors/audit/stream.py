"""What the broker has: the ends of `usage.events`, and the chain of `usage.alerts`."""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors.alert_log import read_alerts
from stream_processors.audit.compare import scope_text, window_text
from stream_processors.audit.conservation import Upstream
from stream_processors.audit.model import Check, Difference, Value
from stream_processors.audit.queries import Ledger
from stream_processors.logs import LogReader, topic_id

Record = Mapping[str, Any]
COMPARED = ("revision", "budget_id", "threshold", "used", "limit", "unit")


def read_upstream(settings: Settings) -> list[Upstream]:
    """Every partition of `usage.events` as it is now. Raises KafkaException."""
    epoch = topic_id(settings.kafka, EVENTS)
    with LogReader(settings.kafka) as reader:
        ends = [(number, *reader.bounds(EVENTS, number)) for number in range(settings.partitions)]
    return [Upstream(number, epoch, start, end) for number, start, end in ends]


def check_alert_log(ledger: Ledger, settings: Settings) -> Check:
    """Each alert is raised once in the log, and every one that is in ClickHouse stands there as in the log.

    Raises KafkaException or RegistryAwayError.
    """
    landed = ledger.ask("alert_log")
    return compare_alerts(list(read_alerts(settings, follow=False)), landed)


def compare_alerts(log: Iterable[Record], landed: Iterable[Record]) -> Check:
    """Alerts of the log that have not landed yet are `ahead`. Pure."""
    check = Check("alert_log")
    in_log: dict[tuple[str, str], Record] = {}
    for record in log:
        key = (record["alert_id"], record["state"])
        if key in in_log and record["type"] == "threshold":  # others stand beside the chain: the same id says the same
            check.add([_difference("usage.alerts", record, "times in the log", 1, 2)])
        in_log[key] = record
        check.checked += 1
    in_table = {(row["alert_id"], row["state"]): row for row in landed}
    check.ahead = len(in_log.keys() - in_table.keys())
    for key, row in in_table.items():
        original = in_log.get(key)
        if original is None:
            check.add([_difference("alerts", row, "times in the log", 0, 1)])
            continue
        check.add(
            [
                _difference("alerts", original, name, original[name], row[name])
                for name in COMPARED
                if original[name] != row[name]
            ]
        )
    return check


def _difference(table: str, record: Record, measure: str, expected: Value, found: Value) -> Difference:
    start = record["window_start"]
    micros = start if isinstance(start, int) else int(start.timestamp()) * 1_000_000
    return Difference(
        table,
        scope_text(record["organization"], record["scope_kind"], record["scope"]),
        window_text(record["window_kind"], micros),
        measure,
        expected,
        found,
        {"alert_id": record["alert_id"], "state": record["state"]},
    )
