"""Budgets as people write them (`budgets.toml`) and as `usage.budgets` keeps them; one set of rules for both."""

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, NamedTuple

from schemas.money import to_pico, usd_text
from stream_processors.core.budget_history import Dated, History
from stream_processors.core.budget_rules import DEFAULTS, EPOCH, is_count, is_limit, mistakes, to_instant
from stream_processors.core.budgets import Budget, Grant, Notice, Resume, amount_text, severity
from stream_processors.core.selection import Conditions


class Fault(NamedTuple):
    """A rule that one of several budgets breaks: which (from 0), and in `problem` all of it in words."""

    number: int
    field: str
    value: Any  # None when it is missing
    problem: str

    @property
    def rule(self) -> str:
        """The problem without the field and its value, where it begins with them."""
        return self.problem.removeprefix(f"{self.field} = {self.value!r}: ").removeprefix(f"{self.field}: ")


def faults_of(tables: Sequence[Mapping[str, Any]]) -> list[Fault]:
    """Every rule that budgets break, as they are written in a file or sent as JSON."""
    found = [(index, field, problem) for index, table in enumerate(tables) for field, problem in mistakes(table)]
    found += _repeated(tables)
    return [Fault(index, field, tables[index].get(field), problem) for index, field, problem in found]


def build_budgets(tables: Iterable[Mapping[str, Any]]) -> list[Budget]:
    """Budgets of tables that have no fault; their version is 0."""
    return [_budget(table, version=0) for table in tables]


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
    found += [(fault.number, fault.field, fault.problem) for fault in faults_of(tables)]
    if found:
        located = sorted((_line_of(text, index, field), problem) for index, field, problem in found)
        raise ValueError("\n".join(f"{path}:{line}: {problem}" for line, problem in located))
    return build_budgets(tables)


def to_record(history: Sequence[Dated]) -> dict[str, Any]:
    """The value of `usage.budgets`: the whole dated history of one id, oldest first. Amounts are decimal text."""
    return {"id": history[0].budget.id, "history": [_entry(dated) for dated in history]}


def from_record(record: Mapping[str, Any]) -> History:
    """Reverse of `to_record`; ValueError names id, version and every field at fault."""
    return tuple(_dated(record["id"], entry) for entry in record["history"])


def scope_text(budget: Budget) -> str:
    """As in the file: `department:*`."""
    return f"{budget.scope_kind}:{budget.scope}"


def to_table(budget: Budget) -> dict[str, Any]:
    """A budget as it is written, but for its id: amounts as text, what was left out with its default."""
    return {
        "organization": budget.organization,
        "scope": scope_text(budget),
        "period": budget.period,
        "unit": budget.unit,
        "limit": amount_text(budget.unit, budget.limit),
        "thresholds": list(budget.thresholds),
        "conditions": {name: list(values) for name, values in budget.conditions},
        "action": budget.action,
        "forecast": budget.forecast,
        "carry_over": budget.carry_over,
        "notify": {
            str(notice.threshold): {"severity": notice.severity, "to": list(notice.to)} for notice in budget.notify
        },
        **({} if budget.fallback_pico is None else {"fallback_usd": usd_text(budget.fallback_pico)}),
        **{
            name: most
            for name, most in (("projects", budget.projects), ("members", budget.members))
            if most is not None
        },
        **{
            name: instant_text(at)
            for name, at in (("valid_from", budget.valid_from), ("valid_until", budget.valid_until))
            if at is not None
        },
    }


def _entry(dated: Dated) -> dict[str, Any]:
    budget = dated.budget
    return {
        "version": budget.version,
        "effective_at": dated.effective_at,
        "author": dated.author,
        "changed_at": dated.changed_at,
        **to_table(budget),
        "grants": [asdict(grant) | {"amount": amount_text(budget.unit, grant.amount)} for grant in budget.grants],
        "resumes": [asdict(resume) for resume in budget.resumes],
    }


def _dated(budget_id: str, entry: Mapping[str, Any]) -> Dated:
    ours = ("version", "effective_at", "author", "changed_at", "grants", "resumes")
    fields = {name: value for name, value in entry.items() if name not in ours} | {"id": budget_id}
    problems = [problem for _, problem in mistakes(fields)]
    problems += [
        f"{name} = {entry.get(name)!r}: must be a whole number"
        for name in ("version", "effective_at")
        if type(entry.get(name)) is not int
    ]
    if problems:
        raise ValueError(f"budget {budget_id}, version {entry.get('version')}: " + "; ".join(problems))
    budget = _budget(fields, entry["version"])
    grants = tuple(
        Grant(**{**grant, "amount": parse_amount(budget.unit, grant["amount"])}) for grant in entry.get("grants", ())
    )
    resumes = tuple(Resume(**resume) for resume in entry.get("resumes", ()))
    changed = entry.get("author", ""), entry.get("changed_at")
    return Dated(entry["effective_at"], replace(budget, grants=grants, resumes=resumes), *changed)


def parse_amount(unit: str, text: str) -> int:
    """Pico-dollars for unit cost, else a count. Raises ValueError for what is no positive amount."""
    if not is_limit(text) or (unit != "cost" and not is_count(text)):
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
        forecast=fields["forecast"],
        carry_over=fields["carry_over"],
        valid_from=fields["valid_from"] and to_instant(fields["valid_from"]),
        valid_until=fields["valid_until"] and to_instant(fields["valid_until"]),
        fallback_pico=None if fields["fallback_usd"] is None else to_pico(str(fields["fallback_usd"])),
        projects=fields["projects"],
        members=fields["members"],
    )


def instant_text(at: int) -> str:
    """`2027-01-01T00:00:00Z`, of microseconds UTC."""
    return (EPOCH + timedelta(microseconds=at)).isoformat().replace("+00:00", "Z")


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


def _repeated(tables: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str, str]]:
    ids = [table.get("id") for table in tables]
    for index, budget_id in enumerate(ids):
        if isinstance(budget_id, str) and budget_id in ids[:index]:
            yield index, "id", f"id = {budget_id!r}: already used above; each budget needs its own"


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
