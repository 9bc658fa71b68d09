"""The arithmetic of budgets is exact integers, and an alert's id is stable and unambiguous."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import MEASURES
from stream_processors.core.budgets import (
    ACTIONS,
    UNITS,
    Budget,
    Resume,
    alert_id,
    amount_text,
    decision,
    reached,
    scope_name,
    severity,
    threshold_amount,
    used_of,
)

BUDGET = Budget("b", "*", "department", "*", "month", "cost", 150 * 10**12, (50, 75, 90, 95, 100), 1)
LIMITS = st.integers(1, 10**38)
PERCENTS = st.integers(1, 1000)


@pytest.mark.parametrize(
    ("organization", "scope", "kind", "covered"),
    [
        ("*", "*", "department", True),
        ("acme", "*", "department", True),
        ("acme", "sales", "department", True),
        ("*", "sales", "department", True),
        ("beta", "*", "department", False),
        ("*", "support", "department", False),
        ("*", "*", "user", False),
    ],
)
def test_a_budget_covers_its_scope_or_each(organization: str, scope: str, kind: str, covered: bool) -> None:
    budget = replace(BUDGET, organization=organization, scope=scope, scope_kind=kind)
    assert budget.covers("acme", "department", "sales") is covered


def test_what_counts_in_each_unit() -> None:
    measures = {name: 10**number for number, name in enumerate((*MEASURES, "cost_pico"))}
    assert used_of("cost", measures) == measures["cost_pico"]
    assert used_of("tokens", measures) == measures["input_tokens"] + measures["output_tokens"]
    for unit in UNITS[2:]:
        assert used_of(unit, measures) == measures[unit]


def test_exactly_equal_counts_as_reached() -> None:
    limit = 150 * 10**12
    assert reached(limit // 2, limit, (50, 75)) == (50,)
    assert reached(limit // 2 - 1, limit, (50, 75)) == ()
    assert reached(10**30, limit, (50, 75, 1000)) == (50, 75, 1000)
    assert reached(-1, 1, (50,)) == ()


@given(LIMITS, PERCENTS)
def test_the_amount_of_a_threshold_is_the_smallest_that_reaches_it(limit: int, threshold: int) -> None:
    amount = threshold_amount(limit, threshold)
    assert reached(amount, limit, (threshold,)) == (threshold,)
    assert reached(amount - 1, limit, (threshold,)) == ()


@pytest.mark.parametrize("action", ACTIONS)
def test_the_decision_changes_at_the_limit(action: str) -> None:
    budget = replace(BUDGET, limit=100, action=action)
    reached = "alert" if action == "pause" else action
    assert [decision(budget, used, False) for used in (-5, 0, 99, 100, 101)] == ["allow"] * 3 + [reached] * 2


def test_a_pause_holds_whatever_is_used_and_resumed_the_limit_holds_up_nobody() -> None:
    budget = replace(BUDGET, limit=100, action="pause")
    assert [decision(budget, used, True) for used in (0, 99, 100)] == ["pause"] * 3
    assert [decision(budget, used, False) for used in (0, 99, 100)] == ["allow", "allow", "alert"]


def test_whose_a_budget_is_reads_well() -> None:
    named = [
        ("user", "ada", "acme"),
        ("team", "", "acme"),
        ("organization", "acme", "acme"),
        ("organization", "*", "*"),
    ]
    assert [scope_name(*each) for each in named] == [
        "user ada of acme",
        "team (unassigned) of acme",
        "organization acme",
        "organization *",
    ]


def test_a_resume_is_for_its_organization_and_scope() -> None:
    resumes = (Resume("*", "sales", "mia", 5), Resume("acme", "*", "mia", 7), Resume("beta", "legal", "mia", 9))
    budget = replace(BUDGET, resumes=resumes)
    whose = [("acme", "sales"), ("acme", "legal"), ("beta", "sales"), ("beta", "legal"), ("beta", "")]
    assert [budget.resumed_at(*each) for each in whose] == [7, 7, 5, 9, -1]


def test_severity_rises_with_the_threshold() -> None:
    ranks = ("info", "warning", "caution", "critical")
    assert [severity(each) for each in (50, 75, 90, 95, 100)] == ["info", "warning", "caution", "critical", "critical"]
    levels = [ranks.index(severity(percent)) for percent in range(1, 1001)]
    assert levels == sorted(levels)


def test_amounts_as_text() -> None:
    assert amount_text("cost", 150 * 10**12) == "150.00"
    assert amount_text("cost", -1) == "-0.000000000001"
    assert amount_text("tokens", 5_000_000) == "5000000"


def test_the_id_of_an_alert_never_changes() -> None:
    # Written down: receivers remember ids, so another version of the code must give the same one.
    found = alert_id("b", "acme", "department", "sales", "month", 1_793_491_200_000_000, 50, 0)
    assert found == "f1e35a7649b51cd72242cea1ff963325"


SUBJECTS = st.tuples(
    st.text(max_size=3), st.text(max_size=3), st.text(max_size=3), st.text(max_size=3), st.text(max_size=3),
    st.integers(0, 3), st.integers(1, 3), st.integers(0, 3),
)  # fmt: skip


@given(SUBJECTS, SUBJECTS)
def test_different_crossings_have_different_ids(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (alert_id(*one) == alert_id(*other)) is (one == other)  # type: ignore[arg-type]
