"""What an audit found, said in `usage.alerts`: one alert a check and day (UTC), whoever audits and however often."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from schemas.registry import Registry
from schemas.settings import Settings
from stream_processors.alert_log import append_alerts, read_alerts
from stream_processors.audit.model import Check, Report
from stream_processors.core.pipeline_alerts import pipeline_alert, pipeline_id


def say_differences(settings: Settings, report: Report, now_us: int) -> list[dict[str, Any]]:
    """Appends an alert for each check that differs, if the day has none of it yet; those that are new.

    Raises KafkaException or RegistryAwayError when they cannot be said.
    """
    found = list(audit_alerts(report, now_us))
    if not found:
        return []
    said = {record["alert_id"] for record in read_alerts(settings, follow=False)}
    new = [record for record in found if record["alert_id"] not in said]
    registry = Registry(settings.registry)
    try:
        append_alerts(settings.kafka, registry, new)
    finally:
        registry.close()
    return new


def audit_alerts(report: Report, now_us: int) -> Iterator[dict[str, Any]]:
    """An alert for each check that differs, which names the first difference. Pure."""
    day = datetime.fromtimestamp(now_us / 1_000_000, UTC).date().isoformat()
    for check in report.checks:
        if check.differing:
            alert_id = pipeline_id("audit", check.name, day)
            more = {"scope_kind": "check", "scope": check.name}
            yield pipeline_alert(alert_id, "", 0, _detail(check), now_us, **more)


def _detail(check: Check) -> str:
    first = check.differences[0]
    place = ", ".join(f"{name} {value}" for name, value in first.position.items())
    where = f" ({place})" if place else ""
    return (
        f"The audit found {check.differing:,} difference{'s' if check.differing > 1 else ''} in {check.name}: "
        f"{first.measure} of {first.scope or first.table} in {first.window} is {first.found} in {first.table}, "
        f"by what it follows from {first.expected}{where}; `tollbook audit` names all"
    )
