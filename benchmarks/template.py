"""The preloaded topic: a stopped stack whose `usage.events` holds the job's events, to be copied for each run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.job import CHARGED, ORGANIZATION, THRESHOLDS, Job, Prices, Totals, costs, price_list
from benchmarks.load import DEPARTMENTS, SOLD, batches
from benchmarks.stacks import WORKERS, Stack, running
from local.config import REPOSITORY
from producers.client import Producer
from schemas.money import usd_text
from stream_processors.budget_actions import apply_budgets
from stream_processors.core.budget_forms import build_budgets

BUDGET = "benchmark"
ALERTS_TOPIC = "bench.alerts"


@dataclass(frozen=True, slots=True)
class Template:
    """A topic of events, what its sums must be, and the ids in the order they were sent."""

    state_dir: Path
    job: Job
    prices: Prices
    once: Totals
    as_sent: Totals
    ids: list[str]

    @property
    def limit_pico(self) -> int:
        """Every department's monthly budget: the mean of what they spend, so that some cross all thresholds."""
        cent = 10**10
        return max(cent, sum(self.once.department_cost.values()) // DEPARTMENTS // cent * cent)


def make(folder: Path, job: Job) -> Template:
    """Preloads a new stack and stops it. Raises what the producer raises when an event is not delivered."""
    state_dir = folder / f"topic-{job.events}-{job.duplicates}"
    prices = price_list([(model.provider, model.name) for model in SOLD], job.start)
    made = Template(state_dir, job, prices, Totals(), Totals(), [])
    # ClickHouse begins empty in each run: a copy of its folder would be of links.
    with running(state_dir, without=(*WORKERS, "clickhouse", "migrate")) as stack:
        with Producer(stack.settings) as producer:
            for events, repeated in batches(job):
                producer.emit_batch(events)
                cost = costs(events, prices)
                first = ~repeated
                made.once.add(events.filter(pa.array(first)), cost[first])
                made.as_sent.add(events, cost)
                made.ids.extend(events.column("event_id").to_pylist())
        _apply_budget(made, stack)
    return made


def _apply_budget(made: Template, stack: Stack) -> None:
    budget = {
        "id": BUDGET,
        "organization": ORGANIZATION,
        "scope": "department:*",
        "period": "month",
        "unit": "cost",
        "limit": usd_text(made.limit_pico),
        "thresholds": list(THRESHOLDS),
    }
    in_force = made.job.start  # the month may have ended by now, and budgets say nothing of months before them
    apply_budgets(stack.settings, build_budgets([budget]), "benchmark", in_force, prune=False, next_window=False)


def job_file(made: Template, stack: Stack, state_dir: Path) -> Path:
    """Writes what a peer is told: addresses, prices, budget and columns."""
    settings = stack.settings
    host, port = settings.clickhouse.removeprefix("http://").split(":")
    told: dict[str, Any] = {
        "kafka": settings.kafka,
        "registry": settings.registry,
        "clickhouse": {
            "host": host,
            "port": int(port),
            "username": settings.clickhouse_user,
            "password": settings.clickhouse_password.get_secret_value(),
            "database": "bench",
        },
        "topic": "usage.events",
        "alerts_topic": ALERTS_TOPIC,
        "state_dir": str(state_dir),
        "schema": json.loads((REPOSITORY / "schemas/avro/usage_event.v1.avsc").read_text()),
        "classes": list(CHARGED),
        "prices": made.prices,
        "limit_pico": made.limit_pico,
        "thresholds": THRESHOLDS,
    }
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / "job.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(told))
    return path
