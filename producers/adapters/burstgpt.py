"""BurstGPT: CSV with seconds since the start of the trace; a failed request has 0 response tokens."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from producers.adapters.trace import FIRST_LINE, TraceError, column, read_csv, seconds, whole_numbers
from schemas.arrow import MICROS

COLUMNS = ("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type")
DATED = False
# The trace names products; these are the models that were billed.
_BILLED = {"ChatGPT": "gpt-3.5-turbo", "GPT-4": "gpt-4"}


def matches(first_line: str) -> bool:
    return set(COLUMNS) <= set(first_line.split(","))


def read(path: Path) -> pa.Table:
    """The requests in the order of the file. Raises TraceError."""
    table = read_csv(path, COLUMNS)
    given, made = (whole_numbers(path, table, name) for name in ("Request tokens", "Response tokens"))
    _check_total(path, table, given, made)
    columns = {
        "occurred_at": pc.multiply(seconds(path, table, "Timestamp", 9), 1e6).cast(pa.int64(), safe=False).cast(MICROS),
        "input_tokens": given,
        "output_tokens": made,
        "status": pc.if_else(pc.equal(made, 0), "error", "ok"),
        "provider": pa.repeat("openai", table.num_rows),
        "model": _models(column(table, "Model")),
        "integration": column(table, "Log Type"),
    }
    if "Session ID" in table.column_names:
        columns["session"] = column(table, "Session ID")
    if "Elapsed time" in table.column_names:
        elapsed = pc.multiply(seconds(path, table, "Elapsed time", 6), 1000)
        columns["latency_ms"] = elapsed.cast(pa.int32(), safe=False)
    return pa.table(columns)


def _models(names: pa.Array) -> pa.Array:
    for name, billed in _BILLED.items():
        names = pc.if_else(pc.equal(names, name), billed, names)
    return names


def _check_total(path: Path, table: pa.Table, given: pa.Array, made: pa.Array) -> None:
    total = whole_numbers(path, table, "Total tokens")
    wrong = pc.index(pc.equal(total, pc.add(given, made)), False).as_py()
    if wrong >= 0:
        rule = f"Request tokens + Response tokens = {given[wrong].as_py() + made[wrong].as_py()}"
        raise TraceError(path, wrong + FIRST_LINE, "Total tokens", total[wrong].as_py(), rule)
