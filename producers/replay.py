"""Usage traces as usage events: what the trace does not say (who, for what, with which model) is a seeded overlay.

An event id hashes seed, content of the file and row, so that a trace replayed twice is counted once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from producers.adapters import FORMATS, guess_format
from producers.catalog import FEATURES, MODELS
from producers.columns import Ints, feature_columns, model_columns, pick, work_columns
from producers.hashing import uuids
from producers.people import People, people
from schemas.arrow import MICROS
from schemas.batches import event_batch

BATCH_EVENTS = 20_000
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests of one or more files by time; only columns that some file has."""

    requests: pa.Table
    seed: int


def load(files: Sequence[Path], format_name: str | None, seed: int, now: int | None) -> Trace:
    """Reads trace files; `format_name` None guesses each from its first line.

    `now` (microseconds UTC) moves all requests by the same whole number of hours, so that the last one is within the
    hour before it: a repeat in the same hour has the same bytes. None keeps the original times. Raises ValueError
    naming file, line, field, value and rule; nothing has been sent then.
    """
    formats = {format_name or guess_format(path): path for path in files}
    if len(formats) != 1:
        raise ValueError(
            f"files: {', '.join(f'{path} is {name}' for name, path in formats.items())}: one format at a time"
        )
    tables = [_read(path, next(iter(formats)), seed, keep_times=now is None) for path in files]
    requests = pa.concat_tables(tables, promote_options="default")
    if now is not None and requests.num_rows:
        requests = _moved(requests, now)
    return Trace(requests.sort_by("occurred_at").combine_chunks(), seed)


def _read(path: Path, format_name: str, seed: int, keep_times: bool) -> pa.Table:
    adapter = FORMATS[format_name]
    if keep_times and not adapter.DATED:
        raise ValueError(f"{path}: format {format_name} has times since its start, no dates: replay it `--at now`")
    table = adapter.read(path)
    digest = xxhash.xxh3_128_hexdigest(path.read_bytes())
    ids = uuids(f"replay {seed} {digest}", np.arange(table.num_rows))
    if keep_times and "event_id" in table.column_names:  # an event that is not moved is still the same event
        own = table.column("event_id")
        ids = pc.if_else(pc.equal(own, ""), ids, own)
    return _with(_with(table, "event_id", ids), "source", _sources(table, format_name))


def _sources(table: pa.Table, format_name: str) -> pa.Array:
    name = f"replay-{format_name}"
    if "source" not in table.column_names:
        return pa.repeat(name, table.num_rows)
    return pc.if_else(pc.equal(table.column("source"), ""), name, table.column("source"))


def _moved(requests: pa.Table, now: int) -> pa.Table:
    at = requests.column("occurred_at").cast(pa.int64())
    hours = (now - pc.max(at).as_py()) // HOUR_US
    return _with(requests, "occurred_at", pc.add(at, hours * HOUR_US).cast(MICROS))


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def replayed(trace: Trace) -> Iterator[pa.RecordBatch]:
    """The events of a trace by time, with the columns of `schemas.arrow.EVENT_COLUMNS`."""
    users = people()
    for number, first in enumerate(range(0, trace.requests.num_rows, BATCH_EVENTS)):
        rows = trace.requests.slice(first, BATCH_EVENTS)
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([trace.seed, number])))
        columns = {name: _filled(rows, name) for name in rows.column_names}
        scopes, models = _overlays(trace, users, columns, random)
        yield event_batch(
            columns | _where_empty(columns, "organization", scopes) | _where_empty(columns, "model", models)
        )


def _filled(rows: pa.Table, name: str) -> pa.Array:
    """A column in one piece; text that one file has and another has not is ''."""
    column = rows.column(name).combine_chunks()
    return column.fill_null("") if pa.types.is_string(column.type) else column


def _overlays(
    trace: Trace, users: People, columns: dict[str, pa.Array], random: np.random.Generator
) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
    """Scopes and models for each row."""
    occurred_at: Ints = columns["occurred_at"].cast(pa.int64()).to_numpy()
    count = len(occurred_at)
    who = users.pick(np.zeros(count, np.bool_), random.random(count))
    feature = pick([each.weight for each in FEATURES], random.random(count))
    model = pick([each.weight for each in MODELS], random.random(count))
    scopes = {
        **users.columns(who),
        "project": users.projects(who, random.random(count)),
        **feature_columns(feature),
        **work_columns(f"replay {trace.seed}", who, occurred_at, random),
    }
    return scopes, model_columns(model)


def _where_empty(columns: dict[str, pa.Array], decider: str, overlay: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """The overlay where the trace says nothing: a row that has the deciding column keeps all that it has."""
    count = len(columns["occurred_at"])
    nothing = pa.repeat("", count)
    undecided = pc.equal(columns.get(decider, nothing), "")
    result = {}
    for name, made in overlay.items():
        own = columns.get(name, nothing)
        result[name] = pc.if_else(pc.and_(undecided, pc.equal(own, "")), made.cast(pa.string()), own)
    return result
