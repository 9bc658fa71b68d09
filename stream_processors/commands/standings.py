"""How limits stand, as people read them: rows of the view `budget_status` as cells of a table."""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any

from schemas.calendar import LIFETIME
from schemas.money import grouped

COLUMNS = ("used", "limit", "", "%", "remaining", "days left", "at its end", "decision")
NUMBERS = ("used", "limit", "%", "remaining", "days left", "at its end")
BAR_CELLS = 10


def standing_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of `COLUMNS`; what is decided in a window that is over holds nobody up."""
    estimated = "" if Decimal(row["estimated"]) == 0 else f" ({grouped(row['estimated'])} estimated)"
    return (
        f"{grouped(row['used'])}{estimated}",
        f"{grouped(row['limit'])} {row['unit']}",
        bar(Decimal(row["used"]), Decimal(row["limit"])),
        percent(row),
        grouped(row["remaining"]),
        "" if row["window_kind"] == LIFETIME else f"{row['seconds_left'] / 86_400:.1f}",
        "" if row["window_kind"] == LIFETIME else grouped(row["projected"]),
        row["decision"] if row["current"] else "allow",
    )


def percent(row: Mapping[str, Any]) -> str:
    """Of the limit, one decimal, never rounded up: 99.9 has not reached 100."""
    share = Decimal(row["used"]) * 100 / Decimal(row["limit"])
    return str(share.quantize(Decimal("0.1"), ROUND_DOWN))


def bar(used: Decimal, limit: Decimal) -> str:
    """`███████···`: a cell for each whole tenth of the limit."""
    full = int(min(max(used * BAR_CELLS / limit, Decimal(0)), Decimal(BAR_CELLS)))
    return "█" * full + "·" * (BAR_CELLS - full)
