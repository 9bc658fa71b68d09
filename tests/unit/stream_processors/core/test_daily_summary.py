"""What a summary says, to the cent and in whole percent, and that it says nothing where there was nothing."""

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import Calendar
from schemas.money import PICO, to_usd
from stream_processors.core.daily_summary import DayRow, daily_summaries

DAY, BEFORE = date(2026, 11, 10), date(2026, 11, 3)
CALENDAR = Calendar(zone="Europe/Berlin")
NOON = int(datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp()) * 1_000_000
WINDOW = CALENDAR.window("day", NOON)
NOW = WINDOW.end + 3_600_000_000


def used(user: str, model: str, dollars: int, day: date = DAY, unpriced: int = 0) -> DayRow:
    return DayRow("acme", day, user, model, 1_000, unpriced, 500_000, dollars * PICO)


def test_a_day_in_one_sentence() -> None:
    rows = [
        used("ada", "gpt-4o", 50),
        used("ada", "o3", 10),
        used("bob", "gpt-4o", 25),
        used("eve", "o3", 10),
        used("", "o3", 5, unpriced=7),
        used("ada", "gpt-4o", 80, BEFORE),
    ]
    [alert] = daily_summaries(rows, DAY, WINDOW, NOW)
    assert alert["detail"] == (
        "organization acme on 2026-11-10: 100.00 US dollars (80.00 on the same day of the week before), "
        "5,000 requests, 2,500,000 tokens, 7 requests without a price; "
        "most by ada (60 %), bob (25 %), eve (10 %); most of gpt-4o (75 %), o3 (25 %)"
    )
    assert (alert["type"], alert["severity"], alert["used"], alert["unit"]) == ("summary", "info", "100.00", "cost")
    assert (alert["window_kind"], alert["window_start"].hour) == ("day", 23)  # of the day before, in UTC


def test_a_first_day_has_nothing_to_be_compared_with() -> None:
    [alert] = daily_summaries([used("ada", "gpt-4o", 1)], DAY, WINDOW, NOW)
    assert alert["detail"].startswith(
        "organization acme on 2026-11-10: 1.00 US dollars, 1,000 requests, 500,000 tokens;"
    )


def test_without_a_price_nobody_has_a_part() -> None:
    [alert] = daily_summaries([used("ada", "own", 0, unpriced=1_000)], DAY, WINDOW, NOW)
    assert alert["detail"].endswith("1,000 requests without a price; most by ada; most of own")


def test_a_day_without_usage_is_not_told() -> None:
    assert daily_summaries([], DAY, WINDOW, NOW) == []
    assert daily_summaries([used("ada", "gpt-4o", 80, BEFORE)], DAY, WINDOW, NOW) == []


ROWS = st.lists(
    st.builds(
        DayRow,
        st.sampled_from(["acme", "other"]),
        st.sampled_from([DAY, BEFORE, date(2026, 11, 9)]),
        st.sampled_from(["ada", "bob", "eve", "zoe", ""]),
        st.sampled_from(["gpt-4o", "o3", "own", "new"]),
        st.integers(0, 100),
        st.integers(0, 100),
        st.integers(0, 10**6),
        st.integers(0, 10 * PICO),
    )
)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list[DayRow], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert daily_summaries(rows, DAY, WINDOW, NOW) == daily_summaries(shuffled, DAY, WINDOW, NOW)


@given(ROWS)
def test_what_is_told_is_the_sum(rows: list[DayRow]) -> None:
    told = {alert["organization"]: alert for alert in daily_summaries(rows, DAY, WINDOW, NOW)}
    assert set(told) == {row.organization for row in rows if row.day == DAY}
    for name, alert in told.items():
        cost = sum(row.cost_pico for row in rows if (row.organization, row.day) == (name, DAY))
        assert float(alert["used"]) == float(to_usd(cost))
    assert len({alert["alert_id"] for alert in told.values()}) == len(told)
