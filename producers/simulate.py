"""A simulation of organizations that use models: seeded, pure, in Arrow batches of usage events.

The same `Simulation` gives the same bytes. Event ids hash everything it consists of, so that sending it again is a
duplicate of every event, and another one shares no event with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from producers.catalog import ENVIRONMENTS, ERRORS, FEATURES, FINISH_REASONS, MODELS, WORKLOAD_SHARES
from producers.columns import choose, coded, constant, feature_columns, model_columns, pick, work_columns
from producers.figures import WORKLOADS, Arrivals, arrivals, shares, tokens
from producers.hashing import uuids
from producers.people import People, people
from schemas.arrow import MICROS
from schemas.batches import event_batch

BATCH_EVENTS = 20_000
SOURCE = "simulator"
ERROR_RATE = 0.015
CANCEL_RATE = 0.005
LATE_MEAN_US = 6 * 3_600_000_000
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What decides every byte. `start` inclusive and `end` exclusive in microseconds UTC; rates 0 to 1."""

    seed: int
    events: int
    start: int
    end: int
    duplicates: float = 0.01
    late: float = 0.01

    def __post_init__(self) -> None:
        if self.events < 0:
            raise ValueError(f"events = {self.events}: at least 0")
        if self.end <= self.start:
            raise ValueError(f"end = {self.end}: after start = {self.start}")
        for name in ("duplicates", "late"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}: a rate, 0 to 1")

    @property
    def namespace(self) -> str:
        """What the ids are hashed in."""
        return orjson.dumps(["simulation", *asdict(self).values()]).decode()


@dataclass(frozen=True, slots=True)
class SimulatedBatch:
    """Events in the order they are sent; `repeated` marks copies of an earlier one, `late` those sent long after."""

    events: pa.RecordBatch
    repeated: Mask
    late: Mask


def simulate(simulation: Simulation) -> Iterator[SimulatedBatch]:
    """The batches of a simulation: `events` records in all, copies included."""
    users = people()
    arrive = arrivals(_random(simulation, 0), simulation.start, simulation.end, WORKLOAD_SHARES["code"])
    for number, first in enumerate(range(0, simulation.events, BATCH_EVENTS), start=1):
        rows = np.arange(first, min(first + BATCH_EVENTS, simulation.events))
        yield _batch(simulation, users, arrive, rows, _random(simulation, number))


def _random(simulation: Simulation, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([simulation.seed, stream])))


def _batch(
    simulation: Simulation, users: People, arrive: Arrivals, rows: Ints, random: np.random.Generator
) -> SimulatedBatch:
    count = len(rows)
    quantiles = (rows[0] + np.sort(random.random(count)) * count) / simulation.events
    code = random.random(count) < arrive.code_shares(quantiles)
    who = users.pick(code, random.random(count))
    feature = _features(code, random)
    sent_at = arrive.times(quantiles)
    late = random.random(count) < simulation.late
    occurred_at = np.where(late, sent_at - random.exponential(LATE_MEAN_US, count).astype(np.int64), sent_at)
    occurred_at = np.maximum(occurred_at, simulation.start)
    columns = {
        "event_id": uuids(simulation.namespace, rows),
        "source": constant(SOURCE, count),
        "occurred_at": pa.array(occurred_at).cast(MICROS),
        "operation": constant("chat", count),
        "environment": choose(ENVIRONMENTS, random.random(count)),
        **users.columns(who),
        "project": users.projects(who, random.random(count)),
        **feature_columns(feature),
        **work_columns(str(simulation.seed), who, occurred_at, random),
        **_use_columns(feature, random),
    }
    source_rows = _with_repeats(random.random(count) < simulation.duplicates, random)
    events = event_batch(columns).take(pa.array(source_rows))
    return SimulatedBatch(events, source_rows != np.arange(count), late[source_rows])


def _with_repeats(repeated: Mask, random: np.random.Generator) -> Ints:
    """Row numbers, where a repeated row is replaced by one of the original rows before it."""
    repeated[:1] = False
    originals = np.flatnonzero(~repeated)
    before = np.cumsum(~repeated)
    picked = (random.random(len(repeated)) * before).astype(np.int64)
    return np.where(repeated, originals[picked], np.arange(len(repeated)))


def _features(code: Mask, random: np.random.Generator) -> Ints:
    """A row number of FEATURES for each request."""
    other = {name: share for name, share in WORKLOAD_SHARES.items() if name != "code"}
    of_code = pick([f.weight if f.workload == "code" else 0.0 for f in FEATURES], random.random(len(code)))
    of_other = pick([f.weight * other.get(f.workload, 0.0) for f in FEATURES], random.random(len(code)))
    return np.where(code, of_code, of_other)


def _use_columns(feature: Ints, random: np.random.Generator) -> dict[str, pa.Array]:
    """Model, tokens, status and latency of each request."""
    count = len(feature)
    model = pick([each.weight for each in MODELS], random.random(count))
    failed = random.random(count)
    error = failed < ERROR_RATE
    cancelled = ~error & (failed < ERROR_RATE + CANCEL_RATE)
    counts = _token_counts(feature, model, random)
    for name in ("output_tokens", "reasoning_tokens"):  # a failed call returns nothing, a cancelled one a half
        counts[name] = np.where(error, 0, np.where(cancelled, counts[name] // 2, counts[name]))
    status = np.where(error, 1, np.where(cancelled, 2, 0))
    finish = np.where(status == 0, pick(list(FINISH_REASONS.values()), random.random(count)) + 1, 0)
    kind = np.where(error, pick(list(ERRORS.values()), random.random(count)) + 1, 0)
    return {
        **model_columns(model),
        "status": coded(["ok", "error", "cancelled"], status),
        "finish_reason": coded(["", *FINISH_REASONS], finish),
        "error_type": coded(["", *ERRORS], kind),
        **{name: pa.array(values) for name, values in counts.items()},
        **_latencies(counts, error, random),
    }


def _token_counts(feature: Ints, model: Ints, random: np.random.Generator) -> dict[str, Ints]:
    count = len(feature)
    given, made, cached = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    of_feature = np.array([[w.name for w in WORKLOADS].index(each.workload) for each in FEATURES])[feature]
    uniform = random.random((3, count))
    for number, workload in enumerate(WORKLOADS):
        rows = of_feature == number
        given[rows] = tokens(workload.input_tokens, uniform[0, rows])
        made[rows] = tokens(workload.output_tokens, uniform[1, rows])
        if workload.cached:
            cached[rows] = (given[rows] * shares(workload.cached, uniform[2, rows])).astype(np.int64)
    writes = np.array([each.writes_cache for each in MODELS])[model] & (cached > 0) & (random.random(count) < 0.3)
    written = np.where(writes, (given - cached) * random.random(count), 0).astype(np.int64)
    reasons = np.array([each.reasons for each in MODELS])[model]
    return {
        "input_tokens": given,
        "output_tokens": made,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": np.where(random.random(count) < 0.1, written, 0),
        "reasoning_tokens": np.where(reasons, made * random.random(count) * 0.8, 0).astype(np.int64),
    }


def _latencies(counts: Mapping[str, Ints], error: Mask, random: np.random.Generator) -> dict[str, pa.Array]:
    """Time to the first token grows with the prompt that is not cached, the rest with the answer."""
    count = len(error)
    fresh = counts["input_tokens"] - counts["cache_read_tokens"]
    first = (120 + 0.06 * fresh) * random.lognormal(0, 0.4, count)
    whole = first + 14 * counts["output_tokens"] * random.lognormal(0, 0.3, count)
    return {
        "latency_ms": pa.array(whole.astype(np.int32)),
        "time_to_first_token_ms": pa.array(first.astype(np.int32), mask=error),
    }
