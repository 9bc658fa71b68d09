"""The dated history of a budget: which version is in force, and which one judges a window.

A window that is running is judged by the budget as it is now, one that is over as it was when the window ended. So a
changed limit says nothing new about what is over, and usage that comes late is held against the limit of its time.
Instants are microseconds UTC.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.calendar import Window
from stream_processors.core.budgets import Budget


@dataclass(frozen=True, slots=True)
class Dated:
    """A budget as it is from `effective_at` on, until the next of its history; who made it so, and when."""

    effective_at: int
    budget: Budget
    author: str = ""  # '' where nobody wrote it down
    changed_at: int | None = None  # earlier than `effective_at` when it was planned


History = tuple[Dated, ...]


def in_force(history: Sequence[Dated], at: int) -> Budget | None:
    """The budget as it is at an instant; None where it is not valid."""
    effective = [dated.budget for dated in history if dated.effective_at <= at]
    return effective[-1] if effective and effective[-1].is_valid(at) else None


def current(history: Sequence[Dated], now: int) -> Budget:
    """The newest version that has taken effect, valid or not; the first when all are still to come."""
    effective = [dated.budget for dated in history if dated.effective_at <= now]
    return effective[-1] if effective else history[0].budget


def planned(history: Sequence[Dated], now: int) -> History:
    """The versions that are still to take effect."""
    return tuple(dated for dated in history if dated.effective_at > now)


def budgets_in_force(histories: Iterable[Sequence[Dated]], at: int) -> tuple[Budget, ...]:
    """Those of several that are valid at an instant, in the same order."""
    found = (in_force(history, at) for history in histories)
    return tuple(budget for budget in found if budget is not None)


def judging(history: Sequence[Dated], window: Window, now: int) -> Budget | None:
    """The budget that judges a window; None where it is not valid. The first version judges those before it, too."""
    at = min(now, window.end - 1)
    effective = [dated.budget for dated in history if dated.effective_at <= at]
    if not effective and history[0].effective_at <= now:
        effective = [history[0].budget]
    return effective[-1] if effective and effective[-1].is_valid(at) else None


def predates(history: Sequence[Dated], window: Window) -> bool:
    """Whether the window was over before there was such a budget: nobody waits for alerts about it."""
    return window.end <= history[0].effective_at
