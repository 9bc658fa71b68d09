"""Readers of usage traces, one module a format. Each has `matches`, `read` and `DATED` (its times have a date)."""

from pathlib import Path
from typing import Protocol

import pyarrow as pa

from producers.adapters import azure, burstgpt, jsonl, mooncake


class Adapter(Protocol):
    """How a format is read."""

    DATED: bool

    def matches(self, first_line: str) -> bool: ...

    def read(self, path: Path) -> pa.Table: ...


FORMATS: dict[str, Adapter] = {"azure": azure, "burstgpt": burstgpt, "mooncake": mooncake, "jsonl": jsonl}


def guess_format(path: Path) -> str:
    """The format of a file from its first line; raises ValueError when it is none of ours."""
    with path.open("rb") as file:
        first_line = file.readline().decode("utf-8", "replace").strip()
    for name, adapter in FORMATS.items():
        if adapter.matches(first_line):
            return name
    raise ValueError(f"{path}: line 1: {first_line[:100]!r}: not the start of any of {', '.join(FORMATS)}")
