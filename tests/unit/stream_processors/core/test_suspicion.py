"""Who does what they never did is told of; who is new, or does it all the time, is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.history_alerts import DAY_US, HOUR_US
from stream_processors.core.suspicion import FirstRow, SuspicionRule, UserHour, first_seen, unusual_hours

HOUR = 1_793_530_800_000_000  # 2026-11-01 11:00 UTC
NOW = HOUR + HOUR_US
RULE = SuspicionRule()


def first(user: str, kind: str = "region", value: str = "eu-west-9", known_days: int = 14) -> FirstRow:
    return FirstRow("acme", user, kind, value, HOUR, HOUR - known_days * DAY_US)


def test_users_of_something_new_are_told_of_together() -> None:
    [alert] = first_seen([first(user) for user in ("eve", "ada", "bob", "dan", "cid")], NOW, RULE)
    assert alert["detail"] == (
        "region eu-west-9 was used for the first time by ada, bob, cid and 2 more of acme, as arrived in the hour from "
        "2026-11-01 11:00 UTC"
    )
    assert (alert["type"], alert["severity"]) == ("suspicious", "warning")
    assert (alert["scope_kind"], alert["scope"]) == ("region", "eu-west-9")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "an empty ledger"),
        ([first("ada", known_days=0)], "a new user, or the first time that regions are stated at all"),
        ([first("ada", known_days=13)], "known for thirteen days"),
    ],
)
def test_who_is_new_is_not_suspicious(rows: list[FirstRow], why: str) -> None:
    assert first_seen(rows, NOW, RULE) == [], why


def did(
    requests: int = 10, sessions: int = 1, most: tuple[int, int] = (80, 5), days: int = 10, times: int = 9
) -> UserHour:
    return UserHour("acme", "ada", requests, sessions, *most, days, times)


def test_much_at_an_hour_without_usage_before() -> None:
    [alert] = unusual_hours([did(requests=100, times=0)], HOUR, NOW, RULE)
    assert alert["detail"] == (
        "user ada of acme in the hour from 2026-11-01 11:00 UTC: 100 requests, at an hour of the day without usage in "
        "the 28 days before"
    )
    assert (alert["used"], alert["unit"], alert["scope"], alert["severity"]) == ("100", "requests", "ada", "caution")


def test_a_burst_of_sessions() -> None:
    [alert] = unusual_hours([did(sessions=21, most=(80, 7))], HOUR, NOW, RULE)
    assert alert["detail"].endswith("21 sessions; the most in an hour of the 28 days before was 7")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (did(requests=99, times=0), "ninety-nine requests"),
        (did(requests=100, times=1), "has worked at this hour before"),
        (did(requests=100, times=0, most=(101, 5)), "has been busier at other hours"),
        (did(requests=10_000, sessions=500, times=0, most=(0, 0), days=9), "known on nine days"),
        (did(sessions=19, most=(80, 1)), "nineteen sessions"),
        (did(sessions=20, most=(80, 7)), "less than three times seven"),
    ],
)
def test_no_false_alarm(row: UserHour, why: str) -> None:
    assert unusual_hours([row], HOUR, NOW, RULE) == [], why


def test_both_in_one_hour_are_two_alerts() -> None:
    alerts = unusual_hours([did(requests=500, sessions=90, times=0)], HOUR, NOW, RULE)
    assert len({alert["alert_id"] for alert in alerts}) == 2


FIRSTS = st.lists(
    st.builds(
        FirstRow,
        st.sampled_from(["acme", "other"]),
        st.sampled_from("abcdef"),
        st.sampled_from(["model", "source"]),
        st.sampled_from(["x", "y"]),
        st.sampled_from([HOUR, HOUR - HOUR_US]),
        st.sampled_from([HOUR, HOUR - 14 * DAY_US, HOUR - 40 * DAY_US]),
    )
)
COUNT = st.integers(0, 300)
HOURS = st.lists(
    st.builds(
        UserHour,
        st.sampled_from(["acme", "other"]),
        st.sampled_from("abcdef"),
        *(COUNT, COUNT, COUNT, COUNT),
        st.integers(0, 28),
        st.integers(0, 2),
    ),
    unique_by=lambda row: row[:2],
)


@given(FIRSTS, HOURS, st.randoms(use_true_random=False))
def test_order_and_repetition_of_rows_change_nothing(
    firsts: list[FirstRow], hours: list[UserHour], random: object
) -> None:
    again, shuffled = firsts * 2, list(hours)
    random.shuffle(again)  # type: ignore[attr-defined]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert first_seen(again, NOW, RULE) == first_seen(firsts, NOW, RULE)
    assert unusual_hours(shuffled, HOUR, NOW, RULE) == unusual_hours(hours, HOUR, NOW, RULE)


@given(FIRSTS, HOURS)
def test_no_two_alerts_share_an_id(firsts: list[FirstRow], hours: list[UserHour]) -> None:
    found = [*first_seen(firsts, NOW, RULE), *unusual_hours(hours, HOUR, NOW, RULE)]
    assert len({alert["alert_id"] for alert in found}) == len(found)
