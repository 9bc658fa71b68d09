"""What asking the guard costs, and how old its answers are under traffic.

A check is timed in batches of one call after the other, each released at once, by one thread, with the shipped budgets
and a user that they cover thrice; reading the clock and releasing are not taken off.
"""

import time
from typing import Any

from benchmarks.figures import percentile, rate
from benchmarks.job import ORGANIZATION
from benchmarks.stacks import Stack, wait_until
from benchmarks.traffic import events_appended, traffic
from local.config import REPOSITORY
from producers.guard import Guard
from producers.limit_book import Estimate

BATCH, BATCHES = 1_000, 200
SAMPLE_S = 0.01
HEARD_S = 60.0
SCOPES = {"organization": ORGANIZATION, "department": "department-01", "user": "user-0001"}


def measure(stack: Stack, events_per_s: int, seconds: float, seed: int) -> dict[str, Any]:
    """Microseconds a check with nothing else going on, then the guard's staleness while events flow."""
    stack.run("budgets", "apply", str(REPOSITORY / "budgets.toml"))
    with Guard(stack.settings, fail_closed=True) as guard:
        wait_until(lambda: guard.staleness_s() < HEARD_S, HEARD_S, "word of every shard")
        checks_us = [_check_us(guard) for _ in range(BATCHES)]
        with traffic(stack, events_per_s, seconds, seed):
            before, began = events_appended(stack.settings), time.monotonic()
            stale_ms = _staleness_ms(guard, began + seconds)
            flowed = rate(events_appended(stack.settings) - before, time.monotonic() - began)
    return {
        "rate": events_per_s,
        "rate_reached": round(flowed),
        **{f"check_p{percent}_us": round(percentile(checks_us, percent), 2) for percent in (50, 99)},
        **{f"staleness_p{percent}_ms": round(percentile(stale_ms, percent), 1) for percent in (50, 99)},
    }


def _check_us(guard: Guard) -> float:
    """Of one check, by the time that a batch of them takes."""
    estimate = Estimate(1_200, 4_096, 1_000_000_000)
    began = time.perf_counter()
    for _ in range(BATCH):
        guard.release(guard.check(ORGANIZATION, SCOPES, estimate))
    return (time.perf_counter() - began) / BATCH * 1_000_000


def _staleness_ms(guard: Guard, until: float) -> list[float]:
    found = []
    while time.monotonic() < until:
        found.append(guard.staleness_s() * 1_000)
        time.sleep(SAMPLE_S)
    return found
