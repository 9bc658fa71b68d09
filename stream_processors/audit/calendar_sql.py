"""Where a window begins, in SQL: the calendar once more, sharing no code with the one that the stream uses."""

from schemas.calendar import DAYS, LIFETIME, Calendar

LIFETIME_DAYS = 400
_DAY = "toDate(occurred_at, {zone:String})"
_FIRST = f"toStartOfMonth({_DAY})"


def window_start(kind: str, calendar: Calendar) -> str:
    """An expression over `occurred_at`, DateTime64(6, 'UTC'); the query has a parameter `zone`."""
    if kind == "hour":
        return "toDateTime64(toDateTime(dateTrunc('hour', occurred_at, {zone:String}), {zone:String}), 6, 'UTC')"
    if kind == LIFETIME:  # of months that the stream has in memory; older ones belong to no life
        kept = f"addDays(addMonths({_FIRST}, 1), {LIFETIME_DAYS}) >= today()"
        return f"if({kept}, toDateTime64(0, 6, 'UTC'), toDateTime64(1, 6, 'UTC'))"
    return f"toDateTime64(toDateTime({_first_day(kind, calendar)}, {{zone:String}}), 6, 'UTC')"


def _first_day(kind: str, calendar: Calendar) -> str:
    if kind == "week":  # toDayOfWeek: Monday is 1
        return f"subtractDays({_DAY}, (toDayOfWeek({_DAY}) + 6 - {DAYS.index(calendar.first_day_of_week)}) % 7)"
    if kind in ("quarter", "year"):
        months = 3 if kind == "quarter" else 12
        return f"subtractMonths({_FIRST}, (toMonth({_DAY}) + 12 - {calendar.fiscal_start_month}) % {months})"
    if kind == "billing_cycle":
        this, last = (_anchored(first, calendar) for first in (_FIRST, f"subtractMonths({_FIRST}, 1)"))
        return f"if({_DAY} >= {this}, {this}, {last})"
    return {"day": _DAY, "month": _FIRST}[kind]


def _anchored(first: str, calendar: Calendar) -> str:
    """The billing anchor's day of the month that begins at `first`; its last day where the month is shorter."""
    return f"addDays({first}, least({calendar.billing_anchor_day}, toDayOfMonth(toLastDayOfMonth({first}))) - 1)"
