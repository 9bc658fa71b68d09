"""Audits the books once a day without being asked, and says a difference in `usage.alerts`; the sink does so."""

import logging
import time

from confluent_kafka import KafkaException

from schemas.registry import RegistryAwayError
from schemas.settings import Settings
from stream_processors.warehouse import WarehouseError

DAY_S = 86_400
AT_S = 4 * 3_600  # 04:00 UTC
log = logging.getLogger("tollbook.audit")


def audit_daily(settings: Settings) -> None:
    """For a thread: never returns. What cannot be asked or said is tried again the next day."""
    while True:
        time.sleep(until_next(time.time()))
        # Not at the top: they bring every model's price, which the sink needs for nothing else.
        from stream_processors.audit.run import run_audit
        from stream_processors.audit.said import say_differences

        try:
            report = run_audit(settings, deep=False, kafka_error="", tell=lambda _name, _count: None)
            for record in say_differences(settings, report, time.time_ns() // 1000):
                log.critical("%s", record["detail"])
            log.info("audit: exit status %d", report.exit_code)
        except (WarehouseError, KafkaException, RegistryAwayError, LookupError, ValueError) as error:
            log.warning("cannot audit: %s", error)


def until_next(now_s: float) -> float:
    """Seconds until it is AT_S again, a whole day when it is."""
    return DAY_S - (now_s - AT_S) % DAY_S
