"""What applying a budget file would change, and the histories to write for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

from schemas.money import grouped, usd_text
from stream_processors.core.budget_forms import instant_text, scope_text
from stream_processors.core.budget_history import Dated, History, current, planned
from stream_processors.core.budgets import ALERT, Budget, Grant, Notice, Resume, amount_text
from stream_processors.core.selection import conditions_text


@dataclass(frozen=True, slots=True)
class Changes:
    """The wanted budgets against those in force; new ones carry the version they would get."""

    added: tuple[Budget, ...]
    changed: tuple[tuple[Budget, Budget], ...]  # old, new
    unchanged: tuple[Budget, ...]
    missing: tuple[Budget, ...]  # in force, not wanted


def compare(histories: Mapping[str, History], wanted: Iterable[Budget], now: int, planning: bool = False) -> Changes:
    """Differences by id, in the order of `wanted`. `planning`: what is wanted need not be in force yet."""
    remaining = dict(histories)
    added, changed, unchanged = [], [], []
    for budget in wanted:
        history = remaining.pop(budget.id, ())
        if not history:
            added.append(replace(budget, version=1))
            continue
        newest, old = history[-1].budget, current(history, now)
        same = replace(budget, version=newest.version, grants=newest.grants, resumes=newest.resumes) == newest
        if same and (planning or not planned(history, now)):
            unchanged.append(newest)
        else:
            # What was granted stays; in another unit it would mean something else.
            grants = old.grants if budget.unit == old.unit else ()
            changed.append((old, replace(budget, version=newest.version + 1, grants=grants, resumes=old.resumes)))
    missing = tuple(current(history, now) for history in remaining.values())
    return Changes(tuple(added), tuple(changed), tuple(unchanged), missing)


def histories_after(
    histories: Mapping[str, History],
    changes: Changes,
    prune: bool,
    now: int,
    effective_at: Callable[[Budget], int],
    author: str,
) -> dict[str, History]:
    """What to write to `usage.budgets`: each history that grows, and with `prune` an empty one for each missing.

    `effective_at` says when a change of a budget takes effect; it replaces what has been planned.
    """
    grown: dict[str, History] = {
        budget.id: (Dated(effective_at(budget), budget, author, now),) for budget in changes.added
    }
    for old, new in changes.changed:
        past = [dated for dated in histories[old.id] if dated.effective_at <= now]
        grown[old.id] = (*past, Dated(effective_at(old), new, author, now))
    return grown | ({budget.id: () for budget in changes.missing} if prune else {})


def topped_up(history: History, grant: Grant) -> History:
    """The history with a version more, which has the grant too."""
    unit = current(history, grant.at).unit

    def granted(budget: Budget) -> Budget:
        return replace(budget, grants=(*budget.grants, grant)) if budget.unit == unit else budget

    return _amended(history, grant.at, grant.author, granted)


def resumed(history: History, resume: Resume) -> History:
    """The history with a version more, which has the resume in the place of older ones for the same."""

    def going_on(budget: Budget) -> Budget:
        same = (resume.organization, resume.scope)
        others = tuple(each for each in budget.resumes if (each.organization, each.scope) != same)
        return replace(budget, resumes=(*others, resume))

    return _amended(history, resume.at, resume.author, going_on)


def _amended(history: History, at: int, author: str, change: Callable[[Budget], Budget]) -> History:
    """A version more, in force at once; what is planned is changed likewise, and stays planned by who planned it."""
    later = planned(history, at)
    past = history[: len(history) - len(later)]
    now = (Dated(at, past[-1].budget, author, at),) if past else ()
    return past + tuple(
        replace(dated, budget=replace(change(dated.budget), version=version))
        for version, dated in enumerate((*now, *later), start=history[-1].budget.version + 1)
    )


def describe_versions(history: Sequence[Dated]) -> list[str]:
    """For each version of a history what was done: `applied`, `limit 150.00 → 200.00`, `topped up by 5 tokens ...`."""
    return ["applied", *(_describe_step(old.budget, new.budget) for old, new in pairwise(history))]


def _describe_step(old: Budget, new: Budget) -> str:
    if new.resumes != old.resumes:
        return f"resumed for {new.resumes[-1].scope} of {new.resumes[-1].organization}"
    if len(new.grants) > len(old.grants):
        grant = new.grants[-1]
        more = f"{grouped(amount_text(new.unit, grant.amount))} {new.unit}"
        until = "" if grant.until is None else f" in each window until {instant_text(grant.until)}"
        return f"topped up by {more} for {grant.scope} of {grant.organization}{until}"
    return describe_change(old, new) or "as it was; what was planned is dropped"


def describe(budget: Budget) -> str:
    """One line: `department:* month cost 150.00 at 50, 75 %`."""
    thresholds = ", ".join(map(str, budget.thresholds))
    whose = "" if budget.organization == "*" else f" of {budget.organization}"
    limit = grouped(amount_text(budget.unit, budget.limit))
    only = f" where {conditions_text(budget.conditions)}" if budget.conditions else ""
    action = "" if budget.action == ALERT else f", then {budget.action}"
    what = f"{scope_text(budget)}{whose}{only} {budget.period} {budget.unit} {limit} at {thresholds} %{action}"
    fallback = "" if budget.fallback_pico is None else f", unpriced requests at {usd_text(budget.fallback_pico)}"
    carried = ", what is left carried over" if budget.carry_over else ""
    return what + carried + fallback + included_text(budget) + validity_text(budget)


def included_text(budget: Budget) -> str:
    """`, 5 projects, 1 member`; '' for a budget that is no plan."""
    counts = (("project", budget.projects), ("member", budget.members))
    return "".join(f", {most:,} {name}{'s' if most > 1 else ''}" for name, most in counts if most is not None)


def validity_text(budget: Budget) -> str:
    """`, from 2027-01-01T00:00:00Z, until 2028-01-01T00:00:00Z`; '' for a budget that always holds."""
    dates = (("from", budget.valid_from), ("until", budget.valid_until))
    return "".join(f", {name} {instant_text(at)}" for name, at in dates if at is not None)


def describe_change(old: Budget, new: Budget) -> str:
    """The fields that differ: `limit 150.00 → 200.00; thresholds 50, 75 → 90`."""
    differing = [
        f"{name} {before} → {after}"
        for (name, before), (_, after) in zip(_texts(old), _texts(new), strict=True)
        if before != after
    ]
    return "; ".join(differing)


def _told(notice: Notice) -> str:
    to = f" to {' and '.join(notice.to)}" if notice.to else ""
    return f"{notice.threshold} as {notice.severity}{to}"


def _texts(budget: Budget) -> list[tuple[str, str]]:
    shown = {
        "limit": grouped(amount_text(budget.unit, budget.limit)),
        "thresholds": ", ".join(map(str, budget.thresholds)),
        "conditions": conditions_text(budget.conditions) or "none",
        "notify": ", ".join(map(_told, budget.notify)) or "as usual",
        "valid_from": "ever since" if budget.valid_from is None else instant_text(budget.valid_from),
        "fallback_pico": "none" if budget.fallback_pico is None else usd_text(budget.fallback_pico),
        "projects": "any" if budget.projects is None else str(budget.projects),
        "members": "any" if budget.members is None else str(budget.members),
        "valid_until": "for good" if budget.valid_until is None else instant_text(budget.valid_until),
    }
    names = [field.name for field in fields(budget) if field.name not in ("id", "version", "grants", "resumes")]
    return [(name, shown.get(name, str(getattr(budget, name)))) for name in names]
