"""Which alerts are due among many scopes: budgets against totals, by arrays.

For each budget and window, the range of amounts in which nothing is due is kept per scope (`AlertBook.quiet_range`),
so that a turn compares arrays and asks the book only about scopes that left their range.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from schemas.arrow import MEASURES
from schemas.calendar import Window
from stream_processors.core import int128
from stream_processors.core.alerts import AlertBook, Change
from stream_processors.core.budget_history import History, budgets_in_force, judging, predates
from stream_processors.core.budgets import Budget
from stream_processors.core.carry import carried, left_of
from stream_processors.core.forecasts import Forecast, reaching
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


def counted(budget: Budget, values: Values) -> Amounts:
    """What counts against a budget, for rows of window totals: requests without a price at its fallback, too."""
    high, low = amounts_in(budget.unit, values)
    if budget.fallback_pico is None:
        return high, low
    more_high, more_low = int128.times(values[:, MEASURES.index("unpriced_requests")], budget.fallback_pico)
    high, low = high + more_high, low + more_low
    int128.carry(high, low)
    return high, low


def estimates(budget: Budget, values: Values) -> list[int]:
    """How much of `counted` is an estimate."""
    return [budget.estimated(count) for count in values[:, MEASURES.index("unpriced_requests")].tolist()]


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

    def __init__(self, histories: Iterable[History], at: int, book: AlertBook, index: ScopeIndex) -> None:
        """`at` (microseconds UTC): what is in force then is in force as long as this watch is."""
        self._histories = {history[0].budget.id: history for history in histories}
        self._at = at
        self.budgets = budgets_in_force(self._histories.values(), at)
        self._book = book
        self._index = index
        self._covered: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}
        self._judges: dict[tuple[str, Window], Budget | None] = {}
        self._quiet: dict[tuple[str, Window], _Quiet] = {}

    def judging(self, budget: Budget, window: Window) -> Budget | None:
        """The version of a budget that judges the window; None when it was not in force or was about something else."""
        key = (budget.id, window)
        if key not in self._judges:
            judge = judging(self._histories[budget.id], window, self._at)
            same = judge is not None and (judge.selection, judge.period) == (budget.selection, budget.period)
            self._judges[key] = judge if same else None
        return self._judges[key]

    def predates(self, budget: Budget, window: Window) -> bool:
        """Whether the window was over before there was such a budget."""
        return predates(self._histories[budget.id], window)

    def covered(self, budget: Budget, ids: Ids) -> Ids:
        """Those scopes that the budget watches."""
        mask = self._covered.get((budget.id, budget.version), np.zeros(0, np.bool_))
        if len(self._index) > len(mask):
            index = self._index
            new = [
                budget.covers(index.organizations[i], index.kind_names[index.kinds[i]], index.names[i])
                for i in range(len(mask), len(index))
            ]
            mask = np.concatenate((mask, np.array(new, np.bool_)))
            self._covered[budget.id, budget.version] = mask
        return ids[mask[ids]]

    def carried(self, budget: Budget, window: Window, scope: int, left: int) -> Budget:
        """The budget as it is for a scope in a window into which `left` is carried."""
        organization, _, name = self._names(budget, scope)
        return carried(budget, organization, name, window, left)

    def left(self, before: Budget, window: Window, ids: Ids, values: Values) -> list[int]:
        """What each scope left of a window that `before` judges, by its totals there."""
        used = int128.to_ints(*counted(before, values))
        names = (self._names(before, scope) for scope in ids.tolist())
        return [
            left_of(before, organization, scope, window, amount)
            for (organization, _, scope), amount in zip(names, used, strict=True)
        ]

    def due_with(
        self, budget: Budget, window: Window, ids: Ids, values: Values, left: Sequence[int]
    ) -> list[tuple[int, Budget, Change]]:
        """As `due`, of a budget into whose window `left` is carried, a part for each scope; with each its budget.

        Each scope is asked for: its limit changes with the window before, so no range is quiet.
        """
        amounts = int128.to_ints(*counted(budget, values))
        found = []
        for scope, used, estimated, more in zip(ids.tolist(), amounts, estimates(budget, values), left, strict=True):
            own = self.carried(budget, window, scope, more)
            due = self._book.due(own, *self._names(budget, scope), window, used)
            found += [(scope, own, change._replace(estimated=estimated)) for change in due]
        return found

    def due(self, budget: Budget, window: Window, ids: Ids, values: Values) -> list[tuple[int, Change]]:
        """Scope ids and the alerts due, for scopes the budget covers and their totals in this window."""
        quiet = self._quiet_of(budget, window, ids)
        amounts = counted(budget, values)
        bounds = quiet.bounds[ids]
        inside = _at_least(amounts, bounds[:, 0], bounds[:, 1]) & ~_at_least(amounts, bounds[:, 2], bounds[:, 3])
        changes: list[tuple[int, Change]] = []
        for row in np.flatnonzero(~inside).tolist():
            [used] = int128.to_ints(amounts[0][row : row + 1], amounts[1][row : row + 1])
            scope = int(ids[row])
            [estimated] = estimates(budget, values[row : row + 1])
            due = self._book.due(budget, *self._names(budget, scope), window, used)
            changes += [(scope, change._replace(estimated=estimated)) for change in due]
        return changes

    def forecasts(
        self, budget: Budget, window: Window, ids: Ids, values: Values, now: int, left: Sequence[int] = ()
    ) -> list[tuple[Budget, Forecast]]:
        """What must be forecast, or taken back, in the window that is running; `ids` as for `due`.

        With each the budget as it is for its scope: `left`, when there is any, is carried into the window.
        """
        bound = min(_FAR, reaching(budget.limit, window, now))  # what is granted besides can only raise it
        amounts = counted(budget, values)
        kind, book = self._index.kind_of(budget.selection.text), self._book.forecasts
        standing = [self._index.id_of(kind, *names) for names in book.standing(budget, window)]
        high, low = (np.full(len(ids), part, np.int64) for part in (bound >> 32, bound & 0xFFFF_FFFF))
        found = []
        for row in np.flatnonzero(_at_least(amounts, high, low) | np.isin(ids, standing)).tolist():
            [used] = int128.to_ints(amounts[0][row : row + 1], amounts[1][row : row + 1])
            organization, _, scope = self._names(budget, int(ids[row]))
            own = self.carried(budget, window, int(ids[row]), left[row]) if left else budget
            forecast = book.due(own, organization, scope, window, used, now)
            if forecast is not None:
                found.append((own, replace(forecast, estimated=estimates(budget, values[row : row + 1])[0])))
        return found

    def settled(self, budget: Budget, window: Window, scope: int) -> None:
        """The book has changed for this scope: its quiet range is another, where there are any."""
        if budget.carry_over:
            return
        self._quiet[budget.id, window].set(scope, *self._book.quiet_range(budget, *self._names(budget, scope), window))

    def forget(self, before: Mapping[str, int]) -> None:
        """Let go of windows that ended before an instant (microseconds UTC, by kind of window)."""
        self._quiet = {key: quiet for key, quiet in self._quiet.items() if key[1].end >= before[key[1].kind]}
        self._judges = {key: judge for key, judge in self._judges.items() if key[1].end >= before[key[1].kind]}

    def _quiet_of(self, budget: Budget, window: Window, ids: Ids) -> _Quiet:
        quiet = self._quiet.setdefault((budget.id, window), _Quiet())
        quiet.grow(len(self._index))
        for scope in ids[~quiet.known[ids]].tolist():
            quiet.set(scope, *self._book.quiet_range(budget, *self._names(budget, scope), window))
        return quiet

    def _names(self, budget: Budget, scope: int) -> tuple[str, str, str]:
        return self._index.organizations[scope], budget.scope_kind, self._index.names[scope]
