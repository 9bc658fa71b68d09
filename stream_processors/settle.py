"""Books what depends on running totals, by the difference: volume discounts and overages, then credits.

The sink does so every hour, and whoever calls `tollbook settle` or closes a month at once.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.calendar import load_calendar
from schemas.event import UsageEvent
from schemas.money import to_pico
from schemas.registry import Registry
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.core.overages import Overage, overages_due
from stream_processors.core.price_file import Entry, only
from stream_processors.core.price_history import entries_at, latest_version
from stream_processors.core.running_totals import Cell, Credit, Place, Volume, bounds_of, credits_due, volumes_due
from stream_processors.core.settlement import RULE_TAG, Booked, Type, entries_for
from stream_processors.entries import records_of, send
from stream_processors.landed import wait_booked
from stream_processors.price_log import read_histories
from stream_processors.warehouse import WarehouseError

MONTH = "toUnixTimestamp64Micro(toDateTime64(toStartOfMonth(toDate(occurred_at, {zone:String})), 6, {zone:String}))"
# By stretches of months in which no credit begins or lapses. What credits have used up does not count as used; volume
# discounts and overages count when credits are settled, and not among themselves.
CELLS = f"""
SELECT
    organization, provider, {MONTH} AS month_us,
    arrayCount(bound -> bound <= toUnixTimestamp64Micro(occurred_at), {{bounds:Array(Int64)}}) AS part,
    sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd, sum(input_tokens + output_tokens) AS tokens
FROM usage
WHERE NOT (kind = 'adjustment' AND tags['{RULE_TAG}'] != '' AND adjustment_type IN {{without:Array(String)}})
GROUP BY organization, provider, month_us, part
"""  # noqa: S608 -- our own names
BOOKED = f"""
SELECT tags['{RULE_TAG}'] AS rule, organization, provider, {MONTH} AS month_us,
    sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd, count() AS entries
FROM usage
WHERE kind = 'adjustment' AND adjustment_type = {{type:String}} AND tags['{RULE_TAG}'] != ''
GROUP BY rule, organization, provider, month_us
"""  # noqa: S608 -- likewise


def settle(settings: Settings, author: str, timeout: float, dry_run: bool = False) -> list[UsageEvent]:
    """The entries that were due, and sent unless `dry_run`; `timeout` seconds for what is on its way.

    Raises WarehouseError, KafkaException or RegistryAwayError when a part is away.
    """
    histories = read_histories(settings.kafka)
    rules = entries_at(histories, latest_version(histories))
    kinds: tuple[Type, ...] = ("settlement", "credit")
    entries = []
    for kind in kinds:
        found = _due(settings, rules, kind, author, timeout)
        if found and not dry_run:
            send(settings, records_of(found, Registry(settings.registry)))
        entries += found
    return entries


def _due(settings: Settings, rules: Sequence[Entry], kind: Type, author: str, timeout: float) -> list[UsageEvent]:
    """Once all that was sent before is in the books. Raises WarehouseError."""
    if wait_booked(settings, timeout) is None:
        raise WarehouseError(f"not landed within {timeout:g} s; `tollbook status` shows which stage lags")
    calendar = load_calendar(settings.calendar)
    bounds = bounds_of(only(Credit, rules))
    without = ["settlement", "credit"] if kind == "settlement" else ["credit"]
    named = {"zone": calendar.zone, "bounds": bounds, "without": without, "type": kind}
    cells = [_cell(row, bounds) for row in warehouse.ask(settings, CELLS, named)]
    due = _settlements(cells, rules) if kind == "settlement" else credits_due(cells, only(Credit, rules))
    booked = {_place(row): _booked(row) for row in warehouse.ask(settings, BOOKED, named)}

    def last_of_month(month_us: int) -> int:
        return calendar.window("month", month_us).end - 1

    return entries_for(kind, due, booked, _reasons(rules), last_of_month, time.time_ns() // 1000, author)


def _settlements(cells: Sequence[Cell], rules: Sequence[Entry]) -> dict[Place, int]:
    return volumes_due(cells, only(Volume, rules)) | overages_due(cells, only(Overage, rules))


def _reasons(rules: Sequence[Entry]) -> dict[str, str]:
    return {
        **{rule.id: f"volume discount {rule.id}" for rule in only(Volume, rules)},
        **{rule.id: f"overage {rule.id}" for rule in only(Overage, rules)},
        **{rule.id: f"credit {rule.id} used up" for rule in only(Credit, rules)},
    }


def _cell(row: Mapping[str, Any], bounds: Sequence[int]) -> Cell:
    part, month_us = row["part"], row["month_us"]
    start_us = max(month_us, bounds[part - 1]) if part else month_us
    cost_pico, tokens = to_pico(row["cost_usd"]), row["tokens"]
    return Cell(start_us, month_us, row["organization"], row["provider"], cost_pico, tokens)


def _place(row: Mapping[str, Any]) -> Place:
    return Place(row["rule"], row["organization"], row["provider"], row["month_us"])


def _booked(row: Mapping[str, Any]) -> Booked:
    return Booked(to_pico(row["cost_usd"]), row["entries"])
