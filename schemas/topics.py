"""Every topic of the ledger, declared once: partitions, retention, cleanup, compression, size.

All use LogAppendTime (old event times must not trigger retention). Created by `python -m schemas.provision`,
never by accident: brokers run with automatic topic creation off.
"""

from dataclasses import dataclass

DAY_MS = 86_400_000

EVENTS = "usage.events"
REJECTED = "usage.rejected"
BLOCKS = "usage.blocks"
PARTIALS = "usage.partials"
WINDOWS = "usage.windows"
ALERTS = "usage.alerts"
LIMITS = "usage.limits"
HEARTBEATS = "usage.heartbeats"
BUDGETS = "usage.budgets"
PRICES = "usage.prices"
DIRECTORY = "usage.directory"
PERIODS = "usage.periods"
RESPONSES = "usage.responses"
#: Changelog of the rollup's table; Faust derives the name from the app and the table.
TOTALS = "tollbook-windows-partials-changelog"


@dataclass(frozen=True, slots=True)
class Topic:
    """How one topic is to be. `partitions` None means the ledger's partition count (a setting)."""

    name: str
    holds: str
    retention_ms: int = -1  # -1: for ever
    cleanup: str = "delete"
    compression: str = "producer"  # as the producer sent it
    max_message_bytes: int = 1 << 20
    min_compaction_lag_ms: int = 0  # how long every write is kept: a frozen worker's late one must not replace it
    partitions: int | None = None
    avro: str | None = None  # file name of the value's schema in schemas/avro, without `.avsc`

    def config(self) -> dict[str, str]:
        """Kafka's topic configuration."""
        return {
            "cleanup.policy": self.cleanup,
            "compression.type": self.compression,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": "LogAppendTime",
            "min.compaction.lag.ms": str(self.min_compaction_lag_ms),
            "retention.ms": str(self.retention_ms),
        }


TOPICS = (
    Topic(EVENTS, "usage events as emitted", 30 * DAY_MS, max_message_bytes=8 << 20, avro="usage_event.v1"),
    Topic(
        REJECTED,
        "events not counted, with bytes and reason",
        90 * DAY_MS,
        max_message_bytes=9 << 20,
        avro="rejected.v1",
    ),
    Topic(BLOCKS, "priced blocks (Arrow), the chain", 400 * DAY_MS, max_message_bytes=16 << 20),
    Topic(PARTIALS, "window entries (Arrow), rollup to budgets", DAY_MS, max_message_bytes=16 << 20),
    Topic(WINDOWS, "window entries (Arrow), budgets to the warehouse", 7 * DAY_MS, max_message_bytes=16 << 20),
    # A record of usage.alerts without the header `extends` (type `pipeline`: a stage that stands still) is outside the
    # chain of its partition: readers that fold the chain pass it by, the sink lands it like any alert.
    Topic(ALERTS, "alerts, the chain that is also their state", 400 * DAY_MS, avro="alert.v1"),
    Topic(LIMITS, "newest limit of each budget and scope", cleanup="compact", avro="limit.v1"),
    Topic(HEARTBEATS, "by shard of usage.limits, up to where all limits have been sent (JSON)", cleanup="compact"),
    Topic(BUDGETS, "dated history of each budget (JSON)", cleanup="compact", partitions=1),
    Topic(TOTALS, "rollup's table", cleanup="compact", max_message_bytes=16 << 20, min_compaction_lag_ms=DAY_MS),
    Topic(PRICES, "dated history of each price override (JSON)", cleanup="compact", partitions=1),
    Topic(PERIODS, "history of each month that was closed (JSON)", cleanup="compact", partitions=1),
    Topic(RESPONSES, "what people answer to alerts: seen, or not now (JSON)", cleanup="compact", partitions=1),
    Topic(DIRECTORY, "dated history of where each user belongs (JSON)", cleanup="compact", partitions=1),
)
BY_NAME = {topic.name: topic for topic in TOPICS}
