"""How a budget stood when an alert was raised: from the alert's own fields, so that each attempt says the same."""

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal, localcontext
from typing import Any, NamedTuple

TENTH = Decimal("0.1")
CENT = Decimal("0.01")
DAY_S = 86_400
DIGITS = 80  # more than the largest limit times the longest window has


class Standing(NamedTuple):
    """Decimal text; amounts in the alert's unit."""

    percent: str  # of the limit, never rounded up: 99.9 has not reached 100
    remaining: str
    days_left: str
    projected: str  # at the window's end, at the pace of the window so far: an estimate, in cents for cost


def standing(alert: Mapping[str, Any]) -> Standing | None:
    """Of an alert with instants as text; None when it is not about a budget."""
    if not Decimal(alert["limit"]):
        return None
    start, end, at = (datetime.fromisoformat(alert[name]) for name in ("window_start", "window_end", "raised_at"))
    length_s, left_s = int((end - start).total_seconds()), max(0, int((end - at).total_seconds()))
    past_s = max(1, length_s - left_s)
    with localcontext() as exact:
        exact.prec = DIGITS
        used, limit = Decimal(alert["used"]), Decimal(alert["limit"])
        pace = used * length_s / past_s
        return Standing(
            str((used * 100 / limit).quantize(TENTH, ROUND_DOWN)),
            f"{limit - used:f}",
            str((Decimal(left_s) / DAY_S).quantize(TENTH, ROUND_DOWN)),
            str(pace.quantize(CENT if alert["unit"] == "cost" else Decimal(1), ROUND_HALF_UP)),
        )
