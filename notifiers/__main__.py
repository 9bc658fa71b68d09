"""`python -m notifiers`: delivers alerts until SIGTERM."""

import logging
import os
import random
import signal
import sys
import time
from pathlib import Path
from zoneinfo import ZoneInfo

from confluent_kafka import KafkaException

from notifiers.alert_topic import AlertTopic
from notifiers.contributors import Contributors
from notifiers.notifier import Notifier, WorkerEndedError
from notifiers.outbox import Outbox, OutboxInUseError
from notifiers.snoozes import Snoozes
from schemas.calendar import load_calendar
from schemas.registry import Registry, RegistryAwayError
from schemas.settings import Settings

log = logging.getLogger("tollbook.notifier")


def main() -> int:
    """Exit 0 after SIGTERM or SIGINT, 1 after an error that a new start may mend; the supervisor starts it again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what fails is said once, by us
    settings = Settings()
    try:
        outbox = Outbox(settings.state_dir / "notifier", _now())
        topic = AlertTopic(settings.kafka, Registry(settings.registry), outbox.chains())
        zone = load_calendar(settings.calendar).zone
        contributors = Contributors(settings, zone)
        snoozes = Snoozes(settings.kafka)
        notifier = Notifier(
            settings.notify, ZoneInfo(zone), outbox, topic, _now, random.random, contributors.of, snoozes.known
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: notifier.stop())
        _report_ready()
        notifier.run()
    except (KafkaException, OutboxInUseError, RegistryAwayError, WorkerEndedError, LookupError, ValueError) as error:
        log.error("ends: %s", error)
        return 1
    topic.close()
    snoozes.close()
    outbox.close()
    return 0


def _now() -> int:
    return time.time_ns() // 1000


def _report_ready() -> None:
    ready = os.environ.get("TOLLBOOK_READY_FILE")
    if ready:
        Path(ready).write_text(str(os.getpid()))


if __name__ == "__main__":
    sys.exit(main())
