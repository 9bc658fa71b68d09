"""Looks once a minute for what is unlike the ledger's own history, and says so in `usage.alerts`; the sink does so.

Spend, errors, and what plans include are asked for every minute. Once an hour, when all that arrived before it has
landed, sources and users are judged, and the day that is over is summed up. While ClickHouse is away nothing is found;
the next look finds it. Each rule is in `core`, and in docs/notifications.md.
"""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from confluent_kafka import KafkaException

from schemas.calendar import Calendar, load_calendar
from schemas.money import to_pico
from schemas.registry import Registry, RegistryAwayError
from schemas.settings import Settings
from stream_processors.alert_log import append_alerts, read_alerts
from stream_processors.budget_log import read_histories as read_budgets
from stream_processors.budget_standings import actives
from stream_processors.core.budget_history import budgets_in_force
from stream_processors.core.daily_summary import DayRow, daily_summaries
from stream_processors.core.history_alerts import HOUR_US, TYPES, Said, due, hour_of
from stream_processors.core.plans import is_plan, plan_alerts
from stream_processors.core.silence import SilenceRule, silences
from stream_processors.core.spikes import (
    HourRow,
    SpikeRule,
    SurgeRule,
    earlier_hours,
    hours_to_judge,
    spikes,
    surges,
)
from stream_processors.core.suspicion import FirstRow, SuspicionRule, UserHour, first_seen, unusual_hours
from stream_processors.overdue import readers_behind
from stream_processors.warehouse import WarehouseError, ask, connect

LOOK_S = 60.0
NOTED_DAYS = 30
SECOND_US = 1_000_000
FOLDER = Path(__file__).resolve().parents[1] / "clickhouse" / "queries" / "watch"
log = logging.getLogger("tollbook.history")

Record = dict[str, Any]


def watch_history(settings: Settings) -> None:
    """For a thread: never returns. What cannot be asked or said now is asked and said the next time."""
    watch = HistoryWatch(settings, load_calendar(settings.calendar), _now())
    while True:
        time.sleep(LOOK_S)
        try:
            watch.look(_now())
        except (WarehouseError, KafkaException, RegistryAwayError, LookupError, ValueError) as error:
            log.warning("cannot hold the ledger against its history: %s", error)


class HistoryWatch:
    """What has been said, and up to which hour sources, users and days were judged. Times are microseconds UTC.

    Methods raise WarehouseError, KafkaException or RegistryAwayError when a part is away, LookupError or ValueError
    when what stands in the topic cannot be read.
    """

    def __init__(self, settings: Settings, calendar: Calendar, since: int) -> None:
        self._settings, self._calendar, self._since = settings, calendar, since
        self._said: set[Said] | None = None  # not asked yet
        self._judged = 0  # up to this hour

    def look(self, now: int) -> None:
        """Finds what is due, and appends it."""
        rows = self._hours(now)
        found = [*spikes(rows, now, SpikeRule()), *surges(rows, now, SurgeRule()), *self._plans(now)]
        hour = hour_of(now)
        by_the_hour = hour > self._judged and self._has_landed(hour)
        if by_the_hour:
            self._note(hour)
            found += [*self._silences(now), *self._suspicions(now), *self._summaries(now)]
        self._say(found)
        if by_the_hour:
            self._judged = hour

    def _hours(self, now: int) -> list[HourRow]:
        wanted = {each for hour in hours_to_judge(now) for each in (hour, *earlier_hours(hour))}
        rows = ask(self._settings, _sql("hours"), {"hours_s": sorted(each // SECOND_US for each in wanted)})
        return [
            HourRow(
                row["organization"],
                row["provider"],
                row["model"],
                row["hour_s"] * SECOND_US,
                row["request_count"],
                row["failed_count"],
                to_pico(row["spent_usd"]),
            )
            for row in rows
        ]

    def _has_landed(self, hour: int) -> bool:
        """Whether all that arrived before it has."""
        return all(reader.oldest_ms * 1000 >= hour for reader in readers_behind(self._settings))

    def _note(self, hour: int) -> None:
        """What is judged by: the hours before this one of each source and user. The sources last: they say how far."""
        given = {"until_s": hour // SECOND_US, "days": NOTED_DAYS}
        with connect(self._settings) as client:
            for name in ("note_user_values", "note_user_hours", "note_sources"):
                client.command(_sql(name), parameters=given)

    def _silences(self, now: int) -> list[Record]:
        given = {"until_s": hour_of(now) // SECOND_US, "days": NOTED_DAYS}
        rows = ask(self._settings, _sql("source_hours"), given)
        heard = {row["source"]: [at * SECOND_US for at in row["hours_s"]] for row in rows}
        return silences(heard, now, self._since, SilenceRule())

    def _suspicions(self, now: int) -> list[Record]:
        rows = ask(self._settings, _sql("user_values"), {"until_s": hour_of(now) // SECOND_US})
        found = first_seen([_first_row(row) for row in rows], now, SuspicionRule())
        for hour in (hour_of(now) - 2 * HOUR_US, hour_of(now) - HOUR_US):
            given = {"hour_s": hour // SECOND_US, "zone": self._calendar.zone}
            hours = [UserHour(*row.values()) for row in ask(self._settings, _sql("user_hours"), given)]
            found += unusual_hours(hours, hour, now, SuspicionRule())
        return found

    def _summaries(self, now: int) -> list[Record]:
        """Of the day before today; for the first hour of a day, until late usage is in, of the one before that."""
        today = self._calendar.window("day", now - HOUR_US)
        window = self._calendar.window("day", today.start - 1)
        day = datetime.fromtimestamp(window.start // SECOND_US, UTC).astimezone(ZoneInfo(self._calendar.zone)).date()
        rows = ask(self._settings, _sql("days"), {"day": day.isoformat()})
        return daily_summaries([_day_row(row) for row in rows], day, window, now)

    def _plans(self, now: int) -> list[Record]:
        found = []
        for budget in budgets_in_force(read_budgets(self._settings.kafka).values(), now):
            if is_plan(budget):
                window = self._calendar.window(budget.period, now)
                found += plan_alerts(budget, window, actives(self._settings, self._calendar, window), now)
        return found

    def _say(self, found: list[Record]) -> None:
        """What was said is asked of the topic when something seems to be new: another process may have said it."""
        if not found or (self._said is not None and not due(found, self._said)):
            return
        said = {
            (record["alert_id"], record["state"])
            for record in read_alerts(self._settings, follow=False)
            if record["type"] in TYPES
        }
        new = due(found, said)
        if new:
            registry = Registry(self._settings.registry)
            try:
                append_alerts(self._settings.kafka, registry, new)
            finally:
                registry.close()
        self._said = said | {(record["alert_id"], record["state"]) for record in new}
        for record in new:
            log.info("%s: %s", record["type"], record["detail"])


def _first_row(row: Mapping[str, Any]) -> FirstRow:
    return FirstRow(
        row["organization"],
        row["user"],
        row["kind"],
        row["value"],
        row["first_s"] * SECOND_US,
        row["known_since_s"] * SECOND_US,
    )


def _day_row(row: Mapping[str, Any]) -> DayRow:
    return DayRow(
        row["organization"],
        row["day"],
        row["user"],
        row["model"],
        row["request_count"],
        row["unpriced_count"],
        row["token_count"],
        to_pico(row["spent_usd"]),
    )


@cache
def _sql(name: str) -> str:
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def _now() -> int:
    return time.time_ns() // 1000
