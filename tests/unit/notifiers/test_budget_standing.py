"""How a budget stood when an alert was raised."""

from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from notify_alerts import stored_alert

from notifiers.standing import Standing, standing

DAY = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_pace_so_far_is_kept_to_the_end() -> None:
    alert = stored_alert(used="50", limit="150.00", window_start=DAY, raised_at=DAY.replace(day=11, hour=8))
    assert standing(alert) == Standing("33.3", "100.00", "20.6", "150.00")  # 50 in a third of 31 days


def test_counts_are_whole() -> None:
    alert = stored_alert(used="10", limit="8", unit="tokens", raised_at=DAY.replace(day=8))
    assert standing(alert) == Standing("125.0", "-2", "24.0", "44")  # 10 in 7 of 31 days: 44.3


def test_what_is_over_ends_with_what_it_used() -> None:
    late = stored_alert(used="12.5", raised_at=datetime(2026, 5, 1, tzinfo=UTC))
    assert standing(late) == Standing("8.3", "137.50", "0.0", "12.50")


def test_usage_dated_before_its_window_by_a_clock_ahead_divides_by_no_zero() -> None:
    early = stored_alert(used="1", unit="tokens", limit="2", raised_at=datetime(2026, 2, 28, tzinfo=UTC))
    assert standing(early) == Standing("50.0", "1", "32.0", str(31 * 86_400))


def test_an_alert_that_is_about_no_budget_has_none() -> None:
    assert standing(stored_alert(type="pipeline", limit="0", used="0", window_kind="")) is None


@given(st.integers(0, 10**38), st.integers(1, 10**38))
def test_a_percentage_is_never_rounded_up(used: int, limit: int) -> None:
    found = standing(stored_alert(used=str(used), limit=str(limit), unit="tokens"))
    assert found is not None
    assert 0 <= Fraction(used * 100, limit) - Fraction(found.percent) < Fraction(1, 10)
    assert int(found.remaining) == limit - used
