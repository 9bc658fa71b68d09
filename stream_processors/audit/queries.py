"""The questions of the audit, one SQL file each, asked over one client."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from clickhouse_connect.driver import Client

from schemas.arrow import MEASURES
from schemas.calendar import Calendar

FOLDER = Path(__file__).resolve().parents[2] / "clickhouse" / "queries" / "audit"
#: Beyond this a GROUP BY goes on on disk: the audit must not need more memory as the ledger grows.
SETTINGS = {"max_bytes_before_external_group_by": 2_000_000_000}

#: Written into the files for their `{name}` without a type. The sums are those of `compare.SUMS`, in that order.
_ZERO = "toDecimal128(0, 12)"
MACROS = {
    "measures": ", ".join(MEASURES),
    "sum_measures": ", ".join(f"sum({name}) AS {name}" for name in MEASURES),
    "sums": f"({', '.join(f'sum({name})' for name in MEASURES)}, sum(ifNull(cost_usd, {_ZERO})))",
    "expected": f"({', '.join(f'sumIf({name}, is_usage)' for name in MEASURES)}, sumIf(cost_usd, is_usage))",
    "found": f"({', '.join(f'sumIf({name}, NOT is_usage)' for name in MEASURES)}, sumIf(cost_usd, NOT is_usage))",
    "cost": f"sum(ifNull(cost_usd, {_ZERO})) AS cost_usd",
}


@cache
def sql_text(name: str) -> str:
    """The file `name`.sql with the measures written in."""
    text = (FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    for macro, value in MACROS.items():
        text = text.replace(f"{{{macro}}}", value)
    return text


class Ledger:
    """ClickHouse as the audit sees it: rows by column name, under a calendar given once."""

    def __init__(self, client: Client, calendar: Calendar) -> None:
        self._client = client
        self.calendar = calendar

    def ask(self, name: str, parameters: Mapping[str, Any] | None = None, **parts: str) -> list[dict[str, Any]]:
        """The rows that the query in `name`.sql gives; `parts` are SQL to write in for `{name}`."""
        text = sql_text(name)
        for part, value in parts.items():
            text = text.replace(f"{{{part}}}", value)
        # Only what the text names: with parameters and no place for them the client formats the text as Python's `%`.
        given = {"zone": self.calendar.zone} | dict(parameters or {})
        return self.ask_sql(text, {name: value for name, value in given.items() if f"{{{name}:" in text})

    def ask_one(self, name: str, parameters: Mapping[str, Any] | None = None, **parts: str) -> dict[str, Any]:
        """The one row of an aggregate."""
        [row] = self.ask(name, parameters, **parts)
        return row

    def ask_sql(self, text: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of a query that comes from elsewhere (a dataset)."""
        answer = self._client.query(text, parameters=dict(parameters or {}), settings=SETTINGS)
        return list(answer.named_results())
