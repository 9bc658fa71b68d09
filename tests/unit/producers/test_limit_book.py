"""The guard's decisions, with a fake clock: throttle, block new, pause, windows that end, reservations, staleness."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.limit_book import NEVER_HEARD_S, Era, Estimate, GuardedBudget, Limit, LimitBook, Verdict

SECOND = 1_000_000
NOW = 1_768_003_200 * SECOND
END = NOW + 3_600 * SECOND  # of the window that is running
BUDGET = GuardedBudget("b", "*", "user", "*", "tokens", 1_000, "block_new")
ADA = {"user": "ada"}


def book(action: str = "block_new", shards: int = 1, **fields: Any) -> LimitBook:
    """A book that has heard of one budget, each user 1 000 tokens an hour, a moment ago."""
    made = LimitBook(shards, **{"stale_after_s": 10.0, "fail_closed": True, "reserve_s": 600.0} | fields)
    made.put_budget("b", [Era(0, None, replace(BUDGET, action=action))])
    for shard in range(shards):
        made.heartbeat(shard, NOW, {})
    return made


def limit(used: int, decision: str = "allow", counted: Mapping[int, int] | None = None, **fields: Any) -> Limit:
    return Limit("b", "acme", "user", "ada", END, used, 1_000, decision, counted or {})._replace(**fields)


def check(made: LimitBook, tokens: int, now: int = NOW, continues: bool = False, user: str = "ada") -> Verdict:
    return made.check("acme", {"user": user}, Estimate(tokens), now, continues)


def test_a_member_without_a_record_gets_the_budget_s_limit() -> None:
    made = book()
    assert check(made, 1_000).decision == "allow"
    assert check(made, 1).decision == "block_new"
    assert check(made, 1_000, user="bob").allowed


def test_what_is_used_counts_and_exactly_the_limit_is_allowed() -> None:
    made = book()
    made.put_limit(0, limit(600))
    assert check(made, 401) == Verdict("block_new", False, 0.0, "b", 0.0, 0)
    assert check(made, 400).allowed
    assert check(made, 0).decision == "block_new"  # used >= limit: the action, whatever the estimate


def test_block_new_lets_tasks_that_have_begun_finish() -> None:
    made = book()
    made.put_limit(0, limit(1_000, "block_new"))
    assert not check(made, 10).allowed
    going_on = check(made, 10, continues=True)
    assert (going_on.decision, going_on.allowed) == ("block_new", True)


def test_pause_refuses_all_and_outlives_its_window_until_resumed() -> None:
    made = book("pause")
    made.put_limit(0, limit(1_000, "pause"))
    for now in (NOW, END, END + 30 * 86_400 * SECOND):
        made.heartbeat(0, now, {})
        refused = check(made, 1, now, continues=True)
        assert (refused.decision, refused.allowed) == ("pause", False)
    later = END + 30 * 86_400 * SECOND
    made.put_limit(0, limit(0, window_end=later + SECOND))  # resumed: told of the window that is running then
    assert check(made, 1_000, later).allowed
    assert check(made, 1, later).decision == "pause"


def test_a_window_that_was_resumed_goes_on_to_its_end_and_the_next_one_has_its_limit() -> None:
    made = book("pause")
    made.put_limit(0, limit(1_000, "pause"))
    assert not check(made, 1).allowed
    made.put_limit(0, limit(1_000, "alert"))
    made.heartbeat(0, END, {})
    going_on = check(made, 5_000, END - 1)
    assert going_on.allowed
    made.release(going_on.reservation)
    assert check(made, 1_000, END).allowed
    refused = check(made, 1, END)
    assert (refused.decision, refused.allowed) == ("pause", False)


@pytest.mark.parametrize(
    ("action", "over"), [("alert", "allow"), ("throttle", "allow"), ("block_new", "allow"), ("pause", "pause")]
)
def test_what_is_told_without_a_call_is_so_over_a_window_s_end_too(action: str, over: str) -> None:
    """As `GET /v1/limits` answers: a record counts as nothing used past its window's end, but a pause outlives it."""
    made = book(action)
    made.put_limit(0, limit(1_500, action))
    [before], [after] = (made.standings("acme", "user", "ada", now) for now in (END - 1, END))
    assert (before.used, before.decision) == (1_500, "allow" if action == "alert" else action)
    assert (after.used, after.limit, after.decision) == (0, 1_000, over)
    if action == "pause":
        made.put_limit(0, limit(0, window_end=END + 3_600 * SECOND))
        assert [each.decision for each in made.standings("acme", "user", "ada", END)] == ["allow"]


def test_throttle_returns_a_delay_that_grows_with_each_percent_over() -> None:
    made = book("throttle")
    made.put_limit(0, limit(1_000, "throttle"))
    first = check(made, 0)
    assert (first.decision, first.allowed, first.delay_s) == ("throttle", True, 1.0)
    assert check(made, 50).delay_s == 6.0
    assert check(made, 5_000).delay_s == 60.0


def test_a_soft_budget_never_holds_anybody_up() -> None:
    made = book("alert")
    made.put_limit(0, limit(5_000, "alert"))
    assert check(made, 10_000).decision == "allow"


def test_past_its_window_s_end_a_record_counts_as_nothing_used() -> None:
    made = book()
    made.put_limit(0, limit(1_000, "block_new"))
    assert not check(made, 1, END - 1).allowed
    made.heartbeat(0, END, {})
    assert check(made, 1_000, END).allowed
    assert not check(made, 1, END).allowed  # what was reserved in the new window counts


def test_a_grant_ends_with_its_window() -> None:
    made = book()
    made.put_limit(0, limit(1_500, limit=2_000))
    assert check(made, 500).allowed
    made.heartbeat(0, END, {})
    assert not check(made, 1_001, END).allowed


def test_the_strictest_of_several_budgets_wins() -> None:
    made = book()
    for budget in (
        GuardedBudget("org", "acme", "organization", "acme", "requests", 1, "pause"),
        GuardedBudget("other", "globex", "user", "*", "tokens", 1, "pause"),
    ):
        made.put_budget(budget.id, [Era(0, None, budget)])
    assert check(made, 10).allowed
    refused = check(made, 2_000)
    assert (refused.decision, refused.budget_id) == ("pause", "org")


def test_a_budget_that_is_removed_holds_nobody_up() -> None:
    made = book()
    made.put_limit(0, limit(1_000, "block_new"))
    assert not check(made, 1).allowed
    made.put_budget("b", [])
    assert check(made, 1).allowed


def test_a_raised_limit_acts_at_once() -> None:
    made = book()
    assert check(made, 1_000).allowed
    made.put_budget("b", [Era(0, NOW, BUDGET), Era(NOW, None, replace(BUDGET, limit=2_000))])
    assert check(made, 1_000).allowed
    assert not check(made, 1).allowed


def test_a_budget_holds_from_its_first_date_to_before_its_last_and_as_each_era_says() -> None:
    made = book()
    first, second, last = NOW + 10, NOW + 20, NOW + 30
    made.put_budget("b", [Era(first, second, BUDGET), Era(second, last, replace(BUDGET, limit=9, action="throttle"))])
    allowed = []
    for now in (first - 1, first, second - 1, second, last - 1, last):
        verdict = check(made, 1_001, now)
        made.release(verdict.reservation)
        allowed.append((verdict.decision, len(made.standings("acme", "user", "ada", now))))
    refused, delayed, free = ("block_new", 1), ("throttle", 1), ("allow", 0)
    assert allowed == [free, refused, refused, delayed, delayed, free]


def test_what_is_known_of_a_scope_is_kept_while_its_budget_is_out_of_force() -> None:
    made = book()
    made.put_limit(0, limit(1_000, "block_new"))
    made.put_budget("b", [Era(0, NOW + 1, BUDGET), Era(NOW + 2, None, BUDGET)])
    assert [check(made, 1, now).allowed for now in (NOW, NOW + 1, NOW + 2)] == [False, True, False]


# ---- reservations


def test_a_reservation_ends_when_its_event_is_counted() -> None:
    made = book()
    first = check(made, 1_000)
    made.sent(first.reservation, 2, 70)
    made.put_limit(0, limit(0, counted={2: 69}))
    assert not check(made, 1).allowed
    made.put_limit(0, limit(300, counted={2: 70}))
    assert made.reserved() == 0
    assert check(made, 700).allowed


def test_an_event_that_was_counted_before_its_acknowledgement_came_is_not_reserved_any_more() -> None:
    made = book()
    first = check(made, 1_000)
    made.put_limit(0, limit(300, counted={2: 70}))
    made.sent(first.reservation, 2, 70)
    assert made.reserved() == 0


def test_a_rejected_event_is_let_go_by_the_heartbeat_of_its_shard() -> None:
    made = book(shards=2)
    made.put_limit(1, limit(0))
    made.sent(check(made, 1_000).reservation, 0, 5)
    made.heartbeat(0, NOW, {0: 9})  # of another shard
    assert made.reserved() == 1
    made.heartbeat(1, NOW, {0: 5})
    assert made.reserved() == 0


def test_a_scope_without_a_record_waits_for_every_shard() -> None:
    made = book(shards=2)
    made.sent(check(made, 1_000).reservation, 0, 5)
    made.heartbeat(0, NOW, {0: 9})
    assert made.reserved() == 1
    made.heartbeat(1, NOW, {0: 5})
    assert made.reserved() == 0


def test_a_reservation_ends_by_time_when_nobody_tells_what_became_of_it() -> None:
    made = book()
    assert check(made, 1_000).allowed
    late = NOW + 600 * SECOND
    made.heartbeat(0, late, {})
    assert not check(made, 1, late - 1).allowed
    assert check(made, 1_000, late).allowed


def test_a_call_that_was_not_made_is_released_once() -> None:
    made = book()
    first = check(made, 1_000)
    made.release(first.reservation)
    made.release(first.reservation)
    made.sent(first.reservation, 0, 1)
    assert check(made, 1_000).allowed
    assert not check(made, 1).allowed


# ---- staleness


def test_a_call_that_names_its_organization_among_its_scopes_is_held_against_it_once() -> None:
    made = book()
    made.put_budget("b", [Era(0, None, replace(BUDGET, scope_kind="organization"))])
    verdict = made.check("acme", {"organization": "acme"}, Estimate(600), NOW, False)
    assert [each.reserved for each in made.standings("acme", "organization", "acme", NOW)] == [600]
    made.release(verdict.reservation)
    assert [each.reserved for each in made.standings("acme", "organization", "acme", NOW)] == [0]


def test_a_heartbeat_ends_every_reservation_that_it_counts_and_no_other() -> None:
    made = book()
    verdicts = [made.check("acme", {"user": f"user {number % 7}"}, Estimate(1), NOW, False) for number in range(2_000)]
    for offset, verdict in enumerate(verdicts):
        made.sent(verdict.reservation, 0, offset)
    made.heartbeat(0, NOW, {0: 1_499})
    assert made.reserved() == 500


def test_hard_limits_fail_closed_beyond_the_stated_staleness() -> None:
    made = book()
    edge = NOW + 10 * SECOND
    assert check(made, 1, edge).allowed
    refused = check(made, 1, edge + 1)
    assert (refused.decision, refused.allowed) == ("block_new", False)
    assert refused.staleness_s == pytest.approx(10.000001)
    made.heartbeat(0, edge, {})
    assert check(made, 1, edge + 1).allowed


@pytest.mark.parametrize(("action", "fail_closed"), [("throttle", True), ("alert", True), ("block_new", False)])
def test_soft_limits_and_guards_that_fail_open_go_on(action: str, fail_closed: bool) -> None:
    verdict = check(book(action, fail_closed=fail_closed), 1, NOW + 3_600 * SECOND)
    assert (verdict.allowed, verdict.staleness_s) == (True, 3_600.0)


def test_it_is_as_stale_as_the_shard_that_has_been_silent_longest() -> None:
    made = book(shards=3)
    made.heartbeat(1, NOW + 5 * SECOND, {})
    assert made.staleness_s(NOW + 5 * SECOND) == 5.0


def test_before_anything_was_heard_a_closed_guard_refuses_and_an_open_one_allows() -> None:
    for fail_closed in (True, False):
        made = LimitBook(2, 10.0, fail_closed, 600.0)
        made.heartbeat(0, NOW, {})
        verdict = check(made, 1)
        assert verdict.allowed is not fail_closed
        assert verdict.staleness_s == NEVER_HEARD_S


# ---- laws


@given(
    clients=st.integers(1, 200),
    guards=st.integers(1, 4),
    estimate=st.integers(1, 50),
    headroom=st.integers(0, 400),
    share=st.floats(0, 1),
)
def test_guards_overshoot_by_no_more_than_what_the_others_have_in_flight(
    clients: int, guards: int, estimate: int, headroom: int, share: float
) -> None:
    """Clients with one call each, at the limit, none of it counted yet: each guard knows its own calls alone."""
    books = [book() for _ in range(guards)]
    for each in books:
        each.put_limit(0, limit(1_000 - headroom))
    allowed = [check(books[client % guards], estimate).allowed for client in range(clients)]
    actual = int(estimate * share)
    used = 1_000 - headroom + sum(allowed) * actual
    assert used - 1_000 <= (guards - 1) * (headroom // estimate) * estimate
    assert used - 1_000 <= clients * estimate
    if guards == 1:
        assert used <= 1_000


@given(st.data())
def test_what_is_reserved_is_what_no_end_was_heard_of(data: st.DataObject) -> None:
    """Any order of calls, acknowledgements, limits, heartbeats and time: nothing leaks and nothing is freed twice."""
    made = book("alert", shards=2, reserve_s=50.0)
    now, open_calls, placed = NOW, {}, {}
    for offset in range(data.draw(st.integers(1, 30))):
        what = data.draw(st.sampled_from(["call", "sent", "release", "limit", "beat", "time"]))
        if what == "call":
            verdict = check(made, 7, now)
            open_calls[verdict.reservation] = now + 50 * SECOND
        elif what in ("sent", "release") and open_calls:
            number = data.draw(st.sampled_from(sorted(open_calls)))
            if what == "release":
                made.release(number)
                del open_calls[number]
                placed.pop(number, None)
            elif number not in placed:
                placed[number] = offset
                made.sent(number, 0, offset)
        elif what == "limit":
            made.put_limit(0, limit(0, counted={0: offset}))
            for number in [number for number, place in placed.items() if place <= offset]:
                del open_calls[number], placed[number]
        elif what == "time":
            now += data.draw(st.integers(1, 30)) * SECOND
            check(made, 0, now, user="bob")
            made.release(made._last_number)
            for number in [number for number, end in open_calls.items() if end <= now]:
                del open_calls[number]
                placed.pop(number, None)
        assert made.reserved() == len(open_calls)
        assert sum(cell.reserved for cell in made._cells.values()) == 7 * len(open_calls)
