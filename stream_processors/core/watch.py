"""Which alerts are due among many scopes: budgets against totals, by arrays.

For each budget and window, the range of amounts in which nothing is due is kept per scope (`AlertBook.quiet_range`),
so that a turn compares arrays and asks the book only about scopes that left their range.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from schemas.arrow import MEASURES
from schemas.calendar import Window
from stream_processors.core import int128
from stream_processors.core.alerts import AlertBook, Change
from stream_processors.core.budgets import Budget
from stream_processors.core.gcounter import HIGH, LOW, Values
from stream_processors.core.scopes import Ids, ScopeIndex

_FAR = 1 << 90  # beyond any amount, and within the reach of two int64 columns
Amounts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]  # high and low parts, see int128


def amounts_in(unit: str, values: Values) -> Amounts:
    """What counts against a budget in `unit`, for rows of window totals."""
    if unit == "cost":
        return values[:, HIGH], values[:, LOW]
    if unit == "tokens":
        return int128.split(values[:, MEASURES.index("input_tokens")] + values[:, MEASURES.index("output_tokens")])
    return int128.split(values[:, MEASURES.index(unit)])


def _at_least(amounts: Amounts, bound_high: Ids, bound_low: Ids) -> npt.NDArray[np.bool_]:
    high, low = amounts
    reached: npt.NDArray[np.bool_] = (high > bound_high) | ((high == bound_high) & (low >= bound_low))
    return reached


class _Quiet:
    """Per scope id the quiet range of one budget and window: columns low (high, low part), high (high, low part)."""

    def __init__(self) -> None:
        self.bounds = np.zeros((0, 4), np.int64)
        self.known = np.zeros(0, np.bool_)

    def grow(self, size: int) -> None:
        if size > len(self.known):
            more = max(size, 2 * len(self.known)) - len(self.known)
            self.bounds = np.concatenate((self.bounds, np.zeros((more, 4), np.int64)))
            self.known = np.concatenate((self.known, np.zeros(more, np.bool_)))

    def set(self, scope: int, low: int, high: int) -> None:
        bounds = [max(-_FAR, min(_FAR, bound)) for bound in (low, high)]
        self.bounds[scope] = [part for bound in bounds for part in (bound >> 32, bound & 0xFFFF_FFFF)]
        self.known[scope] = True


class Watch:
    """The budgets in force against the scopes of one shard."""

    def __init__(self, budgets: Iterable[Budget], book: AlertBook, index: ScopeIndex) -> None:
        self.budgets = tuple(budgets)
        self._book = book
        self._index = index
        self._covered: dict[str, npt.NDArray[np.bool_]] = {budget.id: np.zeros(0, np.bool_) for budget in self.budgets}
        self._quiet: dict[tuple[str, Window], _Quiet] = {}

    def covered(self, budget: Budget, ids: Ids) -> Ids:
        """Those scopes that the budget watches."""
        mask = self._covered[budget.id]
        if len(self._index) > len(mask):
            index = self._index
            new = [
                budget.covers(index.organizations[i], index.kind_names[index.kinds[i]], index.names[i])
                for i in range(len(mask), len(index))
            ]
            mask = self._covered[budget.id] = np.concatenate((mask, np.array(new, np.bool_)))
        return ids[mask[ids]]

    def due(self, budget: Budget, window: Window, ids: Ids, values: Values) -> list[tuple[int, Change]]:
        """Scope ids and the alerts due, for scopes the budget covers and their totals in this window."""
        quiet = self._quiet_of(budget, window, ids)
        amounts = amounts_in(budget.unit, values)
        bounds = quiet.bounds[ids]
        inside = _at_least(amounts, bounds[:, 0], bounds[:, 1]) & ~_at_least(amounts, bounds[:, 2], bounds[:, 3])
        changes: list[tuple[int, Change]] = []
        for row in np.flatnonzero(~inside).tolist():
            [used] = int128.to_ints(amounts[0][row : row + 1], amounts[1][row : row + 1])
            scope = int(ids[row])
            changes += [(scope, change) for change in self._book.due(budget, *self._names(budget, scope), window, used)]
        return changes

    def settled(self, budget: Budget, window: Window, scope: int) -> None:
        """The book has changed for this scope: its quiet range is another."""
        self._quiet[budget.id, window].set(scope, *self._book.quiet_range(budget, *self._names(budget, scope), window))

    def forget(self, before: Mapping[str, int]) -> None:
        """Let go of windows that ended before an instant (microseconds UTC, by kind of window)."""
        self._quiet = {key: quiet for key, quiet in self._quiet.items() if key[1].end >= before[key[1].kind]}

    def _quiet_of(self, budget: Budget, window: Window, ids: Ids) -> _Quiet:
        quiet = self._quiet.setdefault((budget.id, window), _Quiet())
        quiet.grow(len(self._index))
        for scope in ids[~quiet.known[ids]].tolist():
            quiet.set(scope, *self._book.quiet_range(budget, *self._names(budget, scope), window))
        return quiet

    def _names(self, budget: Budget, scope: int) -> tuple[str, str, str]:
        return self._index.organizations[scope], budget.scope_kind, self._index.names[scope]
