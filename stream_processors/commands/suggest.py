"""`tollbook budgets suggest`: limits that usage so far would have kept, or passed on so many days."""

from collections.abc import Mapping
from typing import Any

import click

from schemas.arrow import SCOPES, TOKEN_CLASSES
from schemas.calendar import load_calendar
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.commands.output import print_json, print_table, reports_failure

PERCENTILES = (50, 90, 95, 99)
AMOUNTS = {
    "cost": "sum(ifNull(cost_usd, toDecimal128(0, 12)))",
    "tokens": "sum(input_tokens + output_tokens)",
    **{name: f"sum({name})" for name in ("requests", *TOKEN_CLASSES)},
}
# Whole days of the calendar, today not among them. A percentile is a day's own amount (quantileExact), never a mixture.
BASELINE = """
SELECT
    organization,
    member,
    count() AS days_used,
    groupArray(amount) AS amounts,
    quantilesExact({levels})(amount) AS limits,
    max(amount) AS highest,
    arrayMap(limit -> arrayCount(amount -> amount > limit, amounts), limits) AS days_exceeded,
    arrayMap(limit -> toString(limit), limits) AS limit_texts,
    toString(highest) AS highest_text
FROM
(
    SELECT organization, `{scope}` AS member, toDate(occurred_at, {{zone:String}}) AS day, {amount} AS amount
    FROM usage
    WHERE day >= toDate(now(), {{zone:String}}) - {{days:UInt32}} AND day < toDate(now(), {{zone:String}})
    GROUP BY organization, member, day
)
GROUP BY organization, member
ORDER BY highest DESC, organization, member
"""


@click.command()
@click.option("--days", type=click.IntRange(1, 400), default=30, show_default=True, help="Look back on this many days.")
@click.option("--scope", type=click.Choice(SCOPES), default="user", show_default=True, help="Whose usage.")
@click.option("--unit", type=click.Choice(list(AMOUNTS)), default="cost", show_default=True, help="What to limit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def suggest(days: int, scope: str, unit: str, as_json: bool) -> None:
    """Propose limits per day from what each member of a scope used on the days it was used at all.

    For each percentile of those days: the limit, and on how many of them it would have been exceeded.

    Example: tollbook budgets suggest --days 30 --scope department
    """
    settings = Settings()
    levels = ", ".join(str(percentile / 100) for percentile in PERCENTILES)
    query = BASELINE.format(levels=levels, scope=scope, amount=AMOUNTS[unit])
    zone = load_calendar(settings.calendar).zone
    rows = warehouse.ask(settings, query, {"zone": zone, "days": days})
    if as_json:
        print_json([_suggestion(scope, unit, row) for row in rows])
        return
    if not rows:
        click.echo(f"There is no usage in the {days} days before today.", err=True)
        return
    columns = [f"p{percentile}" for percentile in PERCENTILES]
    print_table(
        ("organization", scope, "days used", *columns, "highest"),
        [
            (
                row["organization"],
                row["member"] or "(unassigned)",
                str(row["days_used"]),
                *_cells(row),
                row["highest_text"],
            )
            for row in rows
        ],
        numbers=("days used", *columns, "highest"),
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [f"{limit} ({days})" for limit, days in zip(row["limit_texts"], row["days_exceeded"], strict=True)]


def _suggestion(scope: str, unit: str, row: Mapping[str, Any]) -> dict[str, Any]:
    found = zip(PERCENTILES, row["limit_texts"], row["days_exceeded"], strict=True)
    return {
        "organization": row["organization"],
        "scope": f"{scope}:{row['member']}",
        "unit": unit,
        "days_used": row["days_used"],
        "highest": row["highest_text"],
        "limits": [
            {"percentile": percentile, "limit": limit, "days_exceeded": exceeded}
            for percentile, limit, exceeded in found
        ],
    }
