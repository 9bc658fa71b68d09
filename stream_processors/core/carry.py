"""What is left of a window is a part of the next one's limit, where a budget asks for it. Pure.

What is left: the limit and what was granted, less what was used; never less than nothing. What had been carried into
a window itself lapses with it. So a window's limit is a function of the totals of two windows, whatever the order in
which usage came; usage that comes late for the first, or is taken back, changes the second's.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from schemas.calendar import Calendar, Window
from stream_processors.core.budgets import Budget, Grant
from stream_processors.core.scopes import Ids


def left_of(before: Budget, organization: str, scope: str, window: Window, used: int) -> int:
    """What a scope left of a window that `before` judges."""
    return max(0, before.granted(organization, scope, window.start, window.end).limit - used)


def carried(budget: Budget, organization: str, scope: str, window: Window, left: int) -> Budget:
    """The budget as it is for a scope in a window, into which `left` is carried: as if it had been granted there."""
    return replace(budget, grants=(*budget.grants, Grant(organization, scope, left, window.start))) if left else budget


def with_next(calendar: Calendar, touched: Mapping[Window, Ids], now: int) -> dict[Window, Ids]:
    """Windows and the scopes touched in them, and those windows that follow them and have begun by `now`."""
    found = dict(touched)
    for window, ids in touched.items():
        following = calendar.window(window.kind, window.end)
        if following.start <= now:
            found[following] = np.union1d(ids, found.get(following, ids))
    return found
