"""What alerts and limits say is used, against the rows at the positions each of them names."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from schemas.calendar import BUDGET_PERIODS
from stream_processors.audit.calendar_sql import window_start
from stream_processors.audit.compare import SUMS, amount_of, amount_text, parse_amount, scope_text, window_text
from stream_processors.audit.conservation import Landed
from stream_processors.audit.model import Check, Difference, Value
from stream_processors.audit.queries import Ledger, sql_text
from stream_processors.core.selection import Selection, condition_sql, conditions_text, parse_selection

NOTHING = (0,) * len(SUMS)


def check_amounts(ledger: Ledger, table: str, landed: Mapping[int, Landed]) -> Check:
    """Every record of `alerts` or `limits` whose positions have landed."""
    check = Check(table)
    items = sorted(ledger.ask(table), key=lambda item: str(item["key"]))
    groups = groupby(sorted(items, key=_group), _group)
    for (window_kind, scope_kind, conditions), members in groups:
        try:
            selection = parse_selection(f"{scope_kind}[{conditions}]" if conditions else scope_kind)
        except ValueError as error:
            check.undecided = f"{table}: {error}"
            continue
        if window_kind not in BUDGET_PERIODS:
            check.undecided = f"{table}: a record of {window_kind}, which no window is"
            continue
        sums = _sums(ledger, table, window_kind, selection)
        for item in members:
            compare_one(check, table, item, sums.get(item["key"], NOTHING), landed)
    return check


def _group(item: Mapping[str, Any]) -> tuple[str, str, str]:
    return item["window_kind"], item["scope_kind"], item["conditions"]


def _sums(ledger: Ledger, table: str, window_kind: str, selection: Selection) -> dict[str, Any]:
    parameters = {
        "window_kind": window_kind,
        "scope_kind": selection.scope_kind,
        "conditions": conditions_text(selection.conditions),
    }
    start = window_start(window_kind, ledger.calendar)
    items = f"({sql_text(table)})"
    rows = ledger.ask(
        "amounts",
        parameters,
        scope_column=selection.scope_kind,
        window_start_of_row=start,
        items=items,
        condition=condition_sql(selection.conditions),
    )
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
    estimated, unpriced = parse_amount(unit, item["estimated"]), int(sums[SUMS.index("unpriced_requests")])
    if estimated is None or (estimated and (not unpriced or estimated % unpriced)):
        wanted = f"the fallback of a request, {unpriced} times"
        check.add([_difference(table, item, f"estimated ({unit})", wanted, item["estimated"])])
    expected += estimated or 0
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
