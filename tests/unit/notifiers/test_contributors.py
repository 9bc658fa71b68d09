"""What is asked about an alert, that names from outside stay parameters, and that an alert never waits for it."""

import pytest
from notify_alerts import stored_alert

from notifiers.contributors import Contributors, question
from schemas.settings import Settings

MARCH, APRIL = 1_772_323_200, 1_775_001_600  # seconds UTC


def test_users_are_named_and_of_a_user_the_models() -> None:
    asked = question(stored_alert(), "Europe/Berlin")
    assert asked is not None
    assert asked.by == "user"
    assert "FROM usage_daily" in asked.sql
    assert "sum(cost_usd)" in asked.sql
    assert asked.parameters == {
        "organization": "acme",
        "of_department": ["engineering"],
        "start": MARCH,
        "end": APRIL,
        "zone": "Europe/Berlin",
    }
    of_user = question(stored_alert(scope_kind="user", scope="ada"), "UTC")
    assert of_user is not None
    assert of_user.by == "model"


@pytest.mark.parametrize(
    "fields",
    [{"window_kind": "hour"}, {"scope_kind": "team"}, {"conditions": "feature=search"}],
)
def test_what_is_not_kept_by_the_day_is_asked_of_the_rows(fields: dict[str, str]) -> None:
    asked = question(stored_alert(**fields), "UTC")
    assert asked is not None
    assert "FROM usage\n" in asked.sql
    assert "zone" not in asked.parameters


def test_conditions_are_parameters_without_their_quoting() -> None:
    asked = question(stored_alert(conditions="feature=a%7Cb&model=gpt-4o|o3", unit="tokens"), "UTC")
    assert asked is not None
    assert asked.parameters["of_feature"] == ["a|b"]
    assert asked.parameters["of_model"] == ["gpt-4o", "o3"]
    assert "`feature` IN {of_feature:Array(String)}" in asked.sql
    assert "sum(input_tokens + output_tokens)" in asked.sql


@pytest.mark.parametrize("fields", [{"scope_kind": "user` OR 1"}, {"unit": "requests) --"}, {"conditions": "a b=c"}])
def test_what_is_no_name_of_a_column_is_never_asked(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no name of a column"):
        question(stored_alert(**fields), "UTC")


@pytest.mark.parametrize("fields", [{"budget_id": ""}, {"state": "retracted"}])
def test_only_what_a_budget_raises_has_contributors(fields: dict[str, str]) -> None:
    assert question(stored_alert(**fields), "UTC") is None


def test_without_clickhouse_alerts_go_without_them(caplog: pytest.LogCaptureFixture) -> None:
    contributors = Contributors(Settings(clickhouse="http://127.0.0.1:9"), "UTC")  # nothing listens there
    assert contributors.of([stored_alert(), stored_alert(alert_id="a2")]) == [[], []]
    assert caplog.text.count("cannot tell who contributed") == 1  # and is not asked again at once
