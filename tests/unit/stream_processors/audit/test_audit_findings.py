"""The pure comparisons of the audit."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from stream_processors.audit.compare import SUMS, amount_of, amount_text, differences, parse_amount
from stream_processors.audit.conservation import Landed, Upstream, chain_differences, check_upstream, offset_differences
from stream_processors.audit.deep import judge_offset
from stream_processors.audit.model import DIFFERENT, LISTED, OK, UNDECIDED, Check, Difference, Report
from stream_processors.audit.stream import compare_alerts, compare_limits
from stream_processors.reference import Verdict

SUM = tuple(Decimal("0.5") if name == "cost_usd" else 10 for name in SUMS)
PLACE = {"src_epoch": "e", "src_partition": 2, "src_offset": 7}


def changed(measure: str, by: Any) -> tuple[Any, ...]:
    return tuple(value + by if name == measure else value for name, value in zip(SUMS, SUM, strict=True))


@pytest.mark.parametrize("measure", SUMS)
def test_each_measure_is_compared(measure: str) -> None:
    by = Decimal("0.000000000001") if measure == "cost_usd" else 1
    [difference] = differences("t", "s", "w", SUM, changed(measure, by))
    assert difference.measure == measure
    assert differences("t", "s", "w", SUM, SUM) == []


def test_dollars_are_shown_to_the_pico() -> None:
    [difference] = differences("t", "s", "w", SUM, changed("cost_usd", Decimal("0.000000000001")))
    assert (difference.expected, difference.found) == ("0.500000000000", "0.500000000001")


def test_what_counts_against_a_budget() -> None:
    assert amount_of("cost", SUM) == 5 * 10**11
    assert amount_of("tokens", SUM) == 20
    assert amount_of("requests", SUM) == 10
    with pytest.raises(ValueError, match="unit = 'euros'"):
        amount_of("euros", SUM)


@pytest.mark.parametrize(
    ("unit", "text", "amount"),
    [
        ("cost", "1.5", 15 * 10**11),
        ("cost", "1.0000000000001", None),
        ("cost", "nan", None),
        ("cost", "x", None),
        ("requests", "12", 12),
        ("requests", "1.5", None),
        ("tokens", "", None),
    ],
)
def test_an_amount_is_read_exactly(unit: str, text: str, amount: int | None) -> None:
    assert parse_amount(unit, text) == amount


def test_amounts_are_shown_like_the_records() -> None:
    assert amount_text("cost", -1) == "-0.000000000001"
    assert amount_text("tokens", -1) == "-1"


def block(**fields: int) -> dict[str, int]:
    sound = {"extends": 4, "previous_block": 4, "block_offset": 6, "first_offset": 10, "expected_first": 10}
    return sound | {"last_offset": 19, "counted": 10} | fields


@pytest.mark.parametrize(
    ("fields", "measure", "expected", "found"),
    [
        ({"extends": 5}, "extends", 4, 5),
        ({"first_offset": 11, "counted": 9}, "first_offset", 10, 11),
        ({"first_offset": 9, "counted": 11}, "first_offset", 10, 9),
        ({"counted": 9}, "offsets", 10, 9),
    ],
)
def test_a_hole_an_overlap_and_a_wrong_count(fields: dict[str, int], measure: str, expected: int, found: int) -> None:
    [difference] = chain_differences(1, block(**fields))
    assert (difference.measure, difference.expected, difference.found) == (measure, expected, found)
    assert chain_differences(1, block()) == []


def test_markers_and_gaps_are_offsets_without_an_entry() -> None:
    entries = {3: 0, 4: 0}
    assert offset_differences(1, "e", range(10), entries, without_entry=2) == []
    named = offset_differences(1, "e", range(10), entries | {5: 0, 6: 2, 11: 1}, without_entry=2)
    assert [(d.window, d.expected, d.found) for d in named] == [
        ("offset 3", 1, 0),
        ("offset 4", 1, 0),
        ("offset 5", 1, 0),
        ("offset 6", 1, 2),
        ("offset 11", 0, 1),
    ]


def landed(last_offset: int, epoch: str = "e") -> dict[int, Landed]:
    return {0: Landed(0, 5, epoch, last_offset, 6)}


def test_what_the_broker_has_beyond_is_ahead() -> None:
    check = check_upstream(landed(9), [Upstream(0, "e", 0, 15), Upstream(1, "e", 0, 3)])
    assert (check.ahead, check.differing, check.undecided) == (8, 0, "")


def test_blocks_cannot_be_beyond_the_log() -> None:
    [difference] = check_upstream(landed(9), [Upstream(0, "e", 0, 9)]).differences
    assert (difference.measure, difference.expected, difference.found) == ("last_offset", 8, 9)


def test_a_recreated_topic_is_another_one() -> None:
    check = check_upstream(landed(9, epoch="old"), [Upstream(0, "e", 0, 4)])
    assert (check.ahead, check.differing) == (4, 0)


def test_nothing_landed_while_there_are_events_cannot_be_decided() -> None:
    assert check_upstream({}, [Upstream(0, "e", 0, 4)]).undecided
    assert not check_upstream({}, [Upstream(0, "e", 0, 0)]).undecided


VALUES = {"organization": "acme", "department": "sales", "occurred_at": 5, "input_tokens": 3, "cost_pico": 7}
ROW = {"organization": "acme", "department": "sales", "occurred_at": 5, "input_tokens": 3} | {
    "cost_usd": Decimal("0.000000000007")
}


def verdict_on(verdict: Verdict | None, row: dict[str, Any] | None, reason: str | None) -> list[tuple[Any, ...]]:
    return [(d.table, d.measure, d.expected, d.found) for d in judge_offset(verdict, row, reason, PLACE)]


@pytest.mark.parametrize(
    ("verdict", "row", "reason", "named"),
    [
        (Verdict(VALUES), ROW, None, []),
        (Verdict(None, "decode"), None, "decode", []),
        (Verdict(VALUES, "duplicate"), None, "duplicate", []),
        (None, ROW, None, [("usage", "entry", None, "row")]),
        (None, None, "decode", [("usage", "entry", None, "reject: decode")]),
        (Verdict(VALUES), None, None, [("usage", "entry", "row", None)]),
        (Verdict(VALUES), None, "duplicate", [("rejected", "entry", "row", "reject: duplicate")]),
        (Verdict(VALUES, "duplicate"), ROW, None, [("usage", "entry", "reject: duplicate", "row")]),
        (Verdict(None, "schema"), None, "decode", [("rejected", "entry", "reject: schema", "reject: decode")]),
        (Verdict(VALUES), ROW | {"input_tokens": 4}, None, [("usage", "input_tokens", 3, 4)]),
        (Verdict(VALUES), ROW | {"cost_usd": None}, None, [("usage", "cost_pico", 7, None)]),
        (Verdict(VALUES), ROW | {"cost_usd": Decimal("0.000000000008")}, None, [("usage", "cost_pico", 7, 8)]),
        (Verdict(VALUES | {"cost_pico": None}), ROW, None, [("usage", "cost_pico", None, 7)]),
        (Verdict(VALUES), ROW | {"department": "hr"}, None, [("usage", "department", "sales", "hr")]),
        (Verdict(VALUES, "duplicate", doubtful=True), ROW, None, []),
        (Verdict(VALUES, "duplicate", doubtful=True), None, "duplicate", []),
        (Verdict(VALUES, "duplicate", doubtful=True), None, None, [("usage", "entry", "reject: duplicate", None)]),
    ],
)
def test_the_books_against_a_verdict(
    verdict: Verdict | None, row: dict[str, Any] | None, reason: str | None, named: list[tuple[Any, ...]]
) -> None:
    assert verdict_on(verdict, row, reason) == named


def test_a_difference_of_an_event_names_its_department() -> None:
    [difference] = judge_offset(Verdict(VALUES), None, None, PLACE)
    assert (difference.scope, difference.window) == ("acme department:sales", "offset 7")


def alert(**fields: Any) -> dict[str, Any]:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    return {
        "alert_id": "a",
        "type": "threshold",
        "state": "raised",
        "revision": 0,
        "budget_id": "b",
        "organization": "acme",
        "scope_kind": "department",
        "scope": "sales",
        "window_kind": "month",
        "window_start": start,
        "threshold": 50,
        "used": "1",
        "limit": "2",
        "unit": "cost",
    } | fields


def test_alerts_that_have_not_landed_are_ahead() -> None:
    check = compare_alerts([alert(), alert(alert_id="b")], [alert()])
    assert (check.checked, check.ahead, check.differing) == (2, 1, 0)


def test_an_alert_about_the_pipeline_may_be_said_again() -> None:
    said = alert(type="pipeline")
    check = compare_alerts([said, said], [said])
    assert (check.ahead, check.differing) == (0, 0)


@pytest.mark.parametrize(
    ("log", "table", "named"),
    [
        ([alert(), alert()], [alert()], ("usage.alerts", "times in the log", 1, 2)),
        ([], [alert()], ("alerts", "times in the log", 0, 1)),
        ([alert()], [alert(threshold=75)], ("alerts", "threshold", 50, 75)),
        ([alert()], [alert(used="1.1")], ("alerts", "used", "1", "1.1")),
    ],
)
def test_alerts_in_the_table_are_those_of_the_log(
    log: list[dict[str, Any]], table: list[dict[str, Any]], named: tuple[Any, ...]
) -> None:
    [difference] = compare_alerts(log, table).differences
    assert (difference.table, difference.measure, difference.expected, difference.found) == named
    assert difference.window == "month 2026-03-01T00:00:00+00:00"


def test_an_alert_beside_the_chain_may_be_told_again() -> None:
    again = [alert(type="unpriced"), alert(type="unpriced")]
    assert compare_alerts(again, again[:1]).differences == []


def test_a_difference_outweighs_what_is_undecided() -> None:
    difference = Difference("t", "s", "w", "m", 1, 2)
    different, undecided = Check("a", differing=1, differences=[difference]), Check("b", undecided="away")
    assert Report([Check("c")], []).exit_code == OK
    assert Report([Check("c"), undecided], []).exit_code == UNDECIDED
    assert Report([undecided, different], []).exit_code == DIFFERENT
    assert Report([undecided], []).to_json()["ok"] is False


def test_a_flood_of_differences_is_counted_and_cut() -> None:
    check = Check("a")
    check.add([Difference("t", "s", "w", "m", 1, 2)] * (LISTED + 5))
    assert (len(check.differences), check.differing) == (LISTED, LISTED + 5)


def test_an_alert_that_the_sink_has_passed_is_missing_and_a_later_one_is_ahead() -> None:
    check = compare_alerts([alert(), alert(alert_id="b")], [], due={("a", "raised")})
    [difference] = check.differences
    assert (difference.table, difference.measure, difference.expected, difference.found) == (
        "alerts",
        "times in the table",
        1,
        0,
    )
    assert check.ahead == 1


def limit(**changes: Any) -> dict[str, Any]:
    record = {
        "budget_id": "month", "organization": "acme", "scope_kind": "department", "scope": "sales",
        "window_kind": "month", "window_start": 0, "used": "5", "decision": "allow", "limit_offset": 7,
    }  # fmt: skip
    return record | changes


def test_limits_of_the_log_must_be_in_the_table() -> None:
    assert compare_limits([limit()], [limit()]).differences == []
    assert compare_limits([limit()], [limit(limit_offset=9, used="8")]).differences == []  # a later one
    cases = [
        ([], ("times in the table", 1, 0)),
        ([limit(limit_offset=6)], ("limit_offset", 7, 6)),
        ([limit(used="6")], ("used", "5", "6")),
    ]
    for table, found in cases:
        [difference] = compare_limits([limit()], table).differences
        assert (difference.measure, difference.expected, difference.found) == found
        assert (difference.table, difference.scope) == ("limits", "acme department:sales")
