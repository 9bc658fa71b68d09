"""`tollbook tax`: a month's net cost, the tax on it and both together, per organization and provider."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from schemas.calendar import load_calendar
from schemas.money import to_pico, usd_text
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.core.dated import instant_us
from stream_processors.core.price_file import only
from stream_processors.core.price_history import entries_at, latest_version
from stream_processors.core.taxes import Net, Tax, TaxLine, stretches, tax_lines
from stream_processors.price_log import read_histories

NET = """
SELECT organization, provider, sum(ifNull(cost_usd, toDecimal128(0, 12))) AS net_usd,
    sum(unpriced_requests) AS unpriced_requests
FROM usage
WHERE occurred_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC')
    AND occurred_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
    AND {organization:String} IN ('', organization)
GROUP BY organization, provider
"""


@click.command()
@click.option("--month", required=True, help="Of the calendar, as 2026-10.")
@click.option("--organization", default="", help="Only this organization.")
@click.option(
    "--price-version", type=click.IntRange(min=0), help="Whose rules, as in `prices diff`; default: the newest."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def tax(month: str, organization: str, price_version: int | None, as_json: bool) -> None:
    """Show what MONTH cost, the tax on it by the [[tax]] rules of `prices apply`, and both together.

    Tax is on top: no cost in the ledger has it. Where no rule says anything the tax is not known, which is not 0.
    Corrections count in the month that they are dated to, as everywhere.

    Example: tollbook tax --month 2026-10 --organization acme
    """
    settings = Settings()
    require_kafka(settings.kafka)
    start, end = _bounds_us(settings, month)
    histories = read_histories(settings.kafka)
    newest = latest_version(histories)
    version = newest if price_version is None else price_version
    if version > newest:
        raise ValueError(f"--price-version = {version}: there are versions 0 to {newest}")
    rules = only(Tax, entries_at(histories, version))
    lines = tax_lines(_nets(settings, rules, start, end, organization), rules)
    if as_json:
        print_json([_told(line) for line in lines])
    else:
        _print(lines, version)


def _bounds_us(settings: Settings, month: str) -> tuple[int, int]:
    calendar = load_calendar(settings.calendar)
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=ZoneInfo(calendar.zone))
    except ValueError as error:
        raise ValueError(f"--month = {month!r}: a month like 2026-10") from error
    window = calendar.window("month", instant_us(first))
    return window.start, window.end


def _nets(settings: Settings, rules: Sequence[Tax], start: int, end: int, organization: str) -> Iterator[Net]:
    for begins, ends in stretches(rules, start, end):
        named = {"start": begins, "end": ends, "organization": organization}
        for row in warehouse.ask(settings, NET, named):
            cost_pico = to_pico(row["net_usd"])
            yield Net(row["organization"], row["provider"], begins, cost_pico, row["unpriced_requests"])


def _told(line: TaxLine) -> dict[str, Any]:
    known = line.tax_pico is not None
    return {
        "organization": line.organization,
        "provider": line.provider,
        "rule": line.rule,
        "percent": None if line.percent is None else str(line.percent),
        "net_usd": usd_text(line.net_pico),
        "tax_usd": usd_text(line.tax_pico) if line.tax_pico is not None else None,
        "gross_usd": usd_text(line.net_pico + (line.tax_pico or 0)) if known else None,
        "unpriced_requests": line.unpriced_requests,
    }


def _print(lines: Sequence[TaxLine], version: int) -> None:
    money = ("net_usd", "tax_usd", "gross_usd")
    rows = [
        (
            told["organization"],
            told["provider"] or "(none)",
            told["rule"] or "no rule",
            told["percent"] or "",
            *(told[name] or "" for name in money),
            f"{told['unpriced_requests']:,}",
        )
        for told in map(_told, lines)
    ]
    columns = ("organization", "provider", "rule", "percent", "net USD", "tax USD", "gross USD", "unpriced")
    print_table(columns, rows, numbers=columns[3:])
    for organization in dict.fromkeys(line.organization for line in lines):
        own = [line for line in lines if line.organization == organization]
        net, tax_pico = sum(line.net_pico for line in own), sum(line.tax_pico or 0 for line in own)
        unknown = sum(line.tax_pico is None for line in own)
        rest = f"; without a rule: {unknown} of {len(own)} lines" if unknown else ""
        click.echo(
            f"{organization}: net {usd_text(net)}, tax {usd_text(tax_pico)}, gross {usd_text(net + tax_pico)}{rest}"
        )
    click.echo(f"by version {version} of the prices")


commands: list[click.Command] = [tax]
