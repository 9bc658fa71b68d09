"""What applying a budget file would change, and the histories to write for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from stream_processors.core.budget_forms import Dated, History, scope_text
from stream_processors.core.budgets import Budget, Grant, Notice, amount_text
from stream_processors.core.selection import conditions_text


@dataclass(frozen=True, slots=True)
class Changes:
    """The wanted budgets against those in force; new ones carry the version they would get."""

    added: tuple[Budget, ...]
    changed: tuple[tuple[Budget, Budget], ...]  # old, new
    unchanged: tuple[Budget, ...]
    missing: tuple[Budget, ...]  # in force, not wanted


def compare(histories: Mapping[str, History], wanted: Iterable[Budget]) -> Changes:
    """Differences by id, in the order of `wanted`."""
    in_force = {budget_id: history[-1].budget for budget_id, history in histories.items()}
    added, changed, unchanged = [], [], []
    for budget in wanted:
        old = in_force.pop(budget.id, None)
        if old is None:
            added.append(replace(budget, version=1))
        elif replace(budget, version=old.version, grants=old.grants) == old:
            unchanged.append(old)
        else:
            # What was granted stays; in another unit it would mean something else.
            grants = old.grants if budget.unit == old.unit else ()
            changed.append((old, replace(budget, version=old.version + 1, grants=grants)))
    return Changes(tuple(added), tuple(changed), tuple(unchanged), tuple(in_force.values()))


def histories_after(
    histories: Mapping[str, History], changes: Changes, prune: bool, effective_at: int
) -> dict[str, History]:
    """What to write to `usage.budgets`: each history that grows, and with `prune` an empty one for each missing."""
    new = (*changes.added, *(new for _, new in changes.changed))
    grown = {budget.id: (*histories.get(budget.id, ()), Dated(effective_at, budget)) for budget in new}
    return grown | ({budget.id: () for budget in changes.missing} if prune else {})


def topped_up(history: History, grant: Grant) -> History:
    """The history with a version more, which has the grant too."""
    newest = history[-1].budget
    return (*history, Dated(grant.at, replace(newest, version=newest.version + 1, grants=(*newest.grants, grant))))


def describe(budget: Budget) -> str:
    """One line: `department:* month cost 150.00 at 50, 75 %`."""
    thresholds = ", ".join(map(str, budget.thresholds))
    whose = "" if budget.organization == "*" else f" of {budget.organization}"
    limit = amount_text(budget.unit, budget.limit)
    only = f" where {conditions_text(budget.conditions)}" if budget.conditions else ""
    action = "" if budget.action == "alert" else f", then {budget.action}"
    return f"{scope_text(budget)}{whose}{only} {budget.period} {budget.unit} {limit} at {thresholds} %{action}"


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
        "limit": amount_text(budget.unit, budget.limit),
        "thresholds": ", ".join(map(str, budget.thresholds)),
        "conditions": conditions_text(budget.conditions) or "none",
        "notify": ", ".join(map(_told, budget.notify)) or "as usual",
    }
    names = [field.name for field in fields(budget) if field.name not in ("id", "version", "grants")]
    return [(name, shown.get(name, str(getattr(budget, name)))) for name in names]
