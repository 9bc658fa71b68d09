"""What people do to budgets, for the command line and the console alike: apply, top up, resume.

Each reads the histories, decides, and appends what it makes of them, with who did it and when (`now`, microseconds
UTC). Raises KafkaException and RegistryAwayError when one of them is away; then nothing is written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from schemas.calendar import LIFETIME, Calendar, load_calendar
from schemas.registry import Registry
from schemas.settings import Settings
from stream_processors.alert_log import fold_partition
from stream_processors.budget_log import read_histories, write_histories
from stream_processors.core.alert_subjects import Member
from stream_processors.core.budget_changes import Changes, compare, histories_after, resumed, topped_up
from stream_processors.core.budget_forms import (
    build_budgets,
    faults_of,
    instant_text,
    parse_amount,
    scope_text,
    to_table,
)
from stream_processors.core.budget_history import History, current
from stream_processors.core.budgets import EACH, Budget, Grant, Resume


class RefusedError(ValueError):
    """What was asked for breaks a rule: its field, the value that was given and the rule."""

    def __init__(self, field: str, value: Any, rule: str) -> None:
        super().__init__(f"{field} = {value!r}: {rule}")
        self.field, self.value, self.rule = field, value, rule


class NothingPausedError(ValueError):
    """There is nothing to resume."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying budgets changed, and the histories that grew by it (empty: removed)."""

    changes: Changes
    grown: Mapping[str, History]


@dataclass(frozen=True, slots=True)
class ToppedUp:
    """What was granted of a budget, until when (microseconds UTC), and whether it was given before, under its id."""

    budget: Budget
    grant: Grant
    until: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """Who goes on, and since when (microseconds UTC) each had been paused."""

    resume: Resume
    paused: Mapping[Member, int]


def apply_budgets(
    settings: Settings, wanted: Iterable[Budget], author: str, now: int, *, prune: bool, next_window: bool
) -> Applied:
    """Puts budgets in force, now or each when its next window begins; `prune` removes those that are not wanted."""
    calendar = load_calendar(settings.calendar)

    def effective_at(budget: Budget) -> int:
        return calendar.window(budget.period, now).end if next_window and budget.period != LIFETIME else now

    histories = read_histories(settings.kafka)
    changes = compare(histories, wanted, now, planning=next_window)
    grown = histories_after(histories, changes, prune, now, effective_at, author)
    write_histories(settings.kafka, grown)
    return Applied(changes, grown)


def set_budget(
    settings: Settings, budget_id: str, fields: Mapping[str, str], version: str, author: str, now: int
) -> Applied:
    """Puts a budget in force with other values of some fields, written as in a file. Raises RefusedError.

    `version` is the newest that who asks has seen: a change by somebody else meanwhile is not undone unseen.
    """
    history = history_of(settings, budget_id)
    newest = history[-1].budget.version
    if version != str(newest):
        raise RefusedError("version", version, f"somebody has changed the budget, it is at {newest} by now: look again")
    table = {"id": budget_id, **to_table(current(history, now)), **fields}
    for fault in faults_of([table]):
        raise RefusedError(fault.field, fault.value, fault.rule)
    return apply_budgets(settings, build_budgets([table]), author, now, prune=False, next_window=False)


def make_budget(settings: Settings, table: Mapping[str, Any], author: str, now: int) -> Applied:
    """Puts a budget in force that was not there, written as in a file. Raises RefusedError."""
    for fault in faults_of([dict(table)]):
        raise RefusedError(fault.field, fault.value, fault.rule)
    if table["id"] in read_histories(settings.kafka):
        raise RefusedError("id", table["id"], "there is a budget of this id already")
    return apply_budgets(settings, build_budgets([dict(table)]), author, now, prune=False, next_window=False)


def history_of(settings: Settings, budget_id: str) -> History:
    """The history of one budget. Raises RefusedError when there is none."""
    history = read_histories(settings.kafka).get(budget_id)
    if not history:
        raise RefusedError("budget", budget_id, "no budget in force has this id")
    return history


def top_up(
    settings: Settings,
    budget_id: str,
    amount: str,
    whose: tuple[str | None, str | None],
    author: str,
    now: int,
    grant_id: str = "",
    until: int | None = None,
) -> ToppedUp:
    """More of a budget until its window ends, or in each that begins before `until` (microseconds UTC).

    `whose`: organization and scope. What was given under `grant_id` already is not given again. Raises RefusedError.
    """
    history = history_of(settings, budget_id)
    budget = current(history, now)
    try:
        granted = parse_amount(budget.unit, amount)
    except ValueError as error:
        raise RefusedError("amount", amount, f"must be positive, in {budget.unit}, {_amount_rule(budget)}") from error
    grant = Grant(*whose_of(budget, *whose), granted, now, author, grant_id, until)
    calendar = load_calendar(settings.calendar)
    if until is not None and until <= now:
        raise RefusedError("until", instant_text(until), "must be later than now")
    for given in history[-1].budget.grants:
        if grant_id and given.id == grant_id:
            if replace(given, at=now, author=author) != grant:
                raise RefusedError("id", grant_id, "another top-up of this budget has it")
            return ToppedUp(budget, given, _ends(calendar, budget, given), again=True)
    write_histories(settings.kafka, {budget_id: topped_up(history, grant)})
    return ToppedUp(budget, grant, _ends(calendar, budget, grant))


def _ends(calendar: Calendar, budget: Budget, grant: Grant) -> int:
    """When the last window ends in which it counts."""
    last = grant.at if grant.until is None else grant.until - 1
    return calendar.window(budget.period, last).end


def resume(settings: Settings, budget_id: str, whose: tuple[str | None, str | None], author: str, now: int) -> Resumed:
    """Lets go on what a budget has paused. Raises RefusedError, or NothingPausedError."""
    history = history_of(settings, budget_id)
    budget = current(history, now)
    wanted = Resume(*whose_of(budget, *whose), author, now)
    paused = {member: at for member, at in paused_by(settings, budget).items() if _covers(wanted, member)}
    if not paused:
        raise NothingPausedError(f"{budget_id}: nothing is paused for {wanted.scope} of {wanted.organization}")
    given = replace(wanted, at=max(wanted.at, *paused.values()))  # the clock that paused may be ahead of this one
    write_histories(settings.kafka, {budget_id: resumed(history, given)})
    return Resumed(given, paused)


def paused_by(settings: Settings, budget: Budget) -> dict[Member, int]:
    """Whom a budget has paused, and when a window last did it (microseconds UTC); as `usage.alerts` says now."""
    registry = Registry(settings.registry)
    books = [fold_partition(settings, registry, number) for number in range(settings.partitions)]
    return {
        member: max(pauses.values())
        for book in books
        for member, pauses in sorted(book.pauses.items())
        if member.budget_id == budget.id and book.paused(budget, member.organization, member.scope)
    }


def whose_of(budget: Budget, organization: str | None, scope: str | None) -> tuple[str, str]:
    """The organization and scope that are meant; what is left out is the budget's, where that is one.

    Raises RefusedError when it is for each member and none is named.
    """
    if scope is None and budget.scope == EACH:
        raise RefusedError("scope", scope, f"{budget.id} is for {scope_text(budget)}: say whose, '*' for each")
    return budget.organization if organization is None else organization, budget.scope if scope is None else scope


def _amount_rule(budget: Budget) -> str:
    return "at most 12 decimals" if budget.unit == "cost" else "a whole number"


def _covers(wanted: Resume, member: Member) -> bool:
    return wanted.organization in (EACH, member.organization) and wanted.scope in (EACH, member.scope)
