"""Exactly the reached thresholds stand raised, each crossing has one id, and only the chain counts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import Calendar
from schemas.codec import avro_schema, decode, encode
from stream_processors.core.alert_subjects import instant, micros
from stream_processors.core.alerts import (
    DAY_US,
    NEVER,
    AlertBook,
    Change,
    alert_record,
    limit_key,
    limit_record,
)
from stream_processors.core.budgets import Budget, Grant, Notice, Resume, reached, threshold_amount

NOW = 1_795_000_000_000_000
WINDOW = Calendar().window("month", NOW)
BUDGET = Budget("dept", "*", "department", "*", "month", "tokens", 1000, (50, 75, 90, 95, 100), 1)
WHERE = ("acme", "department", "sales")
POSITIONS = [{"src_epoch": "e1", "src_partition": 0, "src_offset": 41, "block_offset": 7}]
USED = st.integers(-200, 3000)
THRESHOLDS = st.sets(st.integers(1, 300), min_size=1, max_size=6).map(lambda found: tuple(sorted(found)))


def append(book: AlertBook, change: Change, budget: Budget = BUDGET, now_us: int = NOW) -> dict[str, Any]:
    """As the agent does: write the record behind the head, then fold it."""
    record = alert_record(change, budget, POSITIONS, "event-1", now_us)
    assert book.fold(book.head + 1, book.head, record)
    return record


def advance(book: AlertBook, used: int, budget: Budget = BUDGET) -> list[dict[str, Any]]:
    return [append(book, change, budget) for change in book.due(budget, *WHERE, WINDOW, used)]


def run(totals: Sequence[int], budget: Budget = BUDGET) -> tuple[AlertBook, list[dict[str, Any]]]:
    book = AlertBook()
    return book, [record for used in totals for record in advance(book, used, budget)]


def test_jumping_several_thresholds_gives_each_once_in_order() -> None:
    _, records = run([400, 960, 960])
    assert [record["threshold"] for record in records] == [50, 75, 90, 95]
    assert {record["state"] for record in records} == {"raised"}
    assert len({record["alert_id"] for record in records}) == 4


def test_a_correction_retracts_and_the_next_crossing_is_a_new_revision() -> None:
    _, records = run([800, 600, 760, 0])
    assert [(record["state"], record["threshold"], record["revision"]) for record in records] == [
        ("raised", 50, 0),
        ("raised", 75, 0),
        ("retracted", 75, 0),
        ("raised", 75, 1),
        ("retracted", 75, 1),
        ("retracted", 50, 0),
    ]
    raised, retracted, again, _ = [record["alert_id"] for record in records if record["threshold"] == 75]
    assert raised == retracted != again


def test_a_raised_limit_takes_alerts_back_and_a_lowered_one_raises_them() -> None:
    book, _ = run([800])
    higher = replace(BUDGET, limit=10_000, version=2)
    assert [(change.state, change.threshold) for change in book.due(higher, *WHERE, WINDOW, 800)] == [
        ("retracted", 75),
        ("retracted", 50),
    ]
    lower = replace(BUDGET, limit=800, version=2)
    assert [change.threshold for change in book.due(lower, *WHERE, WINDOW, 800)] == [90, 95, 100]


def test_a_top_up_takes_alerts_back_and_they_are_raised_again_as_new_revisions() -> None:
    book, _ = run([800])
    grant = Grant("acme", "sales", 1000, WINDOW.start)
    granted = replace(BUDGET, grants=(grant,))
    assert [record["limit"] for record in advance(book, 800, granted)] == ["2000", "2000"]
    assert book.quiet_range(granted, *WHERE, WINDOW) == (-NEVER, 1000)
    again = advance(book, 1500, granted)
    assert [(record["state"], record["threshold"], record["revision"]) for record in again] == [
        ("raised", 50, 1),
        ("raised", 75, 1),
    ]
    limit = limit_record(granted, *WHERE, WINDOW, 1500, False, POSITIONS, NOW)
    assert (limit["limit"], limit["remaining"], limit["decision"]) == ("2000", "500", "allow")


@pytest.mark.parametrize(
    ("at", "until", "is_more"),
    [
        (WINDOW.start - 1, WINDOW.start, False),  # the windows before this one
        (WINDOW.start - 1, WINDOW.start + 1, True),
        (WINDOW.start - DAY_US * 90, WINDOW.end, True),
        (WINDOW.end - 1, WINDOW.end + DAY_US, True),
        (WINDOW.end, WINDOW.end + DAY_US, False),
    ],
)
def test_a_top_up_that_outlasts_its_window_counts_in_each_that_begins_before_its_end(
    at: int, until: int, is_more: bool
) -> None:
    granted = replace(BUDGET, grants=(Grant("acme", "sales", 1000, at, until=until),))
    limit = limit_record(granted, *WHERE, WINDOW, 1500, False, POSITIONS, NOW)
    assert limit["limit"] == ("2000" if is_more else "1000")


@pytest.mark.parametrize(
    "grant",
    [
        Grant("acme", "sales", 1000, WINDOW.start - 1),  # given in the window before
        Grant("acme", "sales", 1000, WINDOW.end),  # in the next
        Grant("acme", "legal", 1000, NOW),
        Grant("beta", "*", 1000, NOW),
    ],
)
def test_a_top_up_is_for_its_window_and_scope_alone(grant: Grant) -> None:
    book, _ = run([800])
    assert book.due(replace(BUDGET, grants=(grant,)), *WHERE, WINDOW, 800) == []


@given(st.lists(st.one_of(USED, st.just("top up")), max_size=10))
def test_with_top_ups_what_stands_is_what_is_reached_of_the_limit_as_it_is_then(steps: list[Any]) -> None:
    book, budget, used, records = AlertBook(), BUDGET, 0, []
    for step in steps:
        if step == "top up":
            budget = replace(budget, grants=(*budget.grants, Grant("*", "sales", 700, NOW)))
        else:
            used = step
        records += advance(book, used, budget)
    standing: set[int] = set()
    for record in records:
        (standing.add if record["state"] == "raised" else standing.discard)(record["threshold"])
    assert standing == set(reached(used, 1000 + 700 * len(budget.grants), BUDGET.thresholds))
    seen = [(record["alert_id"], record["state"]) for record in records]
    assert len(seen) == len(set(seen))


def test_top_ups_add_up() -> None:
    grants = (Grant("*", "*", 5, WINDOW.start), Grant("acme", "*", 7, NOW), Grant("*", "sales", 9, WINDOW.end - 1))
    assert replace(BUDGET, grants=grants).granted("acme", "sales", WINDOW.start, WINDOW.end).limit == 1000 + 21


def test_a_threshold_taken_from_the_budget_is_retracted() -> None:
    book, _ = run([800])
    changed = replace(BUDGET, thresholds=(60, 75))
    assert book.quiet_range(changed, *WHERE, WINDOW) == (NEVER, NEVER)
    assert [(change.state, change.threshold) for change in book.due(changed, *WHERE, WINDOW, 800)] == [
        ("retracted", 50),
        ("raised", 60),
    ]


def test_scopes_windows_and_budgets_do_not_mix() -> None:
    book, _ = run([2000])
    other_window = Calendar().window("month", WINDOW.end)
    assert book.due(BUDGET, *WHERE, WINDOW, 2000) == []
    assert len(book.due(BUDGET, "beta", "department", "sales", WINDOW, 2000)) == 5
    assert len(book.due(BUDGET, *WHERE, other_window, 2000)) == 5
    assert len(book.due(replace(BUDGET, id="other"), *WHERE, WINDOW, 2000)) == 5


@given(st.lists(USED, max_size=8), st.integers(1, 2000), THRESHOLDS)
def test_what_stands_is_what_is_reached_and_no_id_repeats(
    totals: list[int], limit: int, thresholds: tuple[int, ...]
) -> None:
    budget = replace(BUDGET, limit=limit, thresholds=thresholds)
    _, records = run(totals, budget)
    standing: set[int] = set()
    for record in records:
        (standing.add if record["state"] == "raised" else standing.discard)(record["threshold"])
    assert standing == set(reached(totals[-1] if totals else 0, limit, thresholds))
    seen = [(record["alert_id"], record["state"]) for record in records]
    assert len(seen) == len(set(seen))


@given(st.lists(st.integers(0, 400), max_size=10), st.randoms(use_true_random=False))
def test_without_corrections_the_order_of_usage_does_not_change_the_ids(amounts: list[int], random: Any) -> None:
    shuffled = random.sample(amounts, len(amounts))
    ids = []
    for order in (amounts, shuffled):
        totals = [sum(order[: count + 1]) for count in range(len(order))]
        ids.append({record["alert_id"] for record in run(totals)[1]})
    assert ids[0] == ids[1]


@given(st.lists(USED, max_size=5), USED, THRESHOLDS)
def test_nothing_is_due_exactly_within_the_quiet_range(
    totals: list[int], used: int, thresholds: tuple[int, ...]
) -> None:
    budget = replace(BUDGET, thresholds=thresholds)
    book, _ = run(totals, budget)
    low, high = book.quiet_range(budget, *WHERE, WINDOW)
    assert (low <= used < high) is (book.due(budget, *WHERE, WINDOW, used) == [])


def test_the_quiet_range_is_open_ended_before_the_first_and_after_the_last() -> None:
    assert AlertBook().quiet_range(BUDGET, *WHERE, WINDOW) == (-NEVER, threshold_amount(1000, 50))
    assert run([5000])[0].quiet_range(BUDGET, *WHERE, WINDOW) == (1000, NEVER)


@given(st.lists(USED, max_size=6))
def test_the_fold_ignores_what_does_not_extend_the_head(totals: list[int]) -> None:
    """Records of a writer that lost, repeats and records outside the chain leave no trace."""
    clean, records = run(totals)
    book = AlertBook()
    stray = alert_record(Change("raised", stray_subject(), WINDOW.end, 999, 0, 1), BUDGET, POSITIONS, "", NOW)
    offset = 0
    for record in records:
        assert not book.fold(offset, None, stray)
        head = book.head
        assert book.fold(offset + 1, head, record)
        assert not book.fold(offset + 1, head, record)
        assert not book.fold(offset + 2, head, stray)
        offset += 3
    assert len(book) == len(clean)
    for used in (0, 600, 5000):
        assert book.due(BUDGET, *WHERE, WINDOW, used) == clean.due(BUDGET, *WHERE, WINDOW, used)


def stray_subject() -> Any:
    change, *_ = AlertBook().due(BUDGET, "acme", "department", "stray", WINDOW, 5000)
    return change.subject


def test_the_chain_goes_on_after_retention_took_its_beginning() -> None:
    _, records = run([400, 1000])
    book = AlertBook(start=2)
    assert not book.fold(2, 2, records[2])
    assert book.fold(2, 1, records[2])
    assert not book.fold(3, 1, records[3])
    assert book.fold(3, 2, records[3])


def test_other_types_of_alert_move_the_head_and_nothing_else() -> None:
    book, records = run([600])
    assert book.fold(9, book.head, {**records[0], "type": "pipeline"})
    assert book.head == 9
    assert len(book) == 1


def test_forgetting_needs_a_closed_window_and_a_settled_alert() -> None:
    book = AlertBook()
    raised_late = WINDOW.end + 10 * DAY_US
    append(book, book.due(BUDGET, *WHERE, WINDOW, 600)[0], now_us=raised_late)
    book.forget({"month": WINDOW.end + DAY_US})
    assert len(book) == 1  # an import of old months goes on
    book.forget({"month": raised_late + 1})
    assert len(book) == 0


@pytest.mark.parametrize(
    ("now_us", "late", "deliver"),
    [
        (WINDOW.end - 1, False, True),
        (WINDOW.end, True, True),
        (WINDOW.end + DAY_US - 1, True, True),
        (WINDOW.end + DAY_US, True, False),
    ],
)
def test_late_and_deliver(now_us: int, late: bool, deliver: bool) -> None:
    change = AlertBook().due(BUDGET, *WHERE, WINDOW, 600)[0]
    record = alert_record(change, BUDGET, POSITIONS, "", now_us)
    assert (record["late"], record["deliver"]) == (late, deliver)


@pytest.mark.parametrize("unit", ["cost", "tokens"])
def test_records_survive_avro_unchanged(unit: str) -> None:
    budget = replace(BUDGET, unit=unit)
    change = AlertBook().due(budget, *WHERE, WINDOW, 1200)[-1]
    alert = alert_record(change, budget, POSITIONS, "event-9", NOW)
    limit = limit_record(budget, *WHERE, WINDOW, 1200, False, POSITIONS, NOW)
    for record, name in ((alert, "alert.v1"), (limit, "limit.v1")):
        assert set(record) == {field["name"] for field in avro_schema(name)["fields"]}
        assert decode(encode(record, name, 7), avro_schema(name)) == record


def test_a_limit_says_what_remains() -> None:
    budget = replace(BUDGET, unit="cost", limit=150 * 10**12)
    record = limit_record(budget, *WHERE, WINDOW, 200 * 10**12 + 1, False, POSITIONS, NOW)
    assert record["used"] == "200.000000000001"
    assert record["limit"] == "150.00"
    assert record["remaining"] == "-50.000000000001"
    assert record["decision"] == "alert"
    blocking = replace(budget, action="block_new")
    records = [limit_record(blocking, *WHERE, WINDOW, used, False, POSITIONS, NOW) for used in (0, budget.limit)]
    assert [record["decision"] for record in records] == ["allow", "block_new"]
    assert micros(record["as_of"]) == NOW


def test_the_sentence_names_scope_share_and_amounts() -> None:
    change = AlertBook().due(BUDGET, *WHERE, WINDOW, 600)[0]
    detail = alert_record(change, BUDGET, POSITIONS, "", NOW)["detail"]
    assert detail == (
        "department sales of acme reached 50 % of 1,000 tokens for the month from 2026-11-01 00:00 UTC: 600 used"
    )


def test_an_organization_is_named_once_and_large_amounts_are_grouped() -> None:
    budget = replace(BUDGET, scope_kind="organization", unit="cost", limit=2_000_000 * 10**12)
    change = AlertBook().due(budget, "acme", "organization", "acme", WINDOW, 1_234_567_500_000_000_000)[0]
    assert alert_record(change, budget, POSITIONS, "", NOW)["detail"] == (
        "organization acme reached 50 % of 2,000,000.00 US dollars for the month from 2026-11-01 00:00 UTC: "
        "1,234,567.50 used"
    )


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("alert", "1,000 used"),
        ("throttle", "1,000 used; calls are delayed"),
        ("block_new", "1,000 used; nothing new may begin"),
        ("pause", "1,000 used; all calls are refused until it is resumed (tollbook budgets resume dept)"),
    ],
)
def test_the_alert_at_the_limit_says_what_is_done(action: str, said: str) -> None:
    budget = replace(BUDGET, action=action)
    due = AlertBook().due(budget, *WHERE, WINDOW, 1000)
    records = [alert_record(change, budget, POSITIONS, "", NOW) for change in due]
    assert [record["action"] for record in records] == ["", "", "", "", "" if action == "alert" else action]
    assert records[-1]["detail"].endswith(said)
    assert records[-2]["detail"].endswith("1,000 used")
    late = alert_record(due[-1], budget, POSITIONS, "", WINDOW.end)
    assert late["detail"].endswith("1,000 used")  # nobody is held up by a window that is over


PAUSING = replace(BUDGET, action="pause")


def test_a_pause_outlives_its_window_and_what_is_remembered_of_it_until_it_is_resumed() -> None:
    book, _ = run([400, 1000], PAUSING)
    book.forget({"month": WINDOW.end + 1000 * DAY_US})
    assert len(book) == 0
    assert book.paused(PAUSING, "acme", "sales")
    assert not book.paused(PAUSING, "acme", "legal")
    assert not book.paused(BUDGET, "acme", "sales")
    for at, paused in ((NOW - 1, True), (NOW, False), (NOW + 400 * DAY_US, False)):
        assert book.paused(replace(PAUSING, resumes=(Resume("acme", "sales", "mia", at),)), "acme", "sales") is paused


def test_a_window_that_is_resumed_goes_on_and_the_next_one_pauses_anew() -> None:
    book, _ = run([1000], PAUSING)
    resumed = replace(PAUSING, resumes=(Resume("*", "*", "mia", NOW + 5),))
    assert advance(book, 5000, resumed) == []
    assert not book.paused(resumed, "acme", "sales")
    following = Calendar().window("month", WINDOW.end)
    for change in book.due(resumed, *WHERE, following, 1000):
        append(book, change, resumed, following.start + 9)
    assert book.paused(resumed, "acme", "sales")


def test_usage_that_is_under_the_limit_again_is_not_paused_and_pauses_again_when_it_is_not() -> None:
    book, _ = run([1000, 900], PAUSING)
    assert not book.paused(PAUSING, "acme", "sales")
    resumed = replace(PAUSING, resumes=(Resume("acme", "sales", "mia", NOW - 1),))
    assert [record["revision"] for record in advance(book, 1000, resumed)] == [1, 1]  # of 95 and 100
    assert book.paused(resumed, "acme", "sales")


def test_a_window_that_was_over_pauses_nobody() -> None:
    book = AlertBook()
    for change in book.due(PAUSING, *WHERE, WINDOW, 1000):
        append(book, change, PAUSING, WINDOW.end)
    assert not book.paused(PAUSING, "acme", "sales")
    assert book.due(PAUSING, *WHERE, WINDOW, 1000) == []


def test_a_budget_that_is_made_to_pause_pauses_who_has_reached_its_limit_already() -> None:
    book, _ = run([1000])
    assert book.quiet_range(PAUSING, *WHERE, WINDOW) == (NEVER, NEVER)
    again = advance(book, 1000, PAUSING)
    assert [(record["state"], record["threshold"], record["revision"]) for record in again] == [
        ("retracted", 100, 0),
        ("raised", 100, 1),
    ]
    assert book.paused(PAUSING, "acme", "sales")


@given(st.lists(st.one_of(USED, st.sampled_from(["alert", "pause"])), max_size=12))
def test_after_each_turn_nothing_more_is_due_and_who_is_at_a_pausing_limit_is_paused(steps: list[Any]) -> None:
    book, budget, used = AlertBook(), BUDGET, 0
    for step in steps:
        if isinstance(step, str):
            budget = replace(budget, action=step)
        else:
            used = step
        advance(book, used, budget)
        assert book.due(budget, *WHERE, WINDOW, used) == []
        low, high = book.quiet_range(budget, *WHERE, WINDOW)
        assert low <= used < high
        assert book.paused(budget, "acme", "sales") is (budget.action == "pause" and used >= 1000)


def test_an_alert_says_how_serious_its_budget_takes_it_and_whom_to_tell() -> None:
    budget = replace(BUDGET, notify=(Notice(75, "critical", ("pager",)),))
    records = [alert_record(change, budget, [], "", NOW) for change in AlertBook().due(budget, *WHERE, WINDOW, 750)]
    assert [(each["threshold"], each["severity"], each["recipients"]) for each in records] == [
        (50, "info", []),
        (75, "critical", ["pager"]),
    ]


def test_the_key_of_a_limit() -> None:
    assert limit_key("b", "acme", "department", "r&d é") == '["b","acme","department","r&d é"]'.encode()


@given(st.integers(-(10**15), 10**17))
def test_instants_are_exact_to_the_microsecond(at: int) -> None:
    assert micros(instant(at)) == at
