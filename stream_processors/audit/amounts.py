"""What alerts and limits say is used, against the rows at the positions each of them names."""

from collections.abc import Mapping
from typing import Any

from schemas.arrow import SCOPE_KINDS
from schemas.calendar import PERIODS
from stream_processors.audit.calendar_sql import window_start
from stream_processors.audit.compare import SUMS, amount_of, amount_text, parse_amount, scope_text, window_text
from stream_processors.audit.conservation import Landed
from stream_processors.audit.model import Check, Difference, Value
from stream_processors.audit.queries import Ledger, sql_text

NOTHING = (0,) * len(SUMS)


def check_amounts(ledger: Ledger, table: str, landed: Mapping[int, Landed]) -> Check:
    """Every record of `alerts` or `limits` whose positions have landed."""
    check = Check(table)
    items = sorted(ledger.ask(table), key=lambda item: str(item["key"]))
    kinds = sorted({(item["window_kind"], item["scope_kind"]) for item in items})
    for window_kind, scope_kind in kinds:
        if window_kind not in PERIODS or scope_kind not in SCOPE_KINDS:
            check.undecided = f"{table}: a record of {window_kind} and {scope_kind}, which no window has"
            continue
        sums = _sums(ledger, table, window_kind, scope_kind)
        for item in items:
            if (item["window_kind"], item["scope_kind"]) == (window_kind, scope_kind):
                compare_one(check, table, item, sums.get(item["key"], NOTHING), landed)
    return check


def _sums(ledger: Ledger, table: str, window_kind: str, scope_kind: str) -> dict[str, Any]:
    parameters = {"window_kind": window_kind, "scope_kind": scope_kind}
    start = window_start(window_kind, ledger.calendar)
    items = f"({sql_text(table)})"
    rows = ledger.ask("amounts", parameters, scope_column=scope_kind, window_start_of_row=start, items=items)
    return {row["key"]: row["sums"] for row in rows}


def compare_one(check: Check, table: str, item: Mapping[str, Any], sums: Any, landed: Mapping[int, Landed]) -> None:
    """One record against the sums at its positions. Pure."""
    if _is_ahead(item, landed):
        check.ahead += 1
        return
    check.checked += 1
    unit = item["unit"]
    try:
        expected = amount_of(unit, sums)
    except ValueError as error:
        check.add([_difference(table, item, "unit", "a unit", str(error))])
        return
    if parse_amount(unit, item["used"]) != expected:
        check.add([_difference(table, item, f"used ({unit})", amount_text(unit, expected), item["used"])])
    limit = parse_amount(unit, item["limit"])
    if limit is None:
        check.add([_difference(table, item, f"limit ({unit})", "an amount", item["limit"])])
    elif item["remaining"] and parse_amount(unit, item["remaining"]) != limit - expected:
        left = amount_text(unit, limit - expected)
        check.add([_difference(table, item, f"remaining ({unit})", left, item["remaining"])])


def _is_ahead(item: Mapping[str, Any], landed: Mapping[int, Landed]) -> bool:
    ends = {partition: part.block_offset for partition, part in landed.items()}
    return any(position["block_offset"] > ends.get(position["src_partition"], -1) for position in item["positions"])


def _difference(table: str, item: Mapping[str, Any], measure: str, expected: Value, found: Value) -> Difference:
    places = ", ".join(f"{p['src_partition']}:{p['block_offset']}" for p in item["positions"])
    return Difference(
        table,
        scope_text(item["organization"], item["scope_kind"], item["scope"]),
        window_text(item["window_kind"], item["start"]),
        measure,
        expected,
        found,
        {"key": item["key"], "block_offsets": places},
    )
