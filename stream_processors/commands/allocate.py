"""`tollbook adjust allocate`: a shared cost, by what each member used."""

from datetime import UTC, datetime
from typing import Any

import click

from schemas.arrow import ROW_KEYS
from schemas.calendar import Window, load_calendar
from schemas.event import UsageEvent
from schemas.money import to_pico, usd_text
from schemas.registry import Registry
from schemas.settings import Settings
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.core.allocation import (
    ALLOCATION_TAG,
    MEMBER_TAG,
    Allocation,
    Member,
    entries_for,
    shares_due,
)
from stream_processors.core.dated import instant_us
from stream_processors.core.settlement import Booked
from stream_processors.entries import records_of, send
from stream_processors.landed import wait_booked
from stream_processors.warehouse import WarehouseError, ask

FIELDS = tuple(name for name in ROW_KEYS if name not in ("occurred_at", "organization"))
#: What was used in the month; no allocation has a part in it, so that one made twice comes to the same.
WEIGHTS = """
SELECT {field} AS member, sum({weight}) AS weight
FROM usage
WHERE organization = {{organization:String}} AND adjustment_type != 'allocation'
    AND occurred_at >= fromUnixTimestamp64Micro({{start:Int64}}, 'UTC')
    AND occurred_at < fromUnixTimestamp64Micro({{end:Int64}}, 'UTC')
GROUP BY member
"""
MEASURES = {
    "cost": "toInt128(ifNull(cost_usd, toDecimal128(0, 12)) * 1000000000000)",
    "tokens": "toInt128(input_tokens + output_tokens)",
    "requests": "toInt128(requests)",
}
BOOKED = f"""
SELECT tags['{MEMBER_TAG}'] AS member, sum(cost_usd) AS cost_usd, count() AS entries
FROM usage
WHERE organization = {{organization:String}} AND adjustment_type = 'allocation'
    AND tags['{ALLOCATION_TAG}'] = {{id:String}}
GROUP BY member
"""  # noqa: S608 -- our own names


@click.command()
@click.argument("allocation_id", metavar="ID")
@click.option("--organization", required=True, help="Whose members share it.")
@click.option("--month", required=True, help="Of whose usage, as 2026-10; the entries are dated to its end, or to now.")
@click.option("--amount", required=True, help="Signed dollars, up to 12 decimals.")
@click.option("--by", type=click.Choice(FIELDS), default="department", show_default=True, help="Who shares it.")
@click.option("--weigh", type=click.Choice(list(MEASURES)), default="cost", show_default=True, help="By how much each.")
@click.option("--from", "taken_from", default="", metavar="NAME=VALUE", help="Whose it was; default: it is a new cost.")
@click.option("--reason", required=True, help="Why.")
@click.option("--author", required=True, help="Who answers for it.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for what is on its way.")
@click.option("--dry-run", is_flag=True, help="Show the entries, send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def allocate(
    allocation_id: str,
    organization: str,
    month: str,
    amount: str,
    by: str,
    weigh: str,
    taken_from: str,
    reason: str,
    author: str,
    timeout: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Share an amount among the members of an organization by what each used in a month, to the pico-dollar.

    Known by its ID: run again, it books what has become different, such as by usage that came late; nothing otherwise.

    Example: tollbook adjust allocate gpu-2026-10 --organization acme --month 2026-10 --amount 1200.00
    --from department=platform --reason "reserved GPUs" --author mia
    """
    settings = Settings()
    require_kafka(settings.kafka)
    allocation = Allocation(allocation_id, organization, _amount(amount), _member(taken_from) if taken_from else None)
    window = _window(settings, month)
    if wait_booked(settings, timeout) is None:
        raise WarehouseError(f"not landed within {timeout:g} s; `tollbook status` shows which stage lags")
    due = shares_due(allocation, _weights(settings, organization, window, by, weigh))
    at = min(datetime.now(UTC), datetime.fromtimestamp((window.end - 1) / 1_000_000, UTC))
    entries = entries_for(allocation, due, _booked(settings, allocation), at, reason, author)
    if entries and not dry_run:
        send(settings, records_of(entries, Registry(settings.registry)))
    if as_json:
        print_json({"dry_run": dry_run, "entries": [entry.model_dump(exclude_defaults=True) for entry in entries]})
        return
    _print(entries, dry_run)


def _weights(settings: Settings, organization: str, window: Window, by: str, weigh: str) -> dict[Member, int]:
    query = WEIGHTS.format(field=by, weight=MEASURES[weigh])
    rows = ask(settings, query, {"organization": organization, "start": window.start, "end": window.end})
    return {Member(by, row["member"]): int(row["weight"]) for row in rows}


def _booked(settings: Settings, allocation: Allocation) -> dict[Member, Booked]:
    rows = ask(settings, BOOKED, {"organization": allocation.organization, "id": allocation.id})
    return {_member(row["member"]): Booked(to_pico(row["cost_usd"]), row["entries"]) for row in rows}


def _window(settings: Settings, month: str) -> Window:
    try:
        middle = datetime.strptime(f"{month}-15", "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"--month = {month!r}: a year and a month, as 2026-10") from error
    return load_calendar(settings.calendar).window("month", instant_us(middle))


def _amount(text: str) -> int:
    try:
        return to_pico(text)
    except ValueError as error:
        raise ValueError(f"--amount = {error}") from error


def _member(text: str) -> Member:
    name, equals, value = text.partition("=")
    if not equals or name not in FIELDS:
        raise ValueError(f"--from = {text!r}: NAME=VALUE, with a name of {', '.join(FIELDS)}")
    return Member(name, value)


def _print(entries: list[UsageEvent], dry_run: bool) -> None:
    rows: list[tuple[Any, ...]] = [
        (entry.tags[MEMBER_TAG], usd_text(entry.amount_pico or 0), entry.event_id) for entry in entries
    ]
    if rows:
        print_table(("member", "USD", "entry"), rows, numbers=("USD",))
    click.echo(f"{'would book' if dry_run else 'booked'} {len(entries):,} entries")
