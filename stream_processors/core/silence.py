"""Sources that send every hour and have fallen silent, by the time of arrival: late usage changes nothing of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from schemas.calendar import Window
from stream_processors.core.alert_subjects import instant
from stream_processors.core.history_alerts import HOUR_US, SILENT, history_alert, hour_of


@dataclass(frozen=True, slots=True)
class SilenceRule:
    """Whoever was heard in `heard` of the `before` hours that end with the last one, and then not for `silent`."""

    before: int = 168
    heard: int = 160
    silent: int = 2  # whole hours


def silences(
    heard: Mapping[str, Iterable[int]], now: int, watched_since: int, rule: SilenceRule
) -> list[dict[str, Any]]:
    """What is to be said of each source: that it is silent, and of earlier silences that they are over.

    `heard`: by source, the hours in which it has sent (starts, microseconds UTC). Hours that began before
    `watched_since` are not held against anybody: the ledger itself may have been away.
    """
    alerts = []
    for source, hours in sorted(heard.items()):
        known = sorted(set(hours))
        for last, next_heard in pairwise(known):
            if next_heard - last > rule.silent * HOUR_US:
                alerts.append(_silence(source, last, rule, now, f"sends again since {instant(next_heard):%H:%M} UTC"))
                alerts[-1]["state"] = "retracted"
        if _is_silent(known, now, watched_since, rule):
            alerts.append(_silence(source, known[-1], rule, now, "has sent nothing since"))
    return alerts


def _is_silent(known: list[int], now: int, watched_since: int, rule: SilenceRule) -> bool:
    last = known[-1]
    regular = sum(hour > last - rule.before * HOUR_US for hour in known) >= rule.heard
    watched = hour_of(watched_since + HOUR_US - 1)
    return regular and hour_of(now) - max(last + HOUR_US, watched) >= rule.silent * HOUR_US


def _silence(source: str, last: int, rule: SilenceRule, now: int, what: str) -> dict[str, Any]:
    silent_from = last + HOUR_US
    return history_alert(
        SILENT,
        "",
        "source",
        source,
        Window("", silent_from, silent_from + rule.silent * HOUR_US),
        f"source {source} sends every hour, and was last heard in the hour from {instant(last):%Y-%m-%d %H:%M} UTC: "
        f"it {what}",
        now,
    )
