"""What the dashboard's columns and metrics must say, in terms of the tables: written here once more, on purpose.

The audit holds the datasets against this, so nothing of it is read from them. Expressions are of ClickHouse.
"""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.arrow import MEASURES

_COST = "sum(ifNull(cost_usd, toDecimal128(0, 12)))"

#: Metrics of datasets that add up usage, over `usage`.
METRICS: Mapping[str, str] = {
    "cost_usd": _COST,
    "cost_usd_exact": _COST,
    "cost_usd_known": f"if(sum(unpriced_requests) > 0 AND {_COST} = 0, NULL, {_COST})",
    "tokens": "sum(input_tokens + output_tokens)",
    **{name: f"sum({name})" for name in MEASURES},
}

#: Columns that the dashboard groups or filters usage by, over `usage`.
MEMBERS: Mapping[str, str] = {
    **{name: f"if({name} = '', '(unassigned)', {name})" for name in ("department", "user", "project", "feature")},
    **{name: name for name in ("provider", "model", "status")},
    **dict.fromkeys(("hour", "ts_hour"), "toStartOfHour(occurred_at)"),
    "ts_day": "toDate(occurred_at, {zone:String})",
    "day_start": "toDateTime(toDate(occurred_at, {zone:String}), {zone:String})",
}
#: Those of MEMBERS that are instants, to be compared as such: as text midnight is midnight in any zone.
INSTANTS = frozenset({"hour", "ts_hour", "day_start"})


class Shown(NamedTuple):
    """A table that a dataset shows row by row, and what its columns must say."""

    table: str
    columns: Mapping[str, str]


def _of_scope() -> dict[str, str]:
    named = "if(scope = '', '(unassigned)', scope)"
    place = f"if(scope_kind = 'department', {named}, concat(scope_kind, ' ', {named}))"
    return {
        "scope_name": f"if(scope_kind = 'organization', organization, concat(organization, ' / ', {place}))",
        "department": f"if(scope_kind = 'department', {named}, '')",
    }


_MONEY = "if(unit = 'cost', concat('$', {used}, ' of $', limit), concat({used}, ' of ', limit, ' ', unit))"
_NOW = "window_end > now64(6)"
_USED_NOW = f"if({_NOW}, used, '0')"

#: By the dataset's name.
SHOWN: Mapping[str, Shown] = {
    "alerts": Shown(
        "alert_entries",
        {
            **{
                name: name
                for name in (
                    *("alert_id", "state", "severity", "type", "budget_id", "organization", "scope_kind", "scope"),
                    *("window_kind", "window_start", "window_end", "threshold", "used", "limit", "unit", "detail"),
                    "raised_at",
                )
            },
            **_of_scope(),
            "raised": "formatDateTime(raised_at, '%b %d %H:%i', {zone:String})",
            "threshold_percent": "if(type = 'threshold', "
            "concat(toString(threshold), ' %', if(state = 'raised', '', ' retracted')), type)",
            "amount": f"if(type = 'threshold', {_MONEY.format(used='used')}, detail)",
        },
    ),
    "limits": Shown(
        "limit_entries",
        {
            **{
                name: name
                for name in (
                    *("as_of", "budget_id", "organization", "scope_kind", "scope", "window_kind", "window_end"),
                    *("unit", "limit"),
                )
            },
            **_of_scope(),
            "used_now": _USED_NOW,
            "amount": _MONEY.format(used=_USED_NOW),
            "remaining_now": f"if({_NOW}, remaining, limit)",
            "decision": f"if({_NOW} OR decision = 'pause', decision, 'allow')",
            "percent_used": f"if({_NOW}, toFloat64(used), 0) / nullIf(toFloat64(limit), 0)",
        },
    ),
}
