"""The rollups, and everything else that has no positions, against the rows while nothing is being inserted."""

import time
from collections.abc import Callable

from stream_processors.audit.compare import differences, window_text
from stream_processors.audit.model import LISTED, Check, Difference
from stream_processors.audit.queries import Ledger

ATTEMPTS = 8
PAUSE_S = 0.4

#: The same fault in two readings, though rows came in between: where it is, and by how much it is off.
Fault = tuple[str, str, str, str]


def when_settled(ledger: Ledger, run: Callable[[], Check], sleep: Callable[[float], None] = time.sleep) -> Check:
    """Runs a comparison until it can be believed.

    While an insert is under way, a table and its view differ for a moment. So a difference counts when it was read
    between two equal sink watermarks, or when it is the same in every one of the attempts.
    """
    kept: set[Fault] | None = None
    for _ in range(ATTEMPTS):
        before = ledger.ask("settled")
        check = run()
        if not check.differing:
            return check
        sleep(PAUSE_S)  # an insert whose view was there before its rows is seen now
        if _is_quiet(before) and before == ledger.ask("settled"):
            return check
        faults = {_fault(difference) for difference in check.differences}
        kept = faults if kept is None else kept & faults
    check.differences = [difference for difference in check.differences if _fault(difference) in (kept or ())]
    check.differing = len(check.differences)
    if not check.differing:
        check.undecided = "the ledger was being written all the time; no two equal watermarks"
    return check


def _is_quiet(watermarks: list[dict[str, int]]) -> bool:
    return all(row["rows_until"] <= row["blocks_until"] for row in watermarks)


def _fault(difference: Difference) -> Fault:
    return difference.table, difference.scope, difference.window, f"{difference.measure} {_off_by(difference)}"


def _off_by(difference: Difference) -> str:
    expected, found = difference.expected, difference.found
    if isinstance(expected, int) and isinstance(found, int):
        return str(found - expected)
    if isinstance(expected, str) and isinstance(found, str):
        try:
            return str(_units(found) - _units(expected))
        except ValueError:
            return f"{expected} {found}"
    return f"{expected} {found}"


def _units(text: str) -> int:
    whole, _, decimals = text.partition(".")
    return int(whole + decimals.ljust(12, "0"))


def check_rollup(ledger: Ledger, table: str, window_kind: str) -> Check:
    """One rollup; `checked` counts buckets."""
    found = ledger.ask_one(table, {"limit": LISTED})
    check = Check(table, checked=found["checked"])
    for start, organization, scope, partition, expected, in_rollup in found["buckets"]:
        where = " ".join((organization, *(f"{kind}:{name}" for kind, name in scope)))
        place = {"src_partition": partition}
        check.add(differences(table, where, window_text(window_kind, start), expected, in_rollup, place))
    check.differing = max(check.differing, found["differing"])
    return check


def check_rollups(ledger: Ledger) -> list[Check]:
    """Both rollups."""
    return [
        when_settled(ledger, lambda: check_rollup(ledger, "usage_hourly", "hour")),
        when_settled(ledger, lambda: check_rollup(ledger, "usage_daily", "day")),
    ]
