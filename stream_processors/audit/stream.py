"""What the broker has: the ends of `usage.events`, the chain of `usage.alerts`, and `usage.limits`."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import ALERTS, EVENTS, LIMITS
from stream_processors.alert_log import decoded, read_alerts
from stream_processors.audit.compare import scope_text, window_text
from stream_processors.audit.conservation import Upstream
from stream_processors.audit.model import Check, Difference, Value
from stream_processors.audit.queries import Ledger
from stream_processors.lag import SINK_GROUP, committed
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
    """Each alert is raised once in the log; ClickHouse has each that the sink has passed, as the log has it.

    Raises KafkaException or RegistryAwayError.
    """
    passed = _passed(settings, ALERTS)
    due = {_alert_key(record) for record in read_alerts(settings, follow=False, ends=passed)}
    landed = ledger.ask("alert_log")
    return compare_alerts(list(read_alerts(settings, follow=False)), landed, due)


def _passed(settings: Settings, topic: str) -> dict[int, int]:
    """Up to where the sink has landed a topic, by partition."""
    places = [(topic, number) for number in range(settings.partitions)]
    return {number: max(0, end) for (_, number), end in committed(settings.kafka, SINK_GROUP, places).items()}


def _alert_key(record: Record) -> tuple[str, str]:
    return record["alert_id"], record["state"]


def compare_alerts(log: Iterable[Record], landed: Iterable[Record], due: Set[tuple[str, str]] = frozenset()) -> Check:
    """Alerts of the log that have not landed are `ahead`, but for those that are `due`. Pure."""
    check = Check("alert_log")
    in_log: dict[tuple[str, str], Record] = {}
    for record in log:
        key = _alert_key(record)
        if key in in_log and record["type"] == "threshold":  # others stand beside the chain: the same id says the same
            check.add([_difference("usage.alerts", record, "times in the log", 1, 2)])
        in_log[key] = record
        check.checked += 1
    in_table = {_alert_key(row): row for row in landed}
    missing = in_log.keys() - in_table.keys()
    check.add([_difference("alerts", in_log[key], "times in the table", 1, 0) for key in sorted(missing & due)])
    check.ahead = len(missing - due)
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


def check_limit_log(ledger: Ledger, settings: Settings) -> Check:
    """ClickHouse has each limit that the sink has passed, as the log has it or a later one of the same scope.

    Raises KafkaException or RegistryAwayError.
    """
    passed = _passed(settings, LIMITS)
    newest: dict[tuple[str, ...], Record] = {}
    registry = Registry(settings.registry)
    try:
        with LogReader(settings.kafka) as reader:
            for number, end in passed.items():
                for message in reader.read(LIMITS, number, reader.bounds(LIMITS, number)[0]):
                    if (message.offset() or 0) < end and message.value():
                        record = decoded(message, registry, "limit.v1") | {"limit_offset": message.offset()}
                        newest[_limit_key(record)] = record
    finally:
        registry.close()
    return compare_limits(newest.values(), ledger.ask("limit_log"))


def _limit_key(record: Record) -> tuple[str, ...]:
    return tuple(record[name] for name in ("budget_id", "organization", "scope_kind", "scope"))


def compare_limits(log: Iterable[Record], landed: Iterable[Record]) -> Check:
    """`log`: the newest record of each scope that has to be in the table. Pure."""
    check = Check("limit_log")
    in_table = {_limit_key(row): row for row in landed}
    for record in log:
        check.checked += 1
        row = in_table.get(_limit_key(record))
        if row is None:
            check.add([_limit_difference(record, "times in the table", 1, 0)])
        elif row["limit_offset"] < record["limit_offset"]:
            check.add([_limit_difference(record, "limit_offset", record["limit_offset"], row["limit_offset"])])
        elif row["limit_offset"] == record["limit_offset"]:
            names = [name for name in ("used", "decision") if row[name] != record[name]]
            check.add([_limit_difference(record, name, record[name], row[name]) for name in names])
    return check


def _limit_difference(record: Record, measure: str, expected: Value, found: Value) -> Difference:
    scope = scope_text(record["organization"], record["scope_kind"], record["scope"])
    window = window_text(record["window_kind"], _micros(record["window_start"]))
    return Difference("limits", scope, window, measure, expected, found, {"budget_id": record["budget_id"]})


def _micros(at: Any) -> int:
    return at if isinstance(at, int) else int(at.timestamp()) * 1_000_000


def _difference(table: str, record: Record, measure: str, expected: Value, found: Value) -> Difference:
    return Difference(
        table,
        scope_text(record["organization"], record["scope_kind"], record["scope"]),
        window_text(record["window_kind"], _micros(record["window_start"])),
        measure,
        expected,
        found,
        {"alert_id": record["alert_id"], "state": record["state"]},
    )
