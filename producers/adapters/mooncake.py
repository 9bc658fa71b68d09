"""Mooncake: JSON lines with milliseconds since the start, lengths, and a hash for each 512-token block of the prompt.

A block's hash stands for the whole prefix up to it: the leading run of hashes seen before is cached input.
"""

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from producers.adapters.trace import TraceError, lines
from schemas.arrow import MICROS
from schemas.event import MAX_COUNT

DATED = False
BLOCK_TOKENS = 512
_COUNTS = ("timestamp", "input_length", "output_length")


def matches(first_line: str) -> bool:
    return first_line.startswith("{") and '"hash_ids"' in first_line


def read(path: Path) -> pa.Table:
    """The requests in the order of the file. Raises TraceError."""
    seen: set[int] = set()
    rows = lines(path, lambda number, line: _request(path, number, line, seen))
    return pa.table(
        {
            "occurred_at": pa.array([row["timestamp"] * 1000 for row in rows], pa.int64()).cast(MICROS),
            "input_tokens": pa.array([row["input_length"] for row in rows], pa.int64()),
            "output_tokens": pa.array([row["output_length"] for row in rows], pa.int64()),
            "cache_read_tokens": pa.array([row["cached"] for row in rows], pa.int64()),
        }
    )


def _request(path: Path, number: int, line: bytes, seen: set[int]) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise TraceError(path, number, "line", line, f"a JSON object ({error})") from error
    if not isinstance(row, dict):
        raise TraceError(path, number, "line", line, "a JSON object")
    for field in _COUNTS:
        if type(row.get(field)) is not int or not 0 <= row[field] <= MAX_COUNT:
            raise TraceError(path, number, field, row.get(field), f"a whole number, 0 to {MAX_COUNT}")
    blocks = row.get("hash_ids")
    if not isinstance(blocks, list) or any(type(block) is not int for block in blocks):
        raise TraceError(path, number, "hash_ids", blocks, "a list of whole numbers")
    return row | {"cached": min(_leading_run(blocks, seen) * BLOCK_TOKENS, row["input_length"])}


def _leading_run(blocks: list[int], seen: set[int]) -> int:
    """How many blocks at the start were seen before; all of them are seen now."""
    run = next((place for place, block in enumerate(blocks) if block not in seen), len(blocks))
    seen.update(blocks)
    return run
