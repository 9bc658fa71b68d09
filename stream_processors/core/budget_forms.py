"""Budgets as people write them (`budgets.toml`) and as `usage.budgets` keeps them; one set of rules for both."""

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schemas.arrow import SCOPES
from schemas.calendar import PERIODS
from schemas.money import to_pico
from stream_processors.core.budgets import (
    ACTIONS,
    EACH,
    SEVERITIES,
    UNITS,
    Budget,
    Grant,
    Notice,
    amount_text,
    severity,
)
from stream_processors.core.selection import CONDITION_FIELDS, Conditions

DEFAULTS: Mapping[str, Any] = {
    "organization": EACH,
    "thresholds": [50, 75, 90, 95, 100],
    "conditions": {},
    "action": "alert",
    "notify": {},
}
MOST_COUNT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Dated:
    """A budget as it is from `effective_at` (microseconds UTC) on, until the next of its history."""

    effective_at: int
    budget: Budget


History = tuple[Dated, ...]


def parse_budgets(text: str, path: str) -> list[Budget]:
    """The `[[budget]]` tables of a TOML text; ValueError lists every mistake with line, field, value and rule."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from error
    tables = document.pop("budget", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path}:{_line_of(text, None, 'budget')}: budget: begin each budget with [[budget]]")
    found: list[tuple[int | None, str, str]]
    found = [(None, name, f"{name}: unknown; allowed: [[budget]]") for name in document]
    found += [(index, field, problem) for index, table in enumerate(tables) for field, problem in _mistakes(table)]
    found += _repeated(tables)
    if found:
        located = sorted((_line_of(text, index, field), problem) for index, field, problem in found)
        raise ValueError("\n".join(f"{path}:{line}: {problem}" for line, problem in located))
    return [_budget(table, version=0) for table in tables]


def to_record(history: Sequence[Dated]) -> dict[str, Any]:
    """The value of `usage.budgets`: the whole dated history of one id, oldest first. Amounts are decimal text."""
    return {"id": history[0].budget.id, "history": [_entry(dated) for dated in history]}


def from_record(record: Mapping[str, Any]) -> History:
    """Reverse of `to_record`; ValueError names id, version and every field at fault."""
    return tuple(_dated(record["id"], entry) for entry in record["history"])


def scope_text(budget: Budget) -> str:
    """As in the file: `department:*`."""
    return f"{budget.scope_kind}:{budget.scope}"


def _entry(dated: Dated) -> dict[str, Any]:
    budget = dated.budget
    return {
        "version": budget.version,
        "effective_at": dated.effective_at,
        "organization": budget.organization,
        "scope": scope_text(budget),
        "period": budget.period,
        "unit": budget.unit,
        "limit": amount_text(budget.unit, budget.limit),
        "thresholds": list(budget.thresholds),
        "conditions": {name: list(values) for name, values in budget.conditions},
        "action": budget.action,
        "notify": {
            str(notice.threshold): {"severity": notice.severity, "to": list(notice.to)} for notice in budget.notify
        },
        "grants": [
            {
                "organization": grant.organization,
                "scope": grant.scope,
                "amount": amount_text(budget.unit, grant.amount),
                "at": grant.at,
            }
            for grant in budget.grants
        ],
    }


def _dated(budget_id: str, entry: Mapping[str, Any]) -> Dated:
    ours = ("version", "effective_at", "grants")
    fields = {name: value for name, value in entry.items() if name not in ours} | {"id": budget_id}
    problems = [problem for _, problem in _mistakes(fields)]
    problems += [
        f"{name} = {entry.get(name)!r}: must be a whole number"
        for name in ("version", "effective_at")
        if type(entry.get(name)) is not int
    ]
    if problems:
        raise ValueError(f"budget {budget_id}, version {entry.get('version')}: " + "; ".join(problems))
    budget = _budget(fields, entry["version"])
    grants = tuple(
        Grant(grant["organization"], grant["scope"], parse_amount(budget.unit, grant["amount"]), grant["at"])
        for grant in entry.get("grants", ())
    )
    return Dated(entry["effective_at"], replace(budget, grants=grants))


def parse_amount(unit: str, text: str) -> int:
    """Pico-dollars for unit cost, else a count. Raises ValueError for what is no positive amount."""
    if not _is_limit(text) or (unit != "cost" and not _is_count(text)):
        raise ValueError(f"amount = {text!r}: must be positive, a whole number for any unit but cost")
    return to_pico(text) if unit == "cost" else int(text)


def _budget(table: Mapping[str, Any], version: int) -> Budget:
    fields = {**DEFAULTS, **table}
    kind, _, scope = fields["scope"].partition(":")
    return Budget(
        id=fields["id"],
        organization=fields["organization"],
        scope_kind=kind,
        scope=scope,
        period=fields["period"],
        unit=fields["unit"],
        limit=to_pico(str(fields["limit"])) if fields["unit"] == "cost" else int(fields["limit"]),
        thresholds=tuple(fields["thresholds"]),
        version=version,
        conditions=conditions_of(fields["conditions"]),
        action=fields["action"],
        notify=_notices(fields["notify"]),
    )


def _notices(table: Mapping[str, Mapping[str, Any]]) -> tuple[Notice, ...]:
    """In ascending order of thresholds; a severity that is left out is the usual one."""
    return tuple(
        Notice(threshold, told.get("severity", severity(threshold)), tuple(told.get("to", ())))
        for threshold, told in sorted((int(name), told) for name, told in table.items())
    )


def conditions_of(table: Mapping[str, str | Collection[str]]) -> Conditions:
    """In one order, whichever they were written in: the same conditions are the same budget."""
    values = {name: {value} if isinstance(value, str) else set(value) for name, value in table.items()}
    return tuple((name, tuple(sorted(values[name]))) for name in sorted(values))


def _mistakes(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
    if unit in UNITS and unit != "cost" and _is_limit(limit) and not _is_count(limit):
        yield "limit", f"limit = {limit!r}: must be a positive whole number up to {MOST_COUNT} for unit {unit}"
    if table.get("conditions") and table.get("action", "alert") != "alert":
        # Who asks whether a call may be made does not say what it will be used for.
        yield "action", f"action = {table['action']!r}: must be alert for a budget with conditions"
    notify, thresholds = table.get("notify", {}), table.get("thresholds", DEFAULTS["thresholds"])
    if _is_notify(notify) and _is_thresholds(thresholds):
        for name in notify:
            if int(name) not in thresholds:
                yield "notify", f"notify: {name} is none of the thresholds {', '.join(map(str, thresholds))}"
    organization, scope = table.get("organization", EACH), table.get("scope", "")
    kind, _, name = scope.partition(":") if isinstance(scope, str) else ("", "", "")
    if kind == "organization" and EACH not in (name, organization) and name != organization:
        yield "scope", f"scope = {scope!r}: organization is {organization!r}, so the budget would cover nothing"


def _repeated(tables: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str, str]]:
    ids = [table.get("id") for table in tables]
    for index, budget_id in enumerate(ids):
        if isinstance(budget_id, str) and budget_id in ids[:index]:
            yield index, "id", f"id = {budget_id!r}: already used above; each budget needs its own"


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


def _is_limit(value: Any) -> bool:
    """Text or a whole number, so that no float ever holds money; as large as the ledger's Decimal(38, 12) holds."""
    if type(value) not in (int, str):  # `True` is no number either
        return False
    text = str(value)
    return re.fullmatch(r"[0-9]{1,26}(\.[0-9]{1,12})?", text) is not None and to_pico(text) > 0


def _is_count(value: Any) -> bool:
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


_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "id": (
        lambda value: isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value) is not None,
        "1 to 64 letters, digits, '.', '_' or '-'",
    ),
    "organization": (_is_name, "a name of 1 to 128 characters, or '*' for each"),
    "scope": (_is_scope, f"KIND:NAME or KIND:*, KIND one of {', '.join(SCOPES)}"),
    "period": (lambda value: value in PERIODS, f"one of {', '.join(PERIODS)}"),
    "unit": (lambda value: value in UNITS, f"one of {', '.join(UNITS)}"),
    "limit": (_is_limit, "positive, as text ('150.00', at most 12 decimals) or a whole number; never a float"),
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
    "thresholds": (_is_thresholds, "a list of whole percents from 1 to 1000, ascending, each once"),
}

# Strings and comments of TOML: in them, nothing begins a table or a field.
_QUOTED = re.compile(
    r"""\"{3}[\s\S]*?\"{3} | '{3}[\s\S]*?'{3} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' | \#[^\n]*""", re.VERBOSE
)


def _line_of(text: str, index: int | None, field: str) -> int:
    """The line (from 1) of a field of the budget at `index`, or of its [[budget]]; of the document with None."""
    lines = _QUOTED.sub(_without_lines, text).split("\n")
    heads = [number for number, line in enumerate(lines) if re.match(r"\s*\[\[\s*budget\s*\]\]", line)]
    if index is None:
        return _first(lines, range(len(lines)), rf"\s*\[*\s*{re.escape(field)}\b", 0) + 1
    if index >= len(heads):  # written as one array of inline tables
        return _first(lines, range(len(lines)), r"\s*budget\s*=", 0) + 1
    end = heads[index + 1] if index + 1 < len(heads) else len(lines)
    named = rf"""\s*(\[\s*budget\s*\.\s*)?["']?{re.escape(field)}["']?\s*[]=.]"""  # or a table of its own
    return _first(lines, range(heads[index], end), named, heads[index]) + 1


def _first(lines: Sequence[str], numbers: Iterable[int], pattern: str, otherwise: int) -> int:
    return next((number for number in numbers if re.match(pattern, lines[number])), otherwise)


def _without_lines(match: re.Match[str]) -> str:
    quoted = match[0]
    return "\n" * quoted.count("\n") if quoted.startswith(('"""', "'''", "#")) else quoted
