"""The benchmark's events: 20 departments, 2 000 users, 100 projects, 12 models, 5 features, tasks and sessions.

One organization, seeded, in order of time; token counts follow the published workloads of `producers.figures`.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.job import HOUR_US, HOURS, ORGANIZATION, Job
from producers.catalog import ENVIRONMENTS, FEATURES, FINISH_REASONS, MODELS
from producers.columns import choose, coded, constant, pick, work_columns
from producers.figures import WORKLOADS, shares, tokens
from producers.hashing import uuids
from schemas.arrow import MICROS
from schemas.batches import event_batch

BATCH_EVENTS = 20_000
DEPARTMENTS, USERS, PROJECTS = 20, 2_000, 100
SOLD = [model for model in MODELS if model.name != "mistral-large-latest"]  # an alias, without a price of its own name
USED = FEATURES[:3] + FEATURES[5:]
Ints = npt.NDArray[np.int64]
_ERROR_SHARE, _REASONING_SHARE, _WRITE_SHARE, _LONG_LIVED_SHARE = 0.015, 0.8, 0.3, 0.1


def batches(job: Job) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.bool_]]]:
    """The events in the order they are sent, and which of them repeat an earlier one."""
    for number, first in enumerate(range(0, job.events, BATCH_EVENTS)):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([job.seed, number])))
        rows = np.arange(first, min(first + BATCH_EVENTS, job.events))
        events = _events(job, rows, random)
        repeated = random.random(len(rows)) < job.duplicates
        repeated[0] = False
        source = np.where(repeated, (random.random(len(rows)) * np.arange(len(rows))).astype(np.int64), -1)
        # A copy is one of an event that is no copy itself, so that each repeated id is there twice or more, once whole.
        source = np.where(repeated & repeated[source], 0, source)
        yield events.take(pa.array(np.where(repeated, source, np.arange(len(rows))))), repeated


def _events(job: Job, rows: Ints, random: np.random.Generator) -> pa.RecordBatch:
    count = len(rows)
    users = (random.random(count) ** 2 * USERS).astype(np.int64)  # the first ones are the busier
    departments = users % DEPARTMENTS
    projects = departments * (PROJECTS // DEPARTMENTS) + random.integers(0, PROJECTS // DEPARTMENTS, count)
    occurred_at = job.start + rows * (HOURS * HOUR_US) // job.events
    feature = pick([each.weight for each in USED], random.random(count))
    model = pick([each.weight for each in SOLD], random.random(count))
    failed = random.random(count) < _ERROR_SHARE
    counts = _tokens(feature, model, failed, random)
    latency = (200 + 12 * counts["output_tokens"] * random.lognormal(0, 0.3, count)).astype(np.int32)
    columns = {
        "event_id": uuids(f"benchmark {job}", rows),
        "source": constant("benchmark", count),
        "occurred_at": pa.array(occurred_at).cast(MICROS),
        "organization": constant(ORGANIZATION, count),
        "department": coded([f"department-{n:02}" for n in range(DEPARTMENTS)], departments),
        "team": coded([f"team-{n:02}" for n in range(DEPARTMENTS * 2)], users % (DEPARTMENTS * 2)),
        "user": coded([f"user-{n:04}" for n in range(USERS)], users),
        "project": coded([f"project-{n:02}" for n in range(PROJECTS)], projects),
        **work_columns(str(job), users.astype(np.int32), occurred_at, random),
        "feature": coded([each.name for each in USED], feature),
        "platform": coded([each.platform for each in USED], feature),
        "environment": choose(ENVIRONMENTS, random.random(count)),
        "operation": constant("chat", count),
        "provider": coded([each.provider for each in SOLD], model),
        "model": coded([each.name for each in SOLD], model),
        "status": coded(["ok", "error"], failed.astype(np.int64)),
        "finish_reason": choose(FINISH_REASONS, random.random(count)),
        "latency_ms": pa.array(latency),
        "time_to_first_token_ms": pa.array(latency // 4),
        **{name: pa.array(values) for name, values in counts.items()},
    }
    return event_batch(columns)


def _tokens(feature: Ints, model: Ints, failed: npt.NDArray[np.bool_], random: np.random.Generator) -> dict[str, Ints]:
    count = len(feature)
    workload = np.array([[w.name for w in WORKLOADS].index(each.workload) for each in USED])[feature]
    given, made, cached = (np.zeros(count, np.int64) for _ in range(3))
    for number, each in enumerate(WORKLOADS):
        rows = workload == number
        given[rows] = tokens(each.input_tokens, random.random(int(rows.sum())))
        made[rows] = tokens(each.output_tokens, random.random(int(rows.sum())))
        if each.cached:
            cached[rows] = (given[rows] * shares(each.cached, random.random(int(rows.sum())))).astype(np.int64)
    writes = np.array([each.writes_cache for each in SOLD])[model] & (random.random(count) < _WRITE_SHARE)
    written = np.where(writes, (given - cached) * random.random(count), 0).astype(np.int64)
    reasons = np.array([each.reasons for each in SOLD])[model]
    made = np.where(failed, 0, made)
    return {
        "input_tokens": given,
        "output_tokens": made,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": np.where(random.random(count) < _LONG_LIVED_SHARE, written, 0),
        "reasoning_tokens": np.where(reasons, made * random.random(count) * _REASONING_SHARE, 0).astype(np.int64),
    }
