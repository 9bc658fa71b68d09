"""Hours that are unlike the same hour of earlier weeks: more is spent, or more requests fail.

The hour that is running is judged by what it has come to so far, so nobody waits for its end; the one before it is
judged again, with what has come late. Weeks without usage at that hour say nothing and do not count; without enough
of the others nothing is said at all.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.money import PICO, grouped, usd_text
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budgets import scope_name
from stream_processors.core.history_alerts import DAY_US, HOUR_US, SPIKE, SURGE, history_alert, hour_of, hour_window

WEEKS = 8  # looked back on


class HourRow(NamedTuple):
    """What an organization used of a model in an hour (start, microseconds UTC)."""

    organization: str
    provider: str
    model: str
    hour: int
    requests: int
    failed: int
    cost_pico: int


@dataclass(frozen=True, slots=True)
class SpikeRule:
    """A spike: the robust z-score of an hour's spend, (spend - median) / (1.4826 * MAD), is at least `deviations`.

    MAD is the median absolute deviation; 1.4826 makes it the standard deviation of a normal distribution. A tenth of
    the median stands for it where it is larger, so that very steady spend is no reason to alert at every cent.
    """

    weeks: int = 4  # with usage at this hour, at least
    spend_pico: int = 10 * PICO  # in the hour, at least
    deviations: int = 6


@dataclass(frozen=True, slots=True)
class SurgeRule:
    """A surge of errors: of an hour's requests to a model at least `percent` fail, and `times` as many as usual."""

    failed: int = 20  # in the hour, at least
    usual_requests: int = 200  # at this hour of the earlier weeks together, at least
    percent: int = 10
    times: int = 3


def hours_to_judge(now: int) -> list[int]:
    """The hour that is running, and the one before it."""
    return [hour_of(now), hour_of(now) - HOUR_US]


def earlier_hours(hour: int) -> list[int]:
    """The same hour of the weeks before it, in UTC."""
    return [hour - 7 * DAY_US * week for week in range(1, WEEKS + 1)]


def spikes(rows: Iterable[HourRow], now: int, rule: SpikeRule) -> list[dict[str, Any]]:
    """An alert for each organization that spends unlike its earlier weeks, in either hour; `rows` in any order."""
    spend: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        spend[row.organization][row.hour] += row.cost_pico
    return [
        _spike(organization, hour, by_hour[hour], earlier, now)
        for organization, by_hour in sorted(spend.items())
        for hour in hours_to_judge(now)
        if hour in by_hour
        and len(earlier := [by_hour[at] for at in earlier_hours(hour) if at in by_hour]) >= rule.weeks
        and by_hour[hour] >= rule.spend_pico
        and is_spike(by_hour[hour], earlier, rule.deviations)
    ]


def is_spike(spend_pico: int, earlier: Sequence[int], deviations: int) -> bool:
    """In whole numbers, so that no rounding decides."""
    usual = median(earlier)
    spread = median([abs(each - usual) for each in earlier])
    return 10_000 * (spend_pico - usual) >= deviations * max(14_826 * spread, 1_000 * usual)


def median(values: Sequence[int]) -> int:
    """The middle one; of two, half their sum, rounded down."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2


def surges(rows: Iterable[HourRow], now: int, rule: SurgeRule) -> list[dict[str, Any]]:
    """An alert for each organization and model of which unusually many requests fail, in either hour."""
    counts: dict[tuple[str, str, str], dict[int, tuple[int, int]]] = defaultdict(dict)
    for row in rows:
        by_hour = counts[row.organization, row.provider, row.model]
        failed, requests = by_hour.get(row.hour, (0, 0))
        by_hour[row.hour] = (failed + row.failed, requests + row.requests)
    return [alert for place, by_hour in sorted(counts.items()) for alert in _surges_of(place, by_hour, now, rule)]


def _surges_of(
    place: tuple[str, str, str], by_hour: dict[int, tuple[int, int]], now: int, rule: SurgeRule
) -> Iterator[dict[str, Any]]:
    for hour in hours_to_judge(now):
        failed, requests = by_hour.get(hour, (0, 0))
        earlier = [by_hour[at] for at in earlier_hours(hour) if at in by_hour]
        usually_failed, usual = (sum(column) for column in zip(*earlier, strict=True)) if earlier else (0, 0)
        if (
            requests > 0
            and failed >= rule.failed
            and usual > 0
            and usual >= rule.usual_requests
            and failed * 100 >= rule.percent * requests
            and failed * usual >= rule.times * usually_failed * requests
        ):
            yield _surge(place, hour, (failed, requests), (usually_failed, usual), now)


def _spike(organization: str, hour: int, spend_pico: int, earlier: Sequence[int], now: int) -> dict[str, Any]:
    spent, usual = (grouped(usd_text(each)) for each in (spend_pico, median(earlier)))
    return history_alert(
        SPIKE,
        organization,
        "organization",
        organization,
        hour_window(hour),
        f"{scope_name('organization', organization, organization)} spent {spent} US dollars in the hour from "
        f"{instant(hour):%Y-%m-%d %H:%M} UTC; usual at this hour of the week is {usual}, the median of {len(earlier)} "
        "weeks",
        now,
        used=usd_text(spend_pico),
        unit="cost",
    )


def _surge(
    place: tuple[str, str, str], hour: int, found: tuple[int, int], usual: tuple[int, int], now: int
) -> dict[str, Any]:
    organization, provider, model = place
    return history_alert(
        SURGE,
        organization,
        "model",
        f"{provider}/{model}",
        hour_window(hour),
        f"{found[0]:,} of {found[1]:,} requests ({_percent(*found)}) of {organization} to {model} by {provider} failed "
        f"in the hour from {instant(hour):%Y-%m-%d %H:%M} UTC; usual at this hour of the week is {_percent(*usual)}",
        now,
        used=str(found[0]),
        unit="requests",
    )


def _percent(part: int, whole: int) -> str:
    tenths = part * 1_000 // whole
    return f"{tenths // 10}.{tenths % 10} %"
