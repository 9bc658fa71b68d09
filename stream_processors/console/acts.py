"""What the forms of the page do; each says in a sentence what became of it. Raises RefusedError, NothingPausedError."""

import time
from collections.abc import Mapping
from typing import Any

from schemas.money import grouped
from stream_processors import budget_actions, responses
from stream_processors.budget_actions import RefusedError
from stream_processors.console.actions import Ledger
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budget_changes import describe, describe_change
from stream_processors.core.budgets import amount_text

Form = Mapping[str, str]
#: Fields of a new budget that are one text each.
NEW = ("id", "organization", "scope", "period", "unit", "limit", "action")


async def make(ledger: Ledger, form: Form, person: str) -> tuple[str, str]:
    """The id of the budget that was made, and what is told."""
    table: dict[str, Any] = {name: text for name in NEW if (text := form.get(name, "").strip())}
    percents = form.get("thresholds", "").replace(",", " ").split()
    if percents:
        table["thresholds"] = [int(text) if text.isdecimal() else text for text in percents]
    done = await ledger.change(budget_actions.make_budget, table, person, now_us())
    [budget] = done.changes.added
    return budget.id, f"In force: {describe(budget)}."


async def set_limit(ledger: Ledger, budget_id: str, form: Form, person: str) -> str:
    wanted = {name: form.get(name, "").strip() for name in ("limit", "action")}
    done = await ledger.change(budget_actions.set_budget, budget_id, wanted, form.get("version", ""), person, now_us())
    changed = [describe_change(old, new) for old, new in done.changes.changed]
    return f"In force: {changed[0] or 'as it is; what was planned is dropped'}." if changed else "It is so already."


async def top_up(ledger: Ledger, budget_id: str, form: Form, person: str) -> str:
    amount, grant_id = form.get("amount", "").strip(), form.get("grant_id", "")
    done = await ledger.change(budget_actions.top_up, budget_id, amount, whose_of(form), person, now_us(), grant_id)
    more = f"{grouped(amount_text(done.budget.unit, done.grant.amount))} {done.budget.unit} more"
    whose = f"{done.grant.scope} of {done.grant.organization}"
    already = "It was given before, once: " if done.again else ""
    return f"{already}{more} for {whose} until {minute(instant(done.until))} UTC."


async def resume(ledger: Ledger, budget_id: str, form: Form, person: str) -> str:
    done = await ledger.change(budget_actions.resume, budget_id, whose_of(form), person, now_us())
    return f"Goes on: {', '.join(f'{member.scope} of {member.organization}' for member in done.paused)}."


async def acknowledge(ledger: Ledger, _: str, form: Form, person: str) -> str:
    note = form.get("note", "").strip()
    await ledger.change(responses.acknowledge, form.get("alert_id", ""), note, person, now_us())
    return "Acknowledged."


async def snooze(ledger: Ledger, budget_id: str, form: Form, person: str) -> str:
    try:
        hours = float(form.get("hours", ""))
    except ValueError as error:
        raise RefusedError("hours", form.get("hours"), "must be a number") from error
    said = await ledger.change(responses.snooze, budget_id, whose_of(form), hours, person, now_us())
    until = f"Not told about before {minute(said.until)} UTC" if hours else "Told about again"
    return f"{until}: {said.scope} of {said.organization}."


def whose_of(form: Form) -> tuple[str | None, str | None]:
    """Organization and scope."""
    if "member" in form:  # of a row: '' is the name of what is unassigned
        return form.get("organization"), form.get("scope")
    return form.get("organization", "").strip() or None, form.get("scope", "").strip() or None


def minute(at: Any) -> str:
    """To the minute."""
    return f"{at:%Y-%m-%d %H:%M}"


def now_us() -> int:
    """Microseconds UTC."""
    return time.time_ns() // 1000
