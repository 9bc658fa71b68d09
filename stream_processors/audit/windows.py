"""Window entries against the rows, at positions that both sides have counted."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.arrow import SCOPE_KINDS, WINDOW_KINDS
from stream_processors.audit.compare import differences, instant_text, scope_text, window_text
from stream_processors.audit.conservation import Landed
from stream_processors.audit.model import LISTED, Check, Difference
from stream_processors.audit.queries import Ledger
from stream_processors.core.selection import STANDING, Selection, condition_sql, parse_selection

#: From the start of a window this far, in seconds, lies within the next one, on days of 23 and of 25 hours too.
STRIDE_S = {"hour": 5_400, "day": 108_000, "month": 40 * 86_400}


def read_counted(ledger: Ledger, shards: int) -> dict[int, int]:
    """By source partition, the block up to which every one of `shards` has landed its windows."""
    return {row["src_partition"]: row["block_offset"] for row in ledger.ask("counted") if row["shards"] >= shards}


def complete_until(landed: Mapping[int, Landed], counted: Mapping[int, int]) -> dict[int, int]:
    """By landed partition, the block at which windows and rows are both complete (-1: none)."""
    return {partition: min(part.block_offset, counted.get(partition, -1)) for partition, part in landed.items()}


def check_windows(ledger: Ledger, landed: Mapping[int, Landed], counted: Mapping[int, int]) -> Check:
    """Every window of every kind, also those that only the rows know; `checked` counts windows and partitions."""
    check = Check("windows")
    complete = complete_until(landed, counted)
    for window_kind in WINDOW_KINDS:
        for selection in STANDING:
            _check_kind(check, ledger, window_kind, selection, landed, complete)
    # A track ends with its budget, and its entries then stand still: each is held against the rows at its own position.
    for track in ledger.ask("tracks", {"standing": list(SCOPE_KINDS)}):
        selection = parse_selection(track["scope_kind"])
        _check_kind(check, ledger, track["window_kind"], selection, landed, dict.fromkeys(landed, -1))
    unknown = sorted(partition for partition, block in complete.items() if block < 0)
    if unknown:
        check.undecided = f"of partitions {unknown} no watermark of the windows has landed"
    return check


def _check_kind(
    check: Check,
    ledger: Ledger,
    window_kind: str,
    selection: Selection,
    landed: Mapping[int, Landed],
    complete: Mapping[int, int],
) -> None:
    parameters = {
        "window_kind": window_kind,
        "scope_kind": selection.text,
        "stride_s": STRIDE_S[window_kind],
        "partitions": list(landed),
        "landed": [part.block_offset for part in landed.values()],
        "complete": [complete[partition] for partition in landed],
        "limit": LISTED,
    }
    condition = condition_sql(selection.conditions)
    found = ledger.ask_one("windows", parameters, scope_column=selection.scope_kind, condition=condition)
    check.checked += found["checked"]
    check.ahead += found["ahead"]
    named = [d for row in found["windows"] for d in window_differences(window_kind, selection.text, row)]
    check.add(named, max(found["differing"], len(named)))


def window_differences(window_kind: str, scope_kind: str, row: Sequence[Any]) -> list[Difference]:
    """What differs of one window and source partition."""
    start, organization, scope, partition, position, expected, found, wrong_end, expected_end, found_end = row
    where = scope_text(organization, scope_kind, scope)
    window = window_text(window_kind, start)
    place = {"src_partition": partition, "block_offset": position}
    result = differences("windows", where, window, expected, found, place)
    if wrong_end:
        ends = (instant_text(expected_end), instant_text(found_end))
        result.append(Difference("windows", where, window, "window_end", *ends, place))
    return result
