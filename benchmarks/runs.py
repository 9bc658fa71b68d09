"""One run of one system over a preloaded topic: how fast, with what, and whether it was right."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import changelog, check, figures, meter
from benchmarks.stacks import wait_until
from benchmarks.subject import Subject, at_work
from benchmarks.systems import TOLLBOOK, System
from benchmarks.template import Template

FIRST_ROW_S, STALL_S, POLL_S = 120.0, 60.0, 0.1
MORE_S = 5.0  # after a kill: how long nothing may change before all is taken for landed


def speed(system: System, made: Template, folder: Path) -> dict[str, Any]:
    """From the first row visible to the last row and window; then what was landed is checked.

    RuntimeError with the end of the system's log when nothing or not everything arrives.
    """
    with at_work(system, made, folder) as subject:
        events = made.job.events
        _holds_within(lambda: subject.has_begun() or subject.ended(), FIRST_ROW_S)
        before = meter.use(subject.pids())
        _await_rows(subject, 1, folder)
        began, first = subject.began_s(), subject.rows()
        counted = events - (0 if subject.database == "tollbook" else first)
        if not counted:
            raise RuntimeError(f"{system.name}: all {events} rows became visible at once: give more events")
        _await_rows(subject, events, folder)
        counted_at, in_windows = _all_counted(subject, events)
        seconds = counted_at - began
        after = meter.use(subject.pids())
        return {
            "events": events,
            "seconds": round(seconds, 3),
            "events_per_s": round(figures.rate(counted, seconds)),
            "cpu_us_per_event": meter.cpu_per_million(before, after, counted),
            "peak_mb": {name: meter.mb(use.peak_bytes) for name, use in after.items()},
            "bytes_per_event": subject.bytes_per_event(),
            "windows_in_time": in_windows,
            **_changelog(subject, events),
            **_rightness(subject, made),
        }


def _changelog(subject: Subject, events: int) -> dict[str, float]:
    """Of this system; the others have none, or one of another kind."""
    if subject.system.name != TOLLBOOK:
        return {}
    return changelog.written(subject.stack).per_event(changelog.NOTHING, events)


def survival(system: System, made: Template, folder: Path) -> dict[str, Any]:
    """`kill -9` while events are landed, of a topic in which some events are sent twice; what the ledger then holds."""
    with at_work(system, made, folder) as subject:
        _await_rows(subject, made.job.events // 4, folder)
        killed_at = subject.rows()
        subject.kill()
        # This system accounts for copies too; of the others some land them and some do not.
        wanted = made.job.events if subject.database == "tollbook" else len(set(made.ids))
        _holds_within(lambda: subject.rows() >= wanted, 2 * STALL_S)
        _quiet(subject)
        return {
            "events": made.job.events,
            "killed_at": killed_at,
            **asdict(check.ids(subject.ids(), made.ids)),
            **_rightness(subject, made),
        }


def _rightness(subject: Subject, made: Template) -> dict[str, Any]:
    rows = check.sums_of_rows(subject.client, subject.database)
    windows = check.sums_of_windows(subject.client, subject.database)
    expected = [totals.alerts(made.limit_pico) for totals in (made.once, made.as_sent)]
    sent = subject.alerts()
    return {
        "row_sums_wrong": check.wrong(rows, made.once, made.as_sent),
        "windows_wrong": check.wrong(windows, made.once, made.as_sent),
        "alerts_wrong": min(len(each ^ set(sent)) for each in expected),
        "alerts_repeated": len(sent) - len(set(sent)),
    }


def _await_rows(subject: Subject, count: int, folder: Path) -> None:
    """Until so many rows are visible; RuntimeError when no new one came for long."""
    seen, changed = 0, time.monotonic()
    while seen < count:
        now = subject.rows()
        if now != seen:
            seen, changed = now, time.monotonic()
        elif subject.ended() or time.monotonic() - changed > (STALL_S if seen else FIRST_ROW_S):
            end = (folder / "run/peer.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{subject.system.name}: {seen} of {count} rows, then nothing: {end}")
        time.sleep(POLL_S)


def _all_counted(subject: Subject, events: int) -> tuple[float, bool]:
    """When the windows had counted all, or last counted something, and whether it was all."""
    seen, changed = -1, time.time()
    while seen < events and time.time() - changed < STALL_S:
        now = subject.counted()
        if now != seen:
            seen, changed = now, time.time()
        time.sleep(POLL_S)
    return changed, seen >= events


def _quiet(subject: Subject) -> None:
    """Until neither rows nor windows have changed for a while."""
    seen, changed = (-1, -1), time.monotonic()
    while time.monotonic() - changed < MORE_S:
        now = (subject.rows(), hash(frozenset(check.sums_of_windows(subject.client, subject.database).items())))
        if now != seen:
            seen, changed = now, time.monotonic()
        time.sleep(POLL_S)


def _holds_within(holds: Callable[[], bool], timeout_s: float) -> bool:
    try:
        wait_until(holds, timeout_s, "")
    except TimeoutError:
        return False
    return True
