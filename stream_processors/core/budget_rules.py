"""The rules for a budget as it is written: what each field may hold, and what fields must agree on."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.arrow import SCOPES
from schemas.calendar import BUDGET_PERIODS, LIFETIME
from schemas.money import to_pico
from stream_processors.core.budgets import ACTIONS, ALERT, EACH, FULL, PAUSE, SEVERITIES, UNITS
from stream_processors.core.selection import CONDITION_FIELDS

DEFAULTS: Mapping[str, Any] = {
    "organization": EACH,
    "thresholds": [50, 75, 90, 95, 100],
    "conditions": {},
    "action": ALERT,
    "notify": {},
    "forecast": False,
    "valid_from": None,
    "valid_until": None,
    "fallback_usd": None,
    "projects": None,
    "members": None,
    "carry_over": False,
}
LIVING = ("task", "session")
MOST_COUNT = 2**63 - 1
MOST_ACTIVE = 1_000_000  # projects, or members, of a plan
MOST_FALLBACK_USD = 1_000  # a request
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def mistakes(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, problem) of every rule that a table breaks."""
    for field in table:
        if field not in _RULES:
            yield field, f"{field}: unknown field; allowed: {', '.join(_RULES)}"
    for field, (holds, rule) in _RULES.items():
        if field not in table and field not in DEFAULTS:
            yield field, f"{field}: missing; must be {rule}"
        elif field in table and not holds(table[field]):
            yield field, f"{field} = {table[field]!r}: must be {rule}"
    yield from _disagreements(table)


def _disagreements(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong between fields that are right by themselves."""
    unit, limit = table.get("unit"), table.get("limit")
    if unit in UNITS and unit != "cost" and is_limit(limit) and not is_count(limit):
        yield "limit", f"limit = {limit!r}: must be a positive whole number up to {MOST_COUNT} for unit {unit}"
    if table.get("conditions") and table.get("action", ALERT) != ALERT:
        # Who asks whether a call may be made does not say what it will be used for.
        yield "action", f"action = {table['action']!r}: must be alert for a budget with conditions"
    if table.get("fallback_usd") is not None and unit != "cost":
        yield (
            "fallback_usd",
            f"fallback_usd = {table['fallback_usd']!r}: must be left out for unit {unit}: it is for cost",
        )
    yield from _plan_disagreements(table)
    if table.get("period") == LIFETIME:
        yield from _lifetime_disagreements(table)
    if table.get("carry_over") is True and table.get("period") == "year":
        # What a year is made of is kept in memory for 400 days.
        yield "carry_over", "carry_over = True: must be left out for period year"
    notify, thresholds = table.get("notify", {}), table.get("thresholds", DEFAULTS["thresholds"])
    if table.get("action") == PAUSE and _is_thresholds(thresholds) and FULL not in thresholds:
        yield "thresholds", f"thresholds = {thresholds!r}: must hold {FULL} for action {PAUSE}, which begins there"
    if _is_notify(notify) and _is_thresholds(thresholds):
        for name in notify:
            if int(name) not in thresholds:
                yield "notify", f"notify: {name} is none of the thresholds {', '.join(map(str, thresholds))}"
    start, end = table.get("valid_from"), table.get("valid_until")
    if _is_instant(start) and _is_instant(end) and to_instant(start) >= to_instant(end):
        yield "valid_until", f"valid_until = {end}: must be later than valid_from = {start}"
    organization, scope = table.get("organization", EACH), table.get("scope", "")
    kind, _, name = scope.partition(":") if isinstance(scope, str) else ("", "", "")
    if kind == "organization" and EACH not in (name, organization) and name != organization:
        yield "scope", f"scope = {scope!r}: organization is {organization!r}, so the budget would cover nothing"


def _lifetime_disagreements(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A life has no pace and no next one; that of an organization does not end."""
    scope = table.get("scope", "")
    if _is_scope(scope) and scope.partition(":")[0] not in LIVING:
        yield "scope", f"scope = {scope!r}: must be of {' or '.join(LIVING)} for period {LIFETIME}"
    for name in ("forecast", "carry_over"):
        if table.get(name) is True:
            yield name, f"{name} = True: must be left out for period {LIFETIME}"


def _plan_disagreements(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Who is active is counted for organizations, by days."""
    for name in ("projects", "members"):
        if table.get(name) is None:
            continue
        if isinstance(table.get("scope"), str) and not table["scope"].startswith("organization:"):
            yield (
                name,
                f"{name} = {table[name]!r}: must be left out for scope {table['scope']!r}: it is for organizations",
            )
        if table.get("period") == "hour":
            yield name, f"{name} = {table[name]!r}: must be left out for period hour: days are counted"


def to_instant(value: Any) -> int:
    """Microseconds UTC of an instant as TOML has it, or as text."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    micros: int = (moment - EPOCH) // timedelta(microseconds=1)
    return micros


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 128


def _is_scope(value: Any) -> bool:
    kind, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    return kind in SCOPES and _is_name(name)


def _is_conditions(value: Any) -> bool:
    return isinstance(value, dict) and all(
        name in CONDITION_FIELDS
        and (_is_name(wanted) or (isinstance(wanted, list) and len(wanted) > 0 and all(map(_is_name, wanted))))
        for name, wanted in value.items()
    )


def is_limit(value: Any) -> bool:
    """Text or a whole number, so that no float ever holds money; as large as the ledger's Decimal(38, 12) holds."""
    if type(value) not in (int, str):  # `True` is no number either
        return False
    text = str(value)
    return re.fullmatch(r"[0-9]{1,26}(\.[0-9]{1,12})?", text) is not None and to_pico(text) > 0


def _is_fallback(value: Any) -> bool:
    return is_limit(value) and to_pico(str(value)) <= to_pico(str(MOST_FALLBACK_USD))


def _is_active(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST_ACTIVE


def is_count(value: Any) -> bool:
    return "." not in str(value) and int(value) <= MOST_COUNT


def _is_thresholds(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(type(each) is int and 1 <= each <= 1000 for each in value)
        and value == sorted(set(value))
    )


def _is_notify(value: Any) -> bool:
    return isinstance(value, dict) and all(
        re.fullmatch(r"[1-9][0-9]{0,3}", name) is not None and _is_told(told) for name, told in value.items()
    )


def _is_told(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) > 0
        and value.keys() <= {"severity", "to"}
        and value.get("severity", "info") in SEVERITIES
        and isinstance(value.get("to", []), list)
        and all(map(_is_name, value.get("to", [])))
    )


def _is_instant(value: Any) -> bool:
    """With its zone: TOML's offset date-time, or the same as text, which JSON needs."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return False
    return isinstance(moment, datetime) and moment.tzinfo is not None


_INSTANT_RULE = "a date and time with its zone, as 2027-01-01T00:00:00+01:00"
_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "id": (
        lambda value: isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value) is not None,
        "1 to 64 letters, digits, '.', '_' or '-'",
    ),
    "organization": (_is_name, "a name of 1 to 128 characters, or '*' for each"),
    "scope": (_is_scope, f"KIND:NAME or KIND:*, KIND one of {', '.join(SCOPES)}"),
    "period": (lambda value: value in BUDGET_PERIODS, f"one of {', '.join(BUDGET_PERIODS)}"),
    "unit": (lambda value: value in UNITS, f"one of {', '.join(UNITS)}"),
    "limit": (is_limit, "positive, as text ('150.00', at most 12 decimals) or a whole number; never a float"),
    "conditions": (
        _is_conditions,
        f"{{ FIELD = 'value' }} or {{ FIELD = ['one', 'other'] }}, FIELD one of {', '.join(CONDITION_FIELDS)}",
    ),
    "action": (lambda value: value in ACTIONS, f"one of {', '.join(ACTIONS)}"),
    "notify": (
        _is_notify,
        "{ THRESHOLD = { severity = 'caution', to = ['CHANNEL'] } }, one of both or both, "
        f"severity one of {', '.join(SEVERITIES)}",
    ),
    "fallback_usd": (
        _is_fallback,
        f"positive dollars up to {MOST_FALLBACK_USD}, as text ('0.05') or a whole number; never a float",
    ),
    "projects": (_is_active, f"a whole number from 1 to {MOST_ACTIVE}"),
    "members": (_is_active, f"a whole number from 1 to {MOST_ACTIVE}"),
    "forecast": (lambda value: isinstance(value, bool), "true or false"),
    "carry_over": (lambda value: isinstance(value, bool), "true or false"),
    "valid_from": (_is_instant, _INSTANT_RULE),
    "valid_until": (_is_instant, _INSTANT_RULE),
    "thresholds": (_is_thresholds, "a list of whole percents from 1 to 1000, ascending, each once"),
}
