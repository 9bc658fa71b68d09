"""Azure LLM inference traces: CSV `TIMESTAMP,ContextTokens,GeneratedTokens`, time in UTC with 100 ns."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from producers.adapters.trace import parse, read_csv, whole_numbers
from schemas.arrow import MICROS

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
DATED = True
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?$"


def matches(first_line: str) -> bool:
    return first_line.split(",") == list(COLUMNS)


def read(path: Path) -> pa.Table:
    """The requests in the order of the file. Raises TraceError."""
    table = read_csv(path, COLUMNS)
    at = parse(path, table, "TIMESTAMP", _TIME, pa.timestamp("ns"), "a time like 2023-11-16 18:17:03.9799600")
    micros = pc.divide(at.cast(pa.int64()), 1000)
    return pa.table(
        {
            "occurred_at": micros.cast(MICROS),
            "input_tokens": whole_numbers(path, table, "ContextTokens"),
            "output_tokens": whole_numbers(path, table, "GeneratedTokens"),
        }
    )
