"""Who sends every hour and has stopped is told of once, and once more when he is heard again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.history_alerts import HOUR_US, due
from stream_processors.core.silence import SilenceRule, silences

LAST = 1_793_530_800_000_000  # 2026-11-01 11:00 UTC
RULE = SilenceRule()


def hours(count: int, last: int = LAST) -> list[int]:
    return [last - number * HOUR_US for number in range(count)]


def after(whole_hours: int, minutes: int = 0) -> int:
    return LAST + (1 + whole_hours) * HOUR_US + minutes * 60_000_000


@pytest.mark.parametrize(("whole_hours", "minutes", "silent"), [(1, 59, False), (2, 0, True), (50, 0, True)])
def test_a_source_is_silent_after_two_whole_hours(whole_hours: int, minutes: int, silent: bool) -> None:
    found = silences({"gateway": hours(168)}, after(whole_hours, minutes), 0, RULE)
    assert [(each["type"], each["state"], each["scope"]) for each in found] == (
        [("silent_source", "raised", "gateway")] if silent else []
    )


def test_what_is_said() -> None:
    [alert] = silences({"gateway": hours(168)}, after(2), 0, RULE)
    assert alert["detail"] == (
        "source gateway sends every hour, and was last heard in the hour from 2026-11-01 11:00 UTC: it "
        "has sent nothing since"
    )
    [later] = silences({"gateway": hours(168)}, after(9), 0, RULE)
    assert later["alert_id"] == alert["alert_id"]


@pytest.mark.parametrize(
    ("heard", "since", "why"),
    [
        ({}, 0, "an empty ledger"),
        ({"new": hours(159)}, 0, "not a week yet"),
        ({"daily": hours(1, LAST) + hours(1, LAST - 24 * HOUR_US)}, 0, "never sends every hour"),
        ({"office": [hour for hour in hours(400) if hour // HOUR_US % 24 in range(8, 18)]}, 0, "sends by day"),
        ({"gateway": hours(168)}, after(9) - HOUR_US, "the ledger has been up for one hour"),
    ],
)
def test_no_false_alarm(heard: dict[str, list[int]], since: int, why: str) -> None:
    assert due(silences(heard, after(9), since, RULE), set()) == [], why


def test_eight_hours_missing_in_the_week_are_forgiven_and_a_ninth_is_not() -> None:
    week = hours(168)
    assert silences({"gateway": week[:1] + week[9:]}, after(2), 0, RULE)[-1]["state"] == "raised"
    assert all(each["state"] != "raised" for each in silences({"gateway": week[:1] + week[10:]}, after(2), 0, RULE))


def test_who_is_heard_again_is_taken_back_once_and_only_if_it_was_told() -> None:
    silent = {"gateway": hours(168)}
    again = {"gateway": [*hours(168), after(5)]}
    raised = due(silences(silent, after(3), 0, RULE), set())
    said = {(each["alert_id"], each["state"]) for each in raised}
    [back] = due(silences(again, after(6), 0, RULE), said)
    assert (back["alert_id"], back["state"]) == (raised[0]["alert_id"], "retracted")
    assert back["detail"].endswith("it sends again since 17:00 UTC")
    said.add((back["alert_id"], back["state"]))
    assert due(silences(again, after(6), 0, RULE), said) == []
    assert due(silences(again, after(6), 0, RULE), set()) == []  # a gap that nobody was told of


HEARD = st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from(hours(30)), min_size=1))
EASY = SilenceRule(before=5, heard=2, silent=2)


@given(HEARD, st.integers(0, 40), st.randoms(use_true_random=False))
def test_order_and_repetition_of_hours_change_nothing(
    heard: dict[str, list[int]], whole_hours: int, random: object
) -> None:
    shuffled = {name: known * 2 for name, known in reversed(heard.items())}
    for known in shuffled.values():
        random.shuffle(known)  # type: ignore[attr-defined]
    now = after(whole_hours)
    assert silences(heard, now, 0, EASY) == silences(shuffled, now, 0, EASY)


@given(HEARD, st.lists(st.integers(0, 40), min_size=1))
def test_however_often_one_looks_each_alert_is_due_once(heard: dict[str, list[int]], looks: list[int]) -> None:
    said: list[tuple[str, str]] = []
    for whole_hours in looks:
        new = due(silences(heard, after(whole_hours), 0, EASY), set(said))
        said += [(each["alert_id"], each["state"]) for each in new]
    assert len(said) == len(set(said))
