"""What is booked where another price holds now, and the command that re-rates it."""

import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from schemas.money import to_pico, usd_text
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.core.overrides import ANY, Override, Range
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_history import Change

BOOKED = """
SELECT organization, provider, model, tool, service_tier, countIf(kind != 'adjustment') AS rows, sum(cost_usd) AS usd,
    sum(unpriced_requests) AS unpriced
FROM usage
WHERE occurred_at >= {start:DateTime64(6, 'UTC')}
    AND occurred_at < {end:DateTime64(6, 'UTC')}
GROUP BY ALL
"""
NEVER = datetime(2100, 1, 1, tzinfo=UTC)
SELECTORS = ("organization", "provider", "model", "tool", "service_tier")

Row = dict[str, Any]
Stretch = tuple[Override, Range]


def booked_before(
    settings: Settings, change: Change, overrides: Sequence[Override], version: int
) -> dict[str, Any] | None:
    """Rows, dollars, unpriced requests, and the command that brings them to `version`; None when it cannot be told.

    `overrides`: the prices that there are then.
    """
    found: dict[tuple[str, ...], Row] = {}
    book = PriceBook.compiled()
    stretches = change.stretches(overrides)
    try:
        for override, dated in stretches:
            for row in _rows(settings, dated):
                names = book.names(row["provider"], row["model"])
                if override.matches(row["organization"], row["provider"], names, row["tool"], row["service_tier"]):
                    found[(dated.text(), *(str(value) for value in row.values()))] = row
    except warehouse.WarehouseError:
        return None
    rows = list(found.values())
    return {
        "rows": sum(row["rows"] for row in rows),
        "usd": usd_text(to_pico(sum((row["usd"] or Decimal(0) for row in rows), Decimal(0)))),
        "unpriced": sum(row["unpriced"] for row in rows),
        "rerate": _command(stretches, rows, version) if rows else None,
    }


def booked_text(booked: dict[str, Any] | None) -> list[str]:
    """For people."""
    if booked is None:
        return ["ClickHouse is away: what is booked in its range is not known"]
    rows = f"{booked['rows']} rows, {booked['usd']} US dollars, {booked['unpriced']} unpriced"
    told = [f"booked in its range under older versions: {rows}"]
    return [*told, f"this re-rates them: {booked['rerate']}"] if booked["rerate"] else told


def _rows(settings: Settings, dated: Range) -> Iterable[Row]:
    return warehouse.ask(settings, BOOKED, {"start": dated.start, "end": dated.end or NEVER})


def _command(stretches: Sequence[Stretch], rows: Sequence[Row], version: int) -> str:
    """Names of models and providers are those of the rows: a price may know them by another."""
    start = min(dated.start for _, dated in stretches)
    ends = [dated.end for _, dated in stretches if dated.end is not None]
    words = ["tollbook", "rerate", "--from", _text(start)]
    words += ["--to", _text(max(ends))] if len(ends) == len(stretches) else []
    for name in SELECTORS:
        if all(getattr(override, name) != ANY for override, _ in stretches):
            for value in sorted({row[name] for row in rows}):
                words += ["--where", f"{name}={value}"]
    return shlex.join([*words, "--price-version", str(version)])


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
