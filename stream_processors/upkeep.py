"""What the sink does beside landing, in threads: settles every hour, and audits the books every day.

What each imports brings every model's price along, which the sink needs for nothing else: so not before it is time.
"""

import logging
import time

from confluent_kafka import KafkaException

from schemas.registry import RegistryAwayError
from schemas.settings import Settings
from stream_processors.warehouse import WarehouseError

HOUR_S, DAY_S = 3_600, 86_400
AUDIT_AT_S = 4 * HOUR_S  # 04:00 UTC
LANDS_S = 600.0
AWAY = (WarehouseError, KafkaException, RegistryAwayError, LookupError, ValueError)
log = logging.getLogger("tollbook.upkeep")


def settle_hourly(settings: Settings) -> None:
    """Books what volume discounts, overages and credits come to; never returns. What fails is tried the next hour."""
    while True:
        time.sleep(HOUR_S)
        from stream_processors.settle import settle

        try:
            for entry in settle(settings, "tollbook", LANDS_S):
                log.info("%s: %s pico-dollars of %s", entry.reason, entry.amount_pico, entry.organization)
        except AWAY as error:
            log.warning("cannot settle: %s", error)


def audit_daily(settings: Settings) -> None:
    """Says differences in `usage.alerts`; never returns. What cannot be asked or said is tried the next day."""
    while True:
        time.sleep(until_next(time.time()))
        from stream_processors.audit.run import run_audit
        from stream_processors.audit.said import say_differences

        try:
            report = run_audit(settings, deep=False, kafka_error="", tell=lambda _name, _count: None)
            for record in say_differences(settings, report, time.time_ns() // 1000):
                log.critical("%s", record["detail"])
            log.info("audit: exit status %d", report.exit_code)
        except AWAY as error:
            log.warning("cannot audit: %s", error)


def until_next(now_s: float) -> float:
    """Seconds until it is AUDIT_AT_S again, a whole day when it is."""
    return DAY_S - (now_s - AUDIT_AT_S) % DAY_S
