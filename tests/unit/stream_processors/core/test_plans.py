"""Plans: budgets of organizations that include projects and members; more of them are told once, and taken back."""

from dataclasses import replace

import pytest

from schemas.calendar import Calendar
from stream_processors.core.budget_changes import describe, describe_change
from stream_processors.core.budget_forms import from_record, parse_budgets, to_record
from stream_processors.core.budget_history import Dated
from stream_processors.core.plans import Active, is_plan, plan_alerts

FILE = """
[[budget]]
id = "starter"
organization = "acme"
scope = "organization:acme"
period = "billing_cycle"
unit = "tokens"
limit = 2_000_000
projects = 5
members = 5
"""
NOW = 1_772_366_400_000_000  # 2026-03-01 12:00:00 UTC
[STARTER] = parse_budgets(FILE, "budgets.toml")
WINDOW = Calendar().window("month", NOW)


def told(actives: list[Active], **fields: int | None) -> dict[tuple[str, str], str]:
    alerts = plan_alerts(replace(STARTER, **fields), WINDOW, actives, NOW)  # type: ignore[arg-type]
    assert len({alert["alert_id"] for alert in alerts}) == len(alerts)
    return {(alert["organization"], alert["unit"]): alert["state"] for alert in alerts}


def test_more_than_included_is_raised_and_as_many_is_taken_back() -> None:
    assert told([Active("acme", 6, 5), Active("b", 9, 9)]) == {
        ("acme", "projects"): "raised",
        ("acme", "members"): "retracted",
    }
    assert told([Active("acme", 6, 600)], members=None) == {("acme", "projects"): "raised"}
    [alert] = plan_alerts(replace(STARTER, members=None), WINDOW, [Active("acme", 6, 1)], NOW)
    assert alert["detail"] == "organization acme has 6 active projects, and plan starter includes 5"
    assert (alert["type"], alert["used"], alert["limit"], alert["severity"]) == ("plan", "6", "5", "warning")


def test_of_each_organization() -> None:
    each = replace(STARTER, organization="*", scope="*", members=None)
    alerts = plan_alerts(each, WINDOW, [Active("a", 6, 1), Active("b", 1, 1)], NOW)
    assert [(alert["organization"], alert["state"]) for alert in alerts] == [("a", "raised"), ("b", "retracted")]


def test_a_window_and_a_count_have_one_id() -> None:
    first, again = (plan_alerts(STARTER, WINDOW, [Active("acme", 6, 6)], now) for now in (NOW, NOW + 60_000_000))
    later = plan_alerts(STARTER, Calendar().window("month", WINDOW.end), [Active("acme", 6, 6)], WINDOW.end)
    assert [alert["alert_id"] for alert in first] == [alert["alert_id"] for alert in again]
    assert {alert["alert_id"] for alert in first}.isdisjoint(alert["alert_id"] for alert in later)


def test_it_is_kept_and_told() -> None:
    assert is_plan(STARTER)
    assert from_record(to_record([Dated(1, replace(STARTER, version=1))]))[0].budget.members == 5
    assert describe(replace(STARTER, members=1)).endswith(" at 50, 75, 90, 95, 100 %, 5 projects, 1 member")
    assert describe_change(STARTER, replace(STARTER, projects=None)) == "projects 5 → any"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("projects = 5", "projects = 0", "projects = 0: must be a whole number from 1 to 1000000"),
        ("members = 5", 'members = "5"', "members = '5': must be a whole number"),
        ("members = 5", "members = true", "members = True: must be a whole number"),
        ('"organization:acme"', '"user:*"', "projects = 5: must be left out for scope 'user:*'"),
        ('"billing_cycle"', '"hour"', "members = 5: must be left out for period hour"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^budgets\.toml:[0-9]+: ") as caught:
        parse_budgets(FILE.replace(old, new, 1), "budgets.toml")
    assert said in str(caught.value)
