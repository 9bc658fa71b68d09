"""What rating tells people: that it stands still because too many events are rejected, that offsets are lost, and
which models have no price.
"""

import asyncio
import logging
import time
from collections import Counter
from typing import Any, NamedTuple

from schemas.codec import encode
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import ALERTS, EVENTS
from stream_processors import append
from stream_processors.alert_log import read_alerts
from stream_processors.core.pipeline_alerts import REJECTED_EVENTS, newest_halts, pipeline_alert, pipeline_id
from stream_processors.core.rating import Rated
from stream_processors.core.reject_watch import PERCENT, WINDOW
from stream_processors.core.unpriced import unpriced_alert, unpriced_models

log = logging.getLogger("tollbook.rating")

PROBE_S = 5.0
MOST_UNPRICED = 1_000  # models told of: whoever invents names must not flood those who read alerts


class Schemas:
    """The writer schemas of one batch; keeps in mind which ids the registry did not know."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._unknown: set[int] = set()

    def text(self, schema_id: int) -> str | None:
        found = self._registry.schema_text(schema_id)
        if found is None:
            self._unknown.add(schema_id)
        return found

    def known_now(self) -> bool:
        """Whether the registry has learned one of them since."""
        return any(self._registry.schema_text(schema_id) is not None for schema_id in self._unknown)


class Halt(NamedTuple):
    """Where rating stands still: the alert that says so, and the schemas that may still come."""

    alert: dict[str, Any]
    schemas: Schemas


def halt_alert(epoch: str, partition: int, offset: int, rated: Rated) -> dict[str, Any]:
    """`offset` is the event at which the limit is passed; `rated` the batch that it is in."""
    rejects = rated.rejects.select(["reason", "detail"]).to_pylist()
    reasons = Counter(reject["reason"] for reject in rejects if reject["reason"] != "duplicate")
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    example = next(reject["detail"] for reject in rejects if reject["reason"] == reasons.most_common(1)[0][0])
    return pipeline_alert(
        pipeline_id("rejects", epoch, partition, offset),
        EVENTS,
        partition,
        f"Rating stands still at {EVENTS}[{partition}] offset {offset}: more than {PERCENT} % of {WINDOW} events would "
        f"be rejected (in the batch: {counts}; such as: {example}). Mend the cause, or let them go with "
        "`tollbook rejected accept`",
        time.time_ns() // 1000,
        threshold=PERCENT,
        limit=str(WINDOW),
        unit=REJECTED_EVENTS,
    )


def gap_alert(epoch: str, partition: int, first_offset: int, count: int) -> dict[str, Any]:
    """Offsets that retention took before they were rated."""
    last = first_offset + count - 1
    return pipeline_alert(
        pipeline_id("gap", epoch, partition, first_offset),
        EVENTS,
        partition,
        f"Retention took {count} events of {EVENTS}[{partition}] before they were rated: offsets {first_offset} to "
        f"{last}. They are booked as a gap",
        time.time_ns() // 1000,
    )


class RatingAlarm:
    """Appends such alerts with the app's own producer, and learns from the log what people say to them."""

    def __init__(self, app: Any, settings: Settings, registry: Registry) -> None:
        self._app, self._settings = app, settings
        self._schema_id = registry.schema_id(ALERTS)
        self._unpriced: set[str] = set()  # alerts that were raised

    async def say(self, alert: dict[str, Any]) -> None:
        """Returns when the broker has it."""
        value = encode(alert, "alert.v1", self._schema_id)
        await (await append.send(self._app, ALERTS, alert["alert_id"].encode(), value, None))

    async def tell_unpriced(self, partition: int, rated: Rated) -> None:
        """One alert a model, beside the chain of alerts; told again after a restart it has the same id."""
        new = [found for found in unpriced_models(rated.rows) if found.alert_id not in self._unpriced]
        told = []
        for found in new[: MOST_UNPRICED - len(self._unpriced)]:
            self._unpriced.add(found.alert_id)
            log.warning("no price for %s by %s, as in event %s", found.model, found.provider, found.event_id)
            value = encode(unpriced_alert(found, time.time_ns() // 1000), "alert.v1", self._schema_id)
            told.append(await append.send(self._app, ALERTS, found.alert_id.encode(), value, partition))
        for acknowledgement in told:
            await acknowledgement

    async def take_back(self, halt: Halt) -> None:
        """The cause has passed: rating goes on."""
        log.warning("goes on: %s", halt.alert["scope"])
        await self.say(halt.alert | {"state": "retracted", "detail": f"Rating goes on at {halt.alert['scope']}"})

    async def stand_still(self, halt: Halt) -> bool:
        """Says so, in an alert once, and waits.

        True when somebody has taken the alert back; False when to rate again may help.
        """
        log.critical("%s", halt.alert["detail"])
        while True:
            said = (await asyncio.to_thread(self._newest)).get(halt.alert["alert_id"])
            if said is None:
                await self.say(halt.alert)
            elif said["state"] == "retracted":
                log.warning("goes on, the rejects are accepted: %s", halt.alert["scope"])
                return True
            await asyncio.sleep(PROBE_S)
            if await asyncio.to_thread(halt.schemas.known_now):
                return False

    def _newest(self) -> dict[str, Any]:
        return newest_halts(read_alerts(self._settings, follow=False))
