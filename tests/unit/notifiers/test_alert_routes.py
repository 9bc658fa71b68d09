"""Which alerts go where, and when: sums in the open, laws for any hour."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notify_alerts import NOON, NOON_US, decoded_alert

from notifiers.config import SEVERITIES, Config, Quiet
from notifiers.routing import (
    CLOSED_WINDOW,
    DAY_US,
    ENVIRONMENT,
    HISTORY,
    NO_ROUTE,
    ROUTED,
    SNOOZED,
    Decision,
    Due,
    Target,
    after_quiet,
    decide,
    micros,
)
from schemas.responses import Snooze

UTC_ZONE = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
CHANNELS: dict[str, Any] = {
    "mail": {"kind": "email", "host": "h", "sender": "t@x", "to": ["a@x", "b@x"]},
    "chat": {"kind": "slack", "url_file": "f"},
}


def configured(*routes: dict[str, Any], **fields: Any) -> Config:
    return Config.model_validate({"channel": CHANNELS, "route": routes} | fields)


def decided(alert: dict[str, Any], *routes: dict[str, Any], **fields: Any) -> Decision:
    return decide(alert, configured(*routes, **fields), UTC_ZONE, NOON_US, NOON_US, [])


def channels_of(alert: dict[str, Any], *routes: dict[str, Any]) -> set[str]:
    return {target.channel for target in decided(alert, *routes).targets}


def snoozed(alert: dict[str, Any], **fields: Any) -> bool:
    values = {"author": "mia", "at": NOON, "budget_id": "department-month", "organization": "acme", "scope": "*"}
    snooze = Snooze.model_validate(values | {"until": NOON + timedelta(hours=1)} | fields)
    outcome = decide(alert, configured({"channels": ["chat"]}), UTC_ZONE, NOON_US, NOON_US, [snooze]).outcome
    assert outcome in (ROUTED, SNOOZED)
    return outcome == SNOOZED


@pytest.mark.parametrize(
    ("fields", "is_told"),
    [
        ({}, False),
        ({"organization": "*", "scope": "engineering"}, False),
        ({"scope": "sales"}, True),
        ({"organization": "globex"}, True),
        ({"budget_id": "department-day"}, True),
        ({"until": NOON}, True),  # over
        ({"until": NOON + timedelta(microseconds=1)}, False),
    ],
)
def test_a_snooze_holds_for_its_budget_and_scopes_until_it_is_over(fields: dict[str, Any], is_told: bool) -> None:
    assert snoozed(decoded_alert(), **fields) is not is_told


def test_what_is_critical_is_told_whatever_is_snoozed() -> None:
    assert [snoozed(decoded_alert(severity=each)) for each in SEVERITIES] == [True, True, True, False]


def test_each_address_of_a_mail_channel_is_a_target_of_its_own() -> None:
    decision = decided(decoded_alert(), {"channels": ["mail"]})
    assert decision == Decision(
        ROUTED, {Target("mail", "a@x"): Due(NOON_US, False), Target("mail", "b@x"): Due(NOON_US, False)}
    )


def test_recipients_of_the_budget_are_told_at_once_besides_those_of_routes() -> None:
    named = decoded_alert(recipients=["chat", "pigeon"])
    night = {"channels": ["chat", "mail"], "digest_minutes": 60}
    later = Due(NOON_US, True)
    assert decided(named, night).targets == {
        Target("mail", "a@x"): later, Target("mail", "b@x"): later, Target("chat", ""): Due(NOON_US, False)
    }  # fmt: skip
    assert decided(named).outcome == ROUTED
    assert decided(decoded_alert(recipients=["pigeon"])) == Decision(NO_ROUTE, {})
    assert decided(decoded_alert(recipients=["chat"], deliver=False)) == Decision(CLOSED_WINDOW, {})


@pytest.mark.parametrize("least", SEVERITIES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_severity_and_those_above_it(least: str, severity: str) -> None:
    told = channels_of(decoded_alert(severity=severity), {"channels": ["chat"], "min_severity": least})
    assert bool(told) == (SEVERITIES.index(severity) >= SEVERITIES.index(least))


def test_a_severity_that_nobody_knows_reaches_everybody() -> None:
    assert channels_of(decoded_alert(severity="mortal"), {"channels": ["chat"], "min_severity": "critical"})


@pytest.mark.parametrize(
    ("route", "matches"),
    [
        ({"scopes": ["department:engineering"]}, True),
        ({"scopes": ["user:ada", "department:*"]}, True),
        ({"scopes": ["department:sales"]}, False),
        ({"scopes": ["user:engineering"]}, False),
        ({"organizations": ["acme"]}, True),
        ({"organizations": ["globex"]}, False),
        ({"types": ["pipeline", "threshold"]}, True),
        ({"types": ["pipeline"]}, False),
    ],
)
def test_a_route_states_what_must_match(route: dict[str, Any], matches: bool) -> None:
    assert bool(channels_of(decoded_alert(), {"channels": ["chat"]} | route)) == matches


def test_no_route_is_recorded_only() -> None:
    assert decided(decoded_alert(), {"channels": ["chat"], "types": ["lag"]}) == Decision(NO_ROUTE, {})


def test_windows_closed_for_long_are_recorded_only() -> None:
    assert decided(decoded_alert(deliver=False), {"channels": ["chat"]}) == Decision(CLOSED_WINDOW, {})


@pytest.mark.parametrize(
    ("environment", "outcome"),
    [("production", ROUTED), ("", ROUTED), ("staging", ENVIRONMENT), ("Production", ENVIRONMENT)],
)
def test_other_environments_than_production_are_recorded_only(environment: str, outcome: str) -> None:
    alert = decoded_alert(scope_kind="environment", scope=environment)
    assert decided(alert, {"channels": ["chat"]}).outcome == outcome


@pytest.mark.parametrize(
    ("conditions", "outcome"),
    [
        ("feature=search", ROUTED),
        ("environment=staging&feature=search", ENVIRONMENT),
        ("environment=staging|dev", ENVIRONMENT),
        ("environment=production|staging", ROUTED),
        ("environment=pro%7Cduction", ENVIRONMENT),
    ],
)
def test_a_budget_for_other_environments_alone_is_recorded_only(conditions: str, outcome: str) -> None:
    assert decided(decoded_alert(conditions=conditions), {"channels": ["chat"]}).outcome == outcome


def test_other_environments_can_be_asked_for() -> None:
    alert = decoded_alert(scope_kind="environment", scope="staging")
    assert decided(alert, {"channels": ["chat"]}, environments=["staging"]).outcome == ROUTED


def test_an_old_ledger_is_not_told_all_again() -> None:
    old = decoded_alert(raised_at=NOON - timedelta(days=1, microseconds=1))
    assert decided(old, {"channels": ["chat"]}) == Decision(HISTORY, {})
    assert decided(decoded_alert(raised_at=NOON - timedelta(days=1)), {"channels": ["chat"]}).outcome == ROUTED


def test_after_an_absence_of_days_everything_is_told() -> None:
    config = configured({"channels": ["chat"]})
    alert = decoded_alert(raised_at=NOON - timedelta(days=3))
    assert decide(alert, config, UTC_ZONE, NOON_US, NOON_US - 10 * DAY_US, []).outcome == ROUTED


def test_of_two_routes_to_one_channel_the_earlier_wins() -> None:
    slow, fast = {"channels": ["chat"], "digest_minutes": 60}, {"channels": ["chat"]}
    for routes in ((slow, fast), (fast, slow)):
        assert decided(decoded_alert(), *routes).targets == {Target("chat", ""): Due(NOON_US, False)}


def test_a_digest_waits_for_its_hour_and_for_the_end_of_the_quiet() -> None:
    route = {"channels": ["chat"], "digest_minutes": 45, "quiet": "12:30-15:00"}
    # 12:00 is 16 times 45 minutes; a minute later the next is 12:45, which is quiet until 15:00.
    now = NOON_US + 60_000_000
    decision = decide(decoded_alert(), configured(route), UTC_ZONE, now, now, [])
    assert decision.targets == {Target("chat", ""): Due(micros(NOON.replace(hour=15)), True)}


OVER_NIGHT = Quiet(datetime(1, 1, 1, 22).time(), datetime(1, 1, 1, 7).time())
AT_LUNCH = Quiet(datetime(1, 1, 1, 12).time(), datetime(1, 1, 1, 13).time())


@pytest.mark.parametrize(
    ("quiet", "zone", "at", "then"),
    [
        (AT_LUNCH, UTC_ZONE, "2026-03-10 11:59:59.999999", "2026-03-10 11:59:59.999999"),
        (AT_LUNCH, UTC_ZONE, "2026-03-10 12:00", "2026-03-10 13:00"),
        (AT_LUNCH, UTC_ZONE, "2026-03-10 13:00", "2026-03-10 13:00"),
        (OVER_NIGHT, UTC_ZONE, "2026-03-10 23:00", "2026-03-11 07:00"),
        (OVER_NIGHT, UTC_ZONE, "2026-03-11 06:59", "2026-03-11 07:00"),
        (OVER_NIGHT, UTC_ZONE, "2026-03-11 12:00", "2026-03-11 12:00"),
        # Berlin is an hour ahead in winter, two from 29 March at 1:00 UTC.
        (OVER_NIGHT, BERLIN, "2026-03-10 21:30", "2026-03-11 06:00"),
        (OVER_NIGHT, BERLIN, "2026-03-28 22:00", "2026-03-29 05:00"),
    ],
)
def test_quiet_hours_are_those_of_the_calendar(quiet: Quiet, zone: ZoneInfo, at: str, then: str) -> None:
    start, end = (micros(datetime.fromisoformat(each).replace(tzinfo=UTC)) for each in (at, then))
    assert after_quiet(quiet, zone, start) == end


@given(
    quiet=st.builds(Quiet, st.times().map(lambda t: t.replace(second=0, microsecond=0)), st.times()),
    at=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from([UTC_ZONE, BERLIN, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/Havana")]),
)
def test_nothing_is_held_back_for_more_than_a_day_and_an_hour_or_sent_early(
    quiet: Quiet, at: datetime, zone: ZoneInfo
) -> None:
    start = micros(at)
    then = after_quiet(quiet, zone, start)
    assert start <= then <= start + DAY_US + 3_600_000_000
