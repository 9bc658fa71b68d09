"""Applying a file tells what changes, keeps every older version, and changes nothing the second time."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.budget_changes import compare, describe, describe_change, histories_after, topped_up
from stream_processors.core.budget_forms import History
from stream_processors.core.budgets import Budget, Grant, Notice

BUDGET = Budget("b", "*", "department", "*", "month", "cost", 150 * 10**12, (50, 100), 0)
files = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)).map(
    lambda found: [replace(BUDGET, id=name, limit=limit) for name, limit in found.items()]
)


def apply(histories: dict[str, History], wanted: list[Budget], prune: bool, at: int) -> dict[str, History]:
    after = histories | histories_after(histories, compare(histories, wanted), prune, at)
    return {budget_id: history for budget_id, history in after.items() if history}


def test_a_new_a_changed_an_equal_and_a_missing_budget() -> None:
    old = apply({}, [replace(BUDGET, id=name) for name in "abc"], False, 1)
    wanted = [replace(BUDGET, id="a", limit=1), replace(BUDGET, id="b"), replace(BUDGET, id="d")]
    changes = compare(old, wanted)
    assert [budget.id for budget in changes.added] == ["d"]
    assert [(before.limit, after.limit, after.version) for before, after in changes.changed] == [(150 * 10**12, 1, 2)]
    assert [budget.id for budget in changes.unchanged] == ["b"]
    assert [budget.id for budget in changes.missing] == ["c"]
    assert set(histories_after(old, changes, False, 2)) == {"a", "d"}
    assert histories_after(old, changes, True, 2)["c"] == ()


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
    assert compare(histories, [BUDGET]).unchanged == (newest.budget,)
    dearer = apply(histories, [replace(BUDGET, limit=9)], False, 8)["b"][-1].budget
    assert (dearer.limit, dearer.grants) == (9, (grant,))
    in_another_unit = apply(histories, [replace(BUDGET, unit="tokens")], False, 8)["b"][-1].budget
    assert in_another_unit.grants == ()


@given(st.lists(st.tuples(files, st.booleans()), max_size=5), files)
def test_applying_again_writes_nothing(earlier: list[tuple[list[Budget], bool]], wanted: list[Budget]) -> None:
    histories: dict[str, History] = {}
    for at, (budgets, prune) in enumerate(earlier):
        histories = apply(histories, budgets, prune, at)
    after = apply(histories, wanted, True, 100)
    assert {budget_id: history[-1].budget.limit for budget_id, history in after.items()} == {
        budget.id: budget.limit for budget in wanted
    }
    assert histories_after(after, compare(after, wanted), True, 101) == {}


def test_how_budgets_and_changes_read() -> None:
    assert describe(BUDGET) == "department:* month cost 150.00 at 50, 100 %"
    assert describe(replace(BUDGET, organization="acme", unit="tokens", limit=5)) == (
        "department:* of acme month tokens 5 at 50, 100 %"
    )
    changed = replace(BUDGET, limit=2 * 10**12, thresholds=(90,), version=2)
    assert describe_change(BUDGET, changed) == "limit 150.00 → 2.00; thresholds 50, 100 → 90"
    told = replace(BUDGET, notify=(Notice(50, "info", ("ops", "mail")), Notice(100, "caution")))
    assert describe_change(BUDGET, told) == "notify as usual → 50 as info to ops and mail, 100 as caution"
