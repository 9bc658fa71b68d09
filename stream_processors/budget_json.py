"""Budgets and what was done to them as JSON, the same from the command line and from the console."""

from collections.abc import Mapping, Sequence
from typing import Any

from stream_processors.budget_actions import Applied, Resumed, ToppedUp
from stream_processors.commands.standings import percent
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budget_changes import describe_versions
from stream_processors.core.budget_forms import to_table
from stream_processors.core.budget_history import Dated, History, current, planned
from stream_processors.core.budgets import Budget, amount_text

OPTIONAL = ("valid_from", "valid_until", "fallback_usd", "projects", "members")


def budget_json(budget: Budget) -> dict[str, Any]:
    """In the words of the file; what is not stated is null."""
    return {"id": budget.id, **dict.fromkeys(OPTIONAL), **to_table(budget), "version": budget.version}


def listed_json(history: History, now: int, fullest: Mapping[str, Any] | None) -> dict[str, Any]:
    """A budget in force, what is planned of it, and the scope that has used most of it."""
    budget = current(history, now)
    return {
        **budget_json(budget),
        "effective_at": instant(next(each.effective_at for each in history if each.budget == budget)),
        "planned": [
            budget_json(each.budget) | {"effective_at": instant(each.effective_at)} for each in planned(history, now)
        ],
        "fullest": None if fullest is None else {**fullest, "percent": percent(fullest)},
    }


def standing_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `budget_status`, with the percentage that is used."""
    return {**row, "current": bool(row["current"]), "percent": percent(row)}


def applied_json(applied: Applied, prune: bool) -> dict[str, Any]:
    """What applying budgets changed."""
    changes = applied.changes
    missing = [budget.id for budget in changes.missing]
    effective_at = {name: instant(history[-1].effective_at) for name, history in applied.grown.items() if history}
    return {
        "added": [budget_json(new) | {"effective_at": effective_at[new.id]} for new in changes.added],
        "changed": [
            {"old": budget_json(old), "new": budget_json(new), "effective_at": effective_at[new.id]}
            for old, new in changes.changed
        ],
        "unchanged": [budget.id for budget in changes.unchanged],
        "removed": missing if prune else [],
        "kept": [] if prune else missing,
    }


def topped_up_json(done: ToppedUp) -> dict[str, Any]:
    """What was granted, to whom, until when and by whom."""
    grant = done.grant
    return {
        "budget_id": done.budget.id,
        "organization": grant.organization,
        "scope": grant.scope,
        "amount": amount_text(done.budget.unit, grant.amount),
        "unit": done.budget.unit,
        "until": instant(done.until),
        "author": grant.author,
        "grant_id": grant.id,
        "again": done.again,
    }


def resumed_json(done: Resumed, budget_id: str) -> dict[str, Any]:
    """Who goes on, since when and by whom."""
    return {
        "budget_id": budget_id,
        "author": done.resume.author,
        "at": instant(done.resume.at),
        "resumed": [{"organization": member.organization, "scope": member.scope} for member in done.paused],
    }


def versions_json(history: Sequence[Dated]) -> list[dict[str, Any]]:
    """Who changed what and when, oldest first."""
    return [
        {
            "version": dated.budget.version,
            "what": what,
            "author": dated.author,
            "changed_at": instant(dated.effective_at if dated.changed_at is None else dated.changed_at),
            "effective_at": instant(dated.effective_at),
        }
        for dated, what in zip(history, describe_versions(history), strict=True)
    ]
