"""How long it takes to re-rate many rows: from the command to a passing audit.

A discount on everything, so that every priced row differs. Rows without a price stay without one, and have no entry.
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import meter
from benchmarks.job import ORGANIZATION
from benchmarks.preload import preload
from benchmarks.stacks import Stack
from stream_processors import warehouse

PRICES = f"""
[[price]]
id = "tenth-off"
organization = "{ORGANIZATION}"
service_tier = "*"

[[price.range]]
from = 2020-01-01T00:00:00Z
discount_percent = 10
"""
SPAN = "SELECT toUnixTimestamp(min(occurred_at)) AS first, toUnixTimestamp(max(occurred_at)) AS last FROM usage"


def measure(stack: Stack, rows: int, folder: Path, seed: int) -> dict[str, Any]:
    """Seconds of each step, and CPU of each process a row; RuntimeError with its output when a step fails."""
    preload(stack, 0, rows, seed)
    prices = folder / "prices.toml"
    prices.write_text(PRICES)
    stack.run("prices", "apply", str(prices))
    [span] = warehouse.ask(stack.settings, SPAN)
    start, end = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in (span["first"], span["last"] + 1))
    before, began = meter.use(stack.pids()), time.monotonic()
    told = json.loads(stack.run("rerate", "--from", start, "--to", end, "--author", "benchmark", "--json"))
    rerated = time.monotonic()
    stack.run("wait", "--timeout", "600")
    landed = time.monotonic()
    stack.run("audit")
    audited = time.monotonic()
    return {
        "rows": rows,
        "entries": told["entries"],
        "rerate_s": round(rerated - began, 1),
        "wait_s": round(landed - rerated, 1),
        "audit_s": round(audited - landed, 1),
        "seconds": round(audited - began, 1),
        "cpu_us_per_row": meter.cpu_per_million(before, meter.use(stack.pids()), rows),
    }
