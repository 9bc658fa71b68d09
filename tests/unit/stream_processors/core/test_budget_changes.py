"""Applying a file tells what changes, keeps every older version, and changes nothing the second time."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.budget_changes import (
    compare,
    describe,
    describe_change,
    describe_versions,
    histories_after,
    resumed,
    topped_up,
)
from stream_processors.core.budget_forms import from_record, to_record
from stream_processors.core.budget_history import Dated, History, current, in_force
from stream_processors.core.budgets import Budget, Grant, Notice, Resume

BUDGET = Budget("b", "*", "department", "*", "month", "cost", 150 * 10**12, (50, 100), 0)
files = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)).map(
    lambda found: [replace(BUDGET, id=name, limit=limit) for name, limit in found.items()]
)


def apply(histories: dict[str, History], wanted: list[Budget], prune: bool, at: int) -> dict[str, History]:
    after = histories | histories_after(histories, compare(histories, wanted, at), prune, at, lambda _: at, "mia")
    return {budget_id: history for budget_id, history in after.items() if history}


def test_a_new_a_changed_an_equal_and_a_missing_budget() -> None:
    old = apply({}, [replace(BUDGET, id=name) for name in "abc"], False, 1)
    wanted = [replace(BUDGET, id="a", limit=1), replace(BUDGET, id="b"), replace(BUDGET, id="d")]
    changes = compare(old, wanted, 2)
    assert [budget.id for budget in changes.added] == ["d"]
    assert [(before.limit, after.limit, after.version) for before, after in changes.changed] == [(150 * 10**12, 1, 2)]
    assert [budget.id for budget in changes.unchanged] == ["b"]
    assert [budget.id for budget in changes.missing] == ["c"]
    assert set(histories_after(old, changes, False, 2, lambda _: 2, "mia")) == {"a", "d"}
    assert histories_after(old, changes, True, 2, lambda _: 2, "mia")["c"] == ()


def test_older_versions_stay_in_the_history() -> None:
    histories = apply(apply({}, [BUDGET], False, 5), [replace(BUDGET, limit=7)], False, 9)
    assert [(dated.effective_at, dated.budget.version, dated.budget.limit) for dated in histories["b"]] == [
        (5, 1, 150 * 10**12),
        (9, 2, 7),
    ]


def test_a_top_up_is_a_version_and_stays_when_the_budget_is_applied_again() -> None:
    grant = Grant("acme", "sales", 5, 7)
    histories = {"b": topped_up(apply({}, [BUDGET], False, 5)["b"], grant)}
    newest = histories["b"][-1]
    assert (newest.effective_at, newest.budget.version, newest.budget.grants) == (7, 2, (grant,))
    assert compare(histories, [BUDGET], 8).unchanged == (newest.budget,)
    dearer = apply(histories, [replace(BUDGET, limit=9)], False, 8)["b"][-1].budget
    assert (dearer.limit, dearer.grants) == (9, (grant,))
    in_another_unit = apply(histories, [replace(BUDGET, unit="tokens")], False, 8)["b"][-1].budget
    assert in_another_unit.grants == ()


def test_of_each_scope_the_newest_resume_stays_and_applying_the_file_takes_none_back() -> None:
    first, other, second = (
        Resume("acme", "sales", "mia", 7),
        Resume("acme", "*", "mia", 8),
        Resume("acme", "sales", "tom", 9),
    )
    history = apply({}, [BUDGET], False, 5)["b"]
    for resume in (first, other, second):
        history = resumed(history, resume)
    assert [dated.budget.resumes for dated in history] == [(), (first,), (first, other), (other, second)]
    assert [dated.effective_at for dated in history] == [5, 7, 8, 9]
    assert compare({"b": history}, [BUDGET], 10).unchanged == (history[-1].budget,)
    dearer = apply({"b": history}, [replace(BUDGET, limit=9)], False, 10)["b"][-1].budget
    assert dearer.resumes == (other, second)


@given(st.lists(st.tuples(files, st.booleans()), max_size=5), files)
def test_applying_again_writes_nothing(earlier: list[tuple[list[Budget], bool]], wanted: list[Budget]) -> None:
    histories: dict[str, History] = {}
    for at, (budgets, prune) in enumerate(earlier):
        histories = apply(histories, budgets, prune, at)
    after = apply(histories, wanted, True, 100)
    assert {budget_id: history[-1].budget.limit for budget_id, history in after.items()} == {
        budget.id: budget.limit for budget in wanted
    }
    assert histories_after(after, compare(after, wanted, 101), True, 101, lambda _: 101, "mia") == {}


def plan(histories: dict[str, History], wanted: list[Budget], now: int, at: int) -> dict[str, History]:
    return histories | histories_after(
        histories, compare(histories, wanted, now, planning=True), False, now, lambda _: at, "mia"
    )


def states(history: History) -> list[tuple[int, int, int]]:
    return [(dated.effective_at, dated.budget.version, dated.budget.limit) for dated in history]


SMALL, LARGE, HUGE = (replace(BUDGET, unit="tokens", limit=limit) for limit in (500_000, 2_000_000, 10_000_000))


def test_a_change_can_be_planned_and_planned_otherwise() -> None:
    applied = apply({}, [SMALL], False, 5)
    larger = plan(applied, [LARGE], 6, 100)
    assert states(larger["b"]) == [(5, 1, 500_000), (100, 2, 2_000_000)]
    assert current(larger["b"], 99) == replace(SMALL, version=1)
    assert current(larger["b"], 100) == replace(LARGE, version=2)
    assert plan(larger, [LARGE], 7, 100) == larger  # planned already
    assert states(plan(larger, [HUGE], 7, 100)["b"]) == [(5, 1, 500_000), (100, 3, 10_000_000)]


def test_what_is_applied_now_replaces_what_is_planned() -> None:
    planned = plan(apply({}, [SMALL], False, 5), [LARGE], 6, 100)
    assert states(apply(planned, [LARGE], False, 7)["b"]) == [(5, 1, 500_000), (7, 3, 2_000_000)]
    kept = apply(planned, [SMALL], False, 7)["b"]
    assert states(kept) == [(5, 1, 500_000), (7, 3, 500_000)]
    assert describe_change(kept[0].budget, kept[1].budget) == ""
    assert states(apply(planned, [HUGE], False, 101)["b"])[1:] == [(100, 2, 2_000_000), (101, 3, 10_000_000)]


def test_a_budget_can_be_planned_before_there_is_one() -> None:
    planned = plan({}, [SMALL], 6, 100)
    assert states(planned["b"]) == [(100, 1, 500_000)]
    assert in_force(planned["b"], 99) is None
    assert states(plan(planned, [LARGE], 7, 100)["b"]) == [(100, 2, 2_000_000)]


def test_top_ups_and_resumes_take_effect_now_and_leave_what_is_planned() -> None:
    grant, resume = Grant("acme", "sales", 5, 7), Resume("acme", "sales", "mia", 8)
    in_dollars = replace(HUGE, unit="cost")
    for later in (LARGE, in_dollars):
        planned = plan(apply({}, [SMALL], False, 5), [later], 6, 100)["b"]
        history = resumed(topped_up(planned, grant), resume)
        assert states(history) == [(5, 1, 500_000), (7, 3, 500_000), (8, 5, 500_000), (100, 6, later.limit)]
        assert (history[-2].budget.grants, history[-2].budget.resumes) == ((grant,), (resume,))
        assert history[-1].budget.grants == ((grant,) if later.unit == "tokens" else ())
        assert history[-1].budget.resumes == (resume,)


def test_how_budgets_and_changes_read() -> None:
    assert describe(BUDGET) == "department:* month cost 150.00 at 50, 100 %"
    assert describe(replace(BUDGET, organization="acme", unit="tokens", limit=5)) == (
        "department:* of acme month tokens 5 at 50, 100 %"
    )
    dated = replace(BUDGET, valid_from=0, valid_until=86_400_000_000)
    assert describe(dated).endswith("at 50, 100 %, from 1970-01-01T00:00:00Z, until 1970-01-02T00:00:00Z")
    assert describe_change(BUDGET, replace(dated, valid_until=None)) == "valid_from ever since → 1970-01-01T00:00:00Z"
    changed = replace(BUDGET, limit=2 * 10**12, thresholds=(90,), version=2)
    assert describe_change(BUDGET, changed) == "limit 150.00 → 2.00; thresholds 50, 100 → 90"
    told = replace(BUDGET, notify=(Notice(50, "info", ("ops", "mail")), Notice(100, "caution")))
    assert describe_change(BUDGET, told) == "notify as usual → 50 as info to ops and mail, 100 as caution"


def test_who_did_what_and_when_is_kept_with_each_version() -> None:
    applied = {"b": (Dated(5, replace(BUDGET, version=1)),)}  # before authors were kept
    changes = compare(applied, [replace(BUDGET, limit=200 * 10**12)], 6, planning=True)
    planned = histories_after(applied, changes, False, 6, lambda _: 100, "ann")["b"]
    topped = topped_up(planned, Grant("acme", "sales", 5, 7, "mia"))
    history = resumed(topped, Resume("acme", "*", "tom", 8))
    assert [(dated.author, dated.changed_at, dated.effective_at) for dated in history] == [
        ("", None, 5),
        ("mia", 7, 7),
        ("tom", 8, 8),
        ("ann", 6, 100),
    ]
    assert from_record(to_record(history)) == history
    assert describe_versions(history) == [
        "applied",
        "topped up by 0.000000000005 cost for sales of acme",
        "resumed for * of acme",
        "limit 150.00 → 200.00",
    ]
