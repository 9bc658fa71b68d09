"""How long an event takes to its alert, to mail and webhook, and to its row being there for a query, under traffic.

A probe is an event of a user of its own in an organization of its own, whose budget is one request: each probe raises
exactly one alert. Times are this process's monotonic clock, from before the event is handed to the client until the
alert is received from `usage.alerts`, is taken by a mail server and by a webhook on this machine, or until a query
first returns the row (asked every ROW_POLL_S: a row may have been there so much earlier).
"""

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks import meter
from benchmarks.figures import percentile, rate
from benchmarks.inboxes import inboxes
from benchmarks.stacks import Stack, wait_until
from benchmarks.traffic import events_appended, traffic
from producers.client import Producer
from schemas.codec import avro_schema, decode
from schemas.event import UsageEvent
from schemas.topics import ALERTS
from stream_processors import warehouse

ORGANIZATION = "probe"
BUDGET = f"""\
[[budget]]
id = "probe"
organization = "{ORGANIZATION}"
scope = "user:*"
period = "day"
unit = "requests"
limit = 1
thresholds = [100]
"""
PROBES_PER_S = 5  # each raises an alert and is delivered twice: more would be most of the load
WARM_UP = 10  # probes that are not counted: a fresh stack's first events find connections to be made
ROW_POLL_S = 0.1  # each question costs processor time that the stack lacks; what is found may be there for so long
LOAD = "traffic and probes"
ARRIVE_S = 60.0
PERCENTS = (50, 95, 99)


@dataclass(slots=True)
class Probes:
    """When each probe (by user) was sent, alerted, delivered and returned by a query; monotonic seconds."""

    sent: dict[str, float] = field(default_factory=dict)
    alerted: dict[str, float] = field(default_factory=dict)
    mailed: dict[str, float] = field(default_factory=dict)
    posted: dict[str, float] = field(default_factory=dict)
    queryable: dict[str, float] = field(default_factory=dict)

    def delays_ms(self, arrived: Mapping[str, float]) -> list[float]:
        """Of the probes that arrived."""
        return [(arrived[user] - at) * 1000 for user, at in self.sent.items() if user in arrived]

    def are_there(self) -> bool:
        """Whether all have arrived everywhere."""
        everywhere = (self.alerted, self.mailed, self.posted, self.queryable)
        return all(self.sent.keys() <= arrived.keys() for arrived in everywhere)


def measure(stack: Stack, events_per_s: int, seconds: float, seed: int) -> dict[str, Any]:
    """Percentiles at one rate of traffic (0: none), and how much traffic there really was."""
    probes, stopped = Probes(), Event()
    department = f"rate-{events_per_s}"
    watchers = [
        Thread(target=_watch_alerts, args=(stack, probes, department, stopped)),
        Thread(target=_watch_rows, args=(stack, probes, department, stopped)),
    ]
    delivered = inboxes(stack, ORGANIZATION, _keep(probes.mailed), _keep(probes.posted))
    with delivered, traffic(stack, events_per_s, seconds, seed), Producer(stack.settings) as producer:
        for watcher in watchers:
            watcher.start()
        try:
            chance = random.Random(seed)
            _send(producer, Probes(), f"warm-up-{department}", WARM_UP, chance)
            processes = stack.pids() | {LOAD: os.getpid()}
            used = meter.use(processes)
            before, began = events_appended(stack.settings), time.monotonic()
            _send(producer, probes, department, int(seconds * PROBES_PER_S), chance)
            appended = events_appended(stack.settings) - before - len(probes.sent)
            elapsed = time.monotonic() - began
            flowed, cpu_percent = rate(appended, elapsed), _cpu_percent(used, meter.use(processes), elapsed)
            _arrive(probes.are_there)
        finally:
            stopped.set()
            for watcher in watchers:
                watcher.join()
    return {
        "rate": events_per_s,
        "rate_reached": round(flowed),
        "probes": len(probes.sent),
        "cpu_percent": cpu_percent,
        **_summary("alert", probes.delays_ms(probes.alerted)),
        **_summary("mail", probes.delays_ms(probes.mailed)),
        **_summary("webhook", probes.delays_ms(probes.posted)),
        **_summary("row", probes.delays_ms(probes.queryable)),
    }


def _cpu_percent(before: Mapping[str, meter.Use], after: Mapping[str, meter.Use], seconds: float) -> dict[str, float]:
    """Of one core, by process; LOAD is what this process and those it started used besides the stack."""
    used = {name: after[name].cpu_s - use.cpu_s for name, use in before.items() if name in after}
    used[LOAD] -= sum(cpu_s for name, cpu_s in used.items() if name != LOAD)
    return {name: round(cpu_s / seconds * 100, 1) for name, cpu_s in used.items()}


def _keep(arrived: dict[str, float]) -> Callable[[str, float], None]:
    """What comes twice counts once, as it came first."""

    def keep(user: str, at: float) -> None:
        arrived.setdefault(user, at)

    return keep


def _summary(name: str, delays_ms: list[float]) -> dict[str, Any]:
    found = {f"{name}_p{percent}_ms": round(percentile(delays_ms, percent), 1) for percent in PERCENTS if delays_ms}
    return found | {f"{name}s": len(delays_ms)}


def _arrive(all_there: Callable[[], bool]) -> None:
    try:
        wait_until(all_there, ARRIVE_S, "probes")
    except TimeoutError:
        return  # told by the counts


def _send(producer: Producer, probes: Probes, department: str, count: int, chance: random.Random) -> None:
    for number in range(count):
        user = f"{department}-{number}"
        event = UsageEvent(
            event_id=user,
            source=f"probe-{chance.getrandbits(32):08x}",
            occurred_at=datetime.now(UTC),
            organization=ORGANIZATION,
            department=department,
            user=user,
            provider="openai",
            model="gpt-4o-mini",
            input_tokens=100,
            output_tokens=10,
        )
        probes.sent[user] = time.monotonic()
        producer.emit(event)
        time.sleep(chance.uniform(0.5, 1.5) / PROBES_PER_S)  # in step with nothing that happens regularly


def _watch_alerts(stack: Stack, probes: Probes, department: str, stopped: Event) -> None:
    settings = stack.settings
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": "benchmark",  # required by the client; nothing is ever committed
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "isolation.level": "read_committed",
        }
    )
    try:
        places = [TopicPartition(ALERTS, number) for number in range(settings.partitions)]
        for place in places:
            place.offset = consumer.get_watermark_offsets(place)[1]
        consumer.assign(places)
        while not stopped.is_set():
            message = consumer.poll(0.05)
            if message is None or message.error():
                continue
            at = time.monotonic()
            alert = decode(message.value() or b"", avro_schema("alert.v1"))
            if alert["scope"].startswith(f"{department}-"):
                probes.alerted.setdefault(alert["scope"], at)
    finally:
        consumer.close()


def _watch_rows(stack: Stack, probes: Probes, department: str, stopped: Event) -> None:
    query = "SELECT user FROM usage WHERE organization = {organization:String} AND department = {department:String}"
    names = {"organization": ORGANIZATION, "department": department}
    with warehouse.connect(stack.settings) as client:
        while not stopped.is_set():
            rows = client.query(query, parameters=names).result_rows
            at = time.monotonic()
            for (user,) in rows:
                probes.queryable.setdefault(user, at)
            stopped.wait(ROW_POLL_S)
