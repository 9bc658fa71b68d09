"""`tollbook adjust list` and `months`: what was adjusted, by whom and why, and what that made of a month."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import click

from schemas.money import to_pico, usd_text
from schemas.settings import Settings
from stream_processors.commands.output import print_json, print_table, reports_failure
from stream_processors.warehouse import ask

ENTERED = """
SELECT month, prior_period, booked_at, organization, department, adjustment_type, corrects, cost_usd, input_tokens,
    output_tokens, requests, reason, author, event_id, source
FROM adjustments
WHERE {month:String} IN ('', formatDateTime(month, '%Y-%m')) AND {organization:String} IN ('', organization)
ORDER BY month DESC, booked_at DESC, src_partition, src_offset DESC
LIMIT {most:UInt32}
"""
STATEMENT = """
SELECT * FROM monthly_statement
WHERE {month:String} IN ('', formatDateTime(month, '%Y-%m')) AND {organization:String} IN ('', organization)
ORDER BY month DESC, organization, department
"""


@click.command("list")
@click.option("--month", default="", help="Only of this month, as 2026-10.")
@click.option("--organization", default="", help="Only of this organization.")
@click.option("--max", "most", default=50, show_default=True, type=click.IntRange(min=1), help="How many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def list_entries(month: str, organization: str, most: int, as_json: bool) -> None:
    """List adjustments with who and why; `prior` marks those entered after their month was over.

    Example: tollbook adjust list --month 2026-10
    """
    named = {"month": _month(month), "organization": organization, "most": most}
    rows = ask(Settings(), ENTERED, named)
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    print_table(
        (
            "month",
            "entered (UTC)",
            "prior",
            "organization",
            "department",
            "type",
            "corrects",
            "USD",
            "reason",
            "author",
        ),
        [
            (
                f"{row['month']:%Y-%m}",
                f"{row['booked_at']:%Y-%m-%d %H:%M}",
                "prior" if row["prior_period"] else "",
                row["organization"],
                row["department"] or "(unassigned)",
                row["adjustment_type"],
                row["corrects"],
                _usd(row["cost_usd"]),
                row["reason"],
                row["author"],
            )
            for row in rows
        ],
        numbers=("USD",),
    )


@click.command()
@click.option("--month", default="", help="Only this month, as 2026-10.")
@click.option("--organization", default="", help="Only of this organization.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def months(month: str, organization: str, as_json: bool) -> None:
    """Show each month per department: original, adjustments, and net; `prior` is what came after the month's end.

    Example: tollbook adjust months --month 2026-10 --organization acme
    """
    rows = ask(Settings(), STATEMENT, {"month": _month(month), "organization": organization})
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    money = ("original_cost_usd", "adjusted_cost_usd", "prior_period_cost_usd", "net_cost_usd")
    print_table(
        ("month", "organization", "department", "original USD", "adjusted", "of that prior", "net USD", "unpriced"),
        [
            (
                f"{row['month']:%Y-%m}",
                row["organization"],
                row["department"] or "(unassigned)",
                *(_usd(row[name]) for name in money),
                f"{row['unpriced_requests']:,}",
            )
            for row in rows
        ],
        numbers=("original USD", "adjusted", "of that prior", "net USD", "unpriced"),
    )


def _month(text: str) -> str:
    try:
        return f"{date.fromisoformat(f'{text}-01'):%Y-%m}" if text else ""
    except ValueError as error:
        raise ValueError(f"--month = {text!r}: a month like 2026-10") from error


def _usd(amount: Decimal | None) -> str:
    return "" if amount is None else usd_text(to_pico(amount))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in row.items()}
