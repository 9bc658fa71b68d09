"""What is booked where a user belongs elsewhere now, and the command that moves it."""

import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from schemas.money import to_pico, usd_text
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.commands.correcting import LAST
from stream_processors.core.dated import instant_us
from stream_processors.core.directory import Person, Stretch

BOOKED = """
SELECT usage.organization AS organization, usage.user AS user, countIf(usage.kind != 'adjustment') AS rows,
    sum(usage.cost_usd) AS usd
FROM usage
INNER JOIN
(
    SELECT each.1 AS organization, each.2 AS user, each.3 AS start_us, each.4 AS end_us
    FROM
    (
        SELECT arrayJoin(arrayZip({organizations:Array(String)}, {users:Array(String)}, {starts:Array(Int64)},
            {ends:Array(Int64)})) AS each
    )
) AS stretches ON usage.organization = stretches.organization AND usage.user = stretches.user
WHERE usage.occurred_at >= fromUnixTimestamp64Micro({first:Int64}, 'UTC')
    AND toUnixTimestamp64Micro(usage.occurred_at) >= start_us AND toUnixTimestamp64Micro(usage.occurred_at) < end_us
GROUP BY ALL
HAVING rows > 0
"""
STRETCHES_A_QUERY = 100  # they travel in its address
MOST_NAMED = 20

Changed = tuple[Person, Sequence[Stretch]]
Row = dict[str, Any]


def booked_elsewhere(settings: Settings, changed: Iterable[Changed]) -> dict[str, Any] | None:
    """Rows and dollars of people in the stretches of time in which they changed, and the command that moves them.

    None when it cannot be told: ClickHouse is away.
    """
    stretches = [(person, stretch) for person, found in changed for stretch in found]
    rows: list[Row] = []
    try:
        for first in range(0, len(stretches), STRETCHES_A_QUERY):
            rows += _rows(settings, stretches[first : first + STRETCHES_A_QUERY])
    except warehouse.WarehouseError:
        return None
    usd = sum((row["usd"] or Decimal(0) for row in rows), Decimal(0))
    return {
        "rows": sum(row["rows"] for row in rows),
        "usd": usd_text(to_pico(usd)),
        "command": _command([stretch for _, stretch in stretches], rows) if rows else None,
    }


def booked_text(booked: dict[str, Any] | None) -> list[str]:
    """For people."""
    if booked is None:
        return ["ClickHouse is away: what is booked where they do not belong now is not known"]
    if not booked["rows"]:
        return []
    told = (
        f"booked under older versions while they belonged elsewhere: {booked['rows']} rows, {booked['usd']} US dollars"
    )
    return [told, f"this moves them: {booked['command']}"]


def _rows(settings: Settings, stretches: Sequence[tuple[Person, Stretch]]) -> list[Row]:
    starts = [instant_us(start) for _, (start, _) in stretches]
    parameters = {
        "organizations": [person.organization for person, _ in stretches],
        "users": [person.user for person, _ in stretches],
        "starts": starts,
        "ends": [instant_us(end or LAST) for _, (_, end) in stretches],
        "first": min(starts),
    }
    return warehouse.ask(settings, BOOKED, parameters)


def _command(stretches: Sequence[Stretch], rows: Sequence[Row]) -> str:
    words = ["tollbook", "directory", "correct", "--from", _text(min(start for start, _ in stretches))]
    ends = [end for _, end in stretches if end is not None]
    words += ["--to", _text(max(ends))] if len(ends) == len(stretches) else []
    for name in ("organization", "user"):
        values = sorted({row[name] for row in rows})
        for value in values if len(values) <= MOST_NAMED else ():
            words += ["--where", f"{name}={value}"]
    return shlex.join(words)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
