"""`python -m stream_processors.sink`: lands what the stream says in ClickHouse until SIGTERM."""

import logging
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread

import pyarrow as pa
from confluent_kafka import KafkaException

from schemas.calendar import load_calendar
from schemas.registry import Registry, RegistryAwayError
from schemas.settings import Settings
from stream_processors.copies import LOOK_S, take_back_new
from stream_processors.history_watch import watch_history
from stream_processors.overdue import CHECK_S, report_overdue
from stream_processors.sink.consume import Sink
from stream_processors.sink.landing import Landing
from stream_processors.sink.warehouse import Warehouse
from stream_processors.upkeep import audit_daily, settle_hourly

log = logging.getLogger("tollbook.sink")


def main() -> int:
    """Exit 0 after SIGTERM or SIGINT, 1 after an error that a new start may mend; the supervisor starts it again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    pa.set_cpu_count(1)
    settings = Settings()
    landing = Landing(Warehouse(settings), load_calendar(settings.calendar).zone)
    sink = Sink(settings, landing, Registry(settings.registry), _report_ready)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sink.stop())
    for watch in (_watch_readers, _watch_copies, watch_history, settle_hourly, audit_daily):
        Thread(target=watch, args=(settings,), daemon=True).start()
    try:
        sink.run()
    except (KafkaException, RegistryAwayError, LookupError, ValueError) as error:
        log.error("ends: %s", error)
        return 1
    return 0


def _watch_readers(settings: Settings) -> None:
    while True:
        time.sleep(CHECK_S)
        report_overdue(settings)


def _watch_copies(settings: Settings) -> None:
    while True:
        time.sleep(LOOK_S)
        take_back_new(settings)


def _report_ready() -> None:
    ready = os.environ.get("TOLLBOOK_READY_FILE")
    if ready:
        Path(ready).write_text(str(os.getpid()))


if __name__ == "__main__":
    sys.exit(main())
