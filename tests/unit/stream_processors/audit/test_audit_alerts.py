"""What an audit found, as alerts."""

from stream_processors.audit.model import Check, Difference, Report
from stream_processors.audit.said import audit_alerts
from stream_processors.upkeep import until_next

MIDNIGHT = 1_768_003_200_000_000  # 2026-01-10 00:00 UTC
HOUR = 3_600


def report() -> Report:
    wrong = Check("windows", checked=9)
    wrong.add(
        [Difference("windows", "acme user:ada", "day 2026-01-09", "cost_usd", "5.50", "8.00", {"src_partition": 1})]
    )
    wrong.add([Difference("windows", "acme user:bob", "day 2026-01-09", "requests", 1, 2)])
    return Report([Check("blocks", checked=4), wrong, Check("deep", undecided="Kafka is away")], [])


def test_each_check_that_differs_is_one_alert_a_day() -> None:
    [alert] = audit_alerts(report(), MIDNIGHT)
    [later] = audit_alerts(report(), MIDNIGHT + 23 * HOUR * 1_000_000)
    [next_day] = audit_alerts(report(), MIDNIGHT + 24 * HOUR * 1_000_000)
    assert (alert["type"], alert["severity"], alert["scope"], alert["raised_at"]) == (
        *("pipeline", "critical"),
        *("windows", MIDNIGHT),
    )
    assert alert["detail"] == (
        "The audit found 2 differences in windows: cost_usd of acme user:ada in day 2026-01-09 is 8.00 in windows, "
        "by what it follows from 5.50 (src_partition 1); `tollbook audit` names all"
    )
    assert alert["alert_id"] == later["alert_id"] != next_day["alert_id"]


def test_the_daily_audit_is_at_four() -> None:
    midnight = MIDNIGHT / 1_000_000
    assert until_next(midnight) == 4 * HOUR
    assert until_next(midnight + 4 * HOUR) == 24 * HOUR
    assert until_next(midnight + 5 * HOUR) == 23 * HOUR
