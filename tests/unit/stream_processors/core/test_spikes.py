"""An hour is held against the same hour of earlier weeks: what is unusual, and that too little history says nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import Window
from schemas.codec import avro_schema, decode, encode
from schemas.money import PICO
from stream_processors.core.history_alerts import DAY_US, HOUR_US
from stream_processors.core.spikes import (
    HourRow,
    SpikeRule,
    SurgeRule,
    earlier_hours,
    is_spike,
    median,
    spikes,
    surges,
)

HOUR = 1_793_530_800_000_000  # 2026-11-01 11:00 UTC
NOW = HOUR + 20 * 60 * 1_000_000
DOLLARS = (18, 20, 22, 20)  # of four weeks: median 20, deviations 2 0 2 0, so MAD 1 and its stand-in 20 / 10 = 2


def spent(dollars: int, hour: int = HOUR, organization: str = "acme", model: str = "gpt-4o") -> HourRow:
    return HourRow(organization, "openai", model, hour, 10, 0, dollars * PICO)


def history(*dollars: int, hour: int = HOUR) -> list[HourRow]:
    return [spent(each, at) for each, at in zip(dollars, earlier_hours(hour), strict=False)]


def test_spend_is_a_spike_from_six_robust_deviations_above_the_median() -> None:
    # MAD 1 * 1.4826 is less than a tenth of the median, 2: the bound is 20 + 6 * 2 = 32 dollars.
    assert spikes([*history(*DOLLARS), spent(31)], NOW, SpikeRule()) == []
    [alert] = spikes([*history(*DOLLARS), spent(30), spent(2, model="o3")], NOW, SpikeRule())
    assert alert["detail"] == (
        "organization acme spent 32.00 US dollars in the hour from 2026-11-01 11:00 UTC; usual at this hour of "
        "the week is 20.00, the median of 4 weeks"
    )
    assert (alert["type"], alert["used"], alert["unit"], alert["severity"]) == ("spike", "32.00", "cost", "caution")


def test_unsteady_spend_has_a_wider_bound() -> None:
    # 10 20 30 40: median 25, deviations 15 5 5 15, MAD 10; the bound is 25 + 6 * 14.826 = 113.956.
    earlier = [each * PICO for each in (10, 20, 30, 40)]
    assert median([abs(each - median(earlier)) for each in earlier]) == 10 * PICO
    assert not is_spike(113_955 * PICO // 1000, earlier, 6)
    assert is_spike(113_956 * PICO // 1000, earlier, 6)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "an empty ledger"),
        ([spent(1_000)], "a new organization"),
        ([*history(20, 20, 20), spent(1_000)], "three weeks only"),
        ([*history(1, 1, 1, 1), spent(9)], "nine times as much, and still little"),
        ([*history(*DOLLARS), spent(1_000, HOUR - 2 * HOUR_US)], "too long ago"),
        ([*history(*DOLLARS), spent(1_000, organization="other")], "somebody else"),
    ],
)
def test_no_false_alarm(rows: list[HourRow], why: str) -> None:
    assert spikes(rows, NOW, SpikeRule()) == [], why


def test_what_came_late_counts_for_the_hour_before_the_one_that_is_running() -> None:
    rows = [*history(*DOLLARS), spent(100)]
    [running] = spikes(rows, NOW, SpikeRule())
    [over] = spikes(rows, HOUR + HOUR_US, SpikeRule())
    assert running["alert_id"] == over["alert_id"]
    assert spikes(rows, HOUR + 2 * HOUR_US, SpikeRule()) == []


def test_every_hour_and_organization_has_its_own_id() -> None:
    before = HOUR - HOUR_US
    rows = [row for hour in (HOUR, before) for row in (*history(*DOLLARS, hour=hour), spent(100, hour))]
    ids = {alert["alert_id"] for name in ("acme", "other") for alert in spikes(_of(name, rows), NOW, SpikeRule())}
    assert len(ids) == 4


def _of(organization: str, rows: list[HourRow]) -> list[HourRow]:
    return [row._replace(organization=organization) for row in rows]


def test_an_alert_is_a_record_of_the_schema() -> None:
    [alert] = spikes([*history(*DOLLARS), spent(100)], NOW, SpikeRule())
    told = decode(encode(alert, "alert.v1", 1), avro_schema("alert.v1"), avro_schema("alert.v1"))
    assert {name: told[name] for name in alert} == alert


def counted(failed: int, requests: int, hour: int = HOUR) -> HourRow:
    return HourRow("acme", "openai", "gpt-4o", hour, requests, failed, 0)


USUAL = [counted(2, 100, at) for at in earlier_hours(HOUR)[:2]]  # 4 of 200: 2 %


def test_errors_surge_when_three_times_as_many_fail_as_usual() -> None:
    [alert] = surges([*USUAL, counted(50, 400)], NOW, SurgeRule())
    assert alert["detail"] == (
        "50 of 400 requests (12.5 %) of acme to gpt-4o by openai failed in the hour from 2026-11-01 11:00 UTC; usual "
        "at this hour of the week is 2.0 %"
    )
    assert (alert["organization"], alert["scope_kind"], alert["scope"]) == ("acme", "model", "openai/gpt-4o")
    assert (alert["type"], alert["used"], alert["unit"]) == ("error_surge", "50", "requests")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "an empty ledger"),
        ([counted(100, 100)], "without history"),
        ([USUAL[0], counted(100, 100)], "100 earlier requests only"),
        ([*USUAL, counted(19, 19)], "nineteen failures"),
        ([*USUAL, counted(39, 400)], "9.75 %"),
        ([*(counted(8, 100, row.hour) for row in USUAL), counted(92, 400)], "23 %, where 8 % is usual"),
    ],
)
def test_no_false_surge(rows: list[HourRow], why: str) -> None:
    assert surges(rows, NOW, SurgeRule()) == [], why


ROWS = st.lists(
    st.builds(
        HourRow,
        st.sampled_from(["acme", "other"]),
        st.just("openai"),
        st.sampled_from(["gpt-4o", "o3"]),
        st.sampled_from([HOUR, HOUR - HOUR_US, *earlier_hours(HOUR)]),
        st.integers(0, 500),
        st.integers(0, 200),
        st.integers(-PICO, 50 * PICO),
    ),
    max_size=40,
)
EASY = (SpikeRule(weeks=1, spend_pico=1, deviations=1), SurgeRule(failed=1, usual_requests=1, percent=1, times=1))


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list[HourRow], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert spikes(rows, NOW, EASY[0]) == spikes(shuffled, NOW, EASY[0])
    assert surges(rows, NOW, EASY[1]) == surges(shuffled, NOW, EASY[1])


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=8), st.integers(0, 10**15), st.integers(0, 10**15))
def test_more_spend_is_no_less_of_a_spike(earlier: list[int], spend: int, more: int) -> None:
    assert is_spike(spend + more, earlier, 6) or not is_spike(spend, earlier, 6)


@given(ROWS)
def test_a_stricter_rule_finds_no_more(rows: list[HourRow]) -> None:
    ids = {alert["alert_id"] for alert in spikes(rows, NOW, EASY[0])}
    strict = replace(EASY[0], weeks=3, deviations=6)
    assert {alert["alert_id"] for alert in spikes(rows, NOW, strict)} <= ids


def test_the_same_hour_of_the_week_is_meant() -> None:
    assert earlier_hours(HOUR)[:2] == [HOUR - 7 * DAY_US, HOUR - 14 * DAY_US]
    assert len(earlier_hours(HOUR)) == 8
    [alert] = spikes([*history(*DOLLARS), spent(100)], NOW, SpikeRule())
    window = Window("hour", HOUR, HOUR + HOUR_US)
    assert alert["window_kind"] == window.kind
    assert alert["window_end"].timestamp() * 1_000_000 == window.end
