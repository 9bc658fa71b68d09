"""What a guard knows and how it decides: budgets, limits and its own reservations. Pure: no clock, no thread.

What a scope will have used = what the stream has counted + what this guard has reserved and the stream has not counted
yet. A call is held against every budget that covers one of its scopes; the strictest answer wins.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

EACH = "*"
ALLOW, ALERT, THROTTLE, BLOCK_NEW, PAUSE = "allow", "alert", "throttle", "block_new", "pause"
STRICTNESS = {ALLOW: 0, ALERT: 0, THROTTLE: 1, BLOCK_NEW: 2, PAUSE: 3}
HARD = (BLOCK_NEW, PAUSE)
OF_OUTPUT = ("output_tokens", "reasoning_tokens", "output_audio_tokens")
SECOND_US = 1_000_000
#: A throttled call waits a second at the limit and one more for each percent over it.
LONGEST_DELAY_S = 60.0
NEVER_HEARD_S = float("inf")
REMEMBERED_CALLS = 100_000  # combinations of scopes whose budgets are looked up once

Key = tuple[str, str, str, str]  # budget, organization, scope kind, scope


class Estimate(NamedTuple):
    """The most that a call will use; `output_tokens` is its max_output_tokens. What is not known counts nothing."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_pico: int = 0
    requests: int = 1

    def amount(self, unit: str) -> int:
        """In a budget's unit; the parts of input and output are taken as large as the whole."""
        if unit == "cost":
            return self.cost_pico
        if unit == "tokens":
            return self.input_tokens + self.output_tokens
        if unit == "requests":
            return self.requests
        return self.output_tokens if unit in OF_OUTPUT else self.input_tokens


class Verdict(NamedTuple):
    """The answer to a call. When it is allowed, wait `delay_s`, make the call, and tell what became of it."""

    decision: str  # allow, throttle, block_new, pause
    allowed: bool
    delay_s: float
    budget_id: str  # whose decision it is; '' when all allow
    staleness_s: float
    reservation: int  # 0 when it is not allowed


@dataclass(frozen=True, slots=True)
class GuardedBudget:
    """A budget as a guard sees it. `limit` is pico-dollars for the unit cost, else a count."""

    id: str
    organization: str
    scope_kind: str
    scope: str
    unit: str
    limit: int
    action: str

    def covers(self, organization: str, scope_kind: str, scope: str) -> bool:
        return (
            self.scope_kind == scope_kind and self.organization in (EACH, organization) and self.scope in (EACH, scope)
        )


class Era(NamedTuple):
    """A budget as it is from `start` to before `end` (microseconds UTC; None: until it is changed)."""

    start: int
    end: int | None
    budget: GuardedBudget


class Limit(NamedTuple):
    """A record of limit.v1 as a guard sees it; amounts as in `GuardedBudget`, instants in microseconds UTC."""

    budget_id: str
    organization: str
    scope_kind: str
    scope: str
    window_end: int
    used: int
    limit: int
    decision: str
    counted: Mapping[int, int]  # by partition of usage.events, the last offset that `used` counts


class Standing(NamedTuple):
    """How a scope stands against one budget; amounts as in `GuardedBudget`, `window_end` 0 before its first use."""

    budget_id: str
    unit: str
    used: int
    reserved: int
    limit: int
    decision: str
    window_end: int


@dataclass(slots=True, eq=False)
class _Cell:
    """One budget and one scope of it."""

    budget: GuardedBudget
    shard: int | None = None  # partition of usage.limits; None until a record has come
    window_end: int = 0
    used: int = 0
    limit: int = 0
    decision: str = ALLOW
    counted: Mapping[int, int] = field(default_factory=dict)
    reserved: int = 0
    holds: dict[int, int] = field(default_factory=dict)  # by number of reservation, its part of `reserved`

    def fill(self, shard: int, limit: Limit) -> None:
        self.shard, self.window_end, self.used = shard, limit.window_end, limit.used
        self.limit, self.decision, self.counted = limit.limit, limit.decision, limit.counted

    def in_force(self, now: int) -> tuple[int, int]:
        """Used and limit. A record's limit may hold grants of its window; past its end nothing is used and they end."""
        return (self.used, self.limit) if now < self.window_end else (0, self.budget.limit)

    def judge(self, amount: int, now: int) -> tuple[str, float]:
        """The decision about a call and, when it is to be throttled, the delay in seconds."""
        if self.decision == PAUSE:  # outlives its window, until it is resumed
            return PAUSE, 0.0
        used, limit = self.in_force(now)
        taken = used + self.reserved
        if taken < limit and taken + amount <= limit:
            return ALLOW, 0.0
        if self.budget.action == PAUSE and self.decision == ALERT and now < self.window_end:
            return ALLOW, 0.0  # it was resumed, and goes on to its window's end
        action = max(self.budget.action, self.decision if now < self.window_end else ALLOW, key=STRICTNESS.__getitem__)
        if action == THROTTLE:
            return THROTTLE, min(LONGEST_DELAY_S, 1.0 + (taken + amount - limit) * 100 // limit)
        return (ALLOW if action == ALERT else action), 0.0


@dataclass(slots=True)
class _Reservation:
    cells: list[_Cell]
    place: tuple[int, int] | None = None  # partition and offset of the event in usage.events, once it is there


class LimitBook:
    """Instants are microseconds UTC and passed in. Not safe to share between threads."""

    def __init__(self, shards: int, stale_after_s: float, fail_closed: bool, reserve_s: float) -> None:
        """`shards`: partitions of usage.limits. Reservations that nothing has released end after `reserve_s`."""
        self._stale_after_s, self._fail_closed = stale_after_s, fail_closed
        self._reserve_us = int(reserve_s * SECOND_US)
        self._heard_at = dict.fromkeys(range(shards), 0)  # by shard, when it last said how far it is
        self._marks: dict[int, Mapping[int, int]] = {}  # by shard, what it has counted then
        self._eras: dict[str, Sequence[Era]] = {}
        self._budgets: dict[str, GuardedBudget] = {}  # in force until `_changes_at`
        self._changes_at: float = 0
        self._limits: dict[Key, tuple[int, Limit]] = {}  # with their shard
        self._cells: dict[Key, _Cell] = {}
        self._covering: dict[tuple[str, tuple[tuple[str, str], ...]], list[_Cell]] = {}
        self._reservations: dict[int, _Reservation] = {}
        self._expiring: deque[tuple[int, int]] = deque()  # (when, number), in order
        self._last_number = 0

    # ---- what the topics say

    def put_budget(self, budget_id: str, eras: Sequence[Era]) -> None:
        """A budget is new, changed or (no era) gone; reservations stay with the scopes that they were made for."""
        self._eras.pop(budget_id, None)
        if eras:
            self._eras[budget_id] = eras
        self._changes_at = 0

    def _put_in_force(self, now: int) -> None:
        """Takes the budgets as they are now, until the next date on which one of them changes."""
        eras = [era for eras in self._eras.values() for era in eras]
        dates = [date for era in eras for date in (era.start, era.end) if date is not None and date > now]
        self._changes_at = min(dates, default=math.inf)
        self._budgets = {
            era.budget.id: era.budget for era in eras if era.start <= now and (era.end is None or now < era.end)
        }
        self._covering.clear()
        for key in list(self._cells):
            budget = self._budgets.get(key[0])
            if budget is not None and budget.covers(*key[1:]):
                self._cells[key].budget = budget
            else:
                del self._cells[key]

    def put_limit(self, shard: int, limit: Limit) -> None:
        """A new record of a scope: it counts, and what it has counted is not reserved any more."""
        key = limit[:4]
        self._limits[key] = (shard, limit)
        cell = self._cells.get(key)
        if cell is not None:
            cell.fill(shard, limit)
            self._settle(cell, limit.counted)

    def heartbeat(self, shard: int, as_of: int, counted: Mapping[int, int]) -> None:
        """A shard has sent every limit up to `counted`; what was reserved for events up to there is done with."""
        self._heard_at[shard] = max(as_of, self._heard_at[shard])
        self._marks[shard] = counted
        everywhere = self._everywhere()
        for cell in {cell for reservation in self._reservations.values() for cell in reservation.cells}:
            self._settle(cell, self._marks.get(cell.shard, {}) if cell.shard is not None else everywhere)

    # ---- what callers ask and tell

    def staleness_s(self, now: int) -> float:
        """How long ago the shard that has been silent longest was heard; infinite until each has been heard."""
        oldest = min(self._heard_at.values())
        return max(0, now - oldest) / SECOND_US if oldest else NEVER_HEARD_S

    def check(
        self, organization: str, scopes: Mapping[str, str], estimate: Estimate, now: int, continues: bool
    ) -> Verdict:
        """Decides about a call and, when it is allowed, reserves its estimate.

        `continues`: it belongs to a task that has begun, which block_new lets finish.
        """
        if now >= self._changes_at:
            self._put_in_force(now)
        self._expire(now)
        staleness_s = self.staleness_s(now)
        unsure = self._fail_closed and staleness_s > self._stale_after_s
        decision, delay_s, budget_id = ALLOW, 0.0, ""
        if unsure and staleness_s == NEVER_HEARD_S:  # not even the budgets are known for sure
            decision = BLOCK_NEW
        cells = self._covering_cells(organization, scopes)
        for cell in cells:
            found, delay = cell.judge(estimate.amount(cell.budget.unit), now)
            if unsure and found == ALLOW and cell.budget.action in HARD:
                found = cell.budget.action
            if (STRICTNESS[found], delay) > (STRICTNESS[decision], delay_s):
                decision, delay_s, budget_id = found, delay, cell.budget.id
        allowed = decision in (ALLOW, THROTTLE) or (decision == BLOCK_NEW and continues)
        number = self._reserve(cells, estimate, now) if allowed else 0
        return Verdict(decision, allowed, delay_s, budget_id, staleness_s, number)

    def standings(self, organization: str, scope_kind: str, scope: str, now: int) -> list[Standing]:
        """What a scope has used of each budget that covers it; nothing is reserved."""
        if now >= self._changes_at:
            self._put_in_force(now)
        cells = (
            self._cell(budget, (budget.id, organization, scope_kind, scope))
            for budget in self._budgets.values()
            if budget.covers(organization, scope_kind, scope)
        )
        return [
            Standing(
                cell.budget.id, cell.budget.unit, cell.in_force(now)[0], cell.reserved, cell.in_force(now)[1],
                cell.judge(0, now)[0], cell.window_end,
            )
            for cell in cells
        ]  # fmt: skip

    def sent(self, number: int, partition: int, offset: int) -> None:
        """The call's event stands at this place of usage.events: reserved until the stream has counted it."""
        reservation = self._reservations.get(number)
        if reservation is None:
            return
        reservation.place = (partition, offset)
        everywhere = self._everywhere()
        for cell in list(reservation.cells):
            self._settle(cell, cell.counted)
            self._settle(cell, self._marks.get(cell.shard, {}) if cell.shard is not None else everywhere)

    def release(self, number: int) -> None:
        """The call was not made, or used nothing."""
        reservation = self._reservations.get(number)
        for cell in list(reservation.cells) if reservation else ():
            self._let_go(cell, number)

    def reserved(self) -> int:
        """How many calls are reserved for."""
        return len(self._reservations)

    # ---- reservations

    def _reserve(self, cells: Iterable[_Cell], estimate: Estimate, now: int) -> int:
        self._last_number += 1
        reservation = _Reservation(list(cells))
        if not reservation.cells:
            return self._last_number
        for cell in reservation.cells:
            amount = estimate.amount(cell.budget.unit)
            cell.holds[self._last_number] = amount
            cell.reserved += amount
        self._reservations[self._last_number] = reservation
        self._expiring.append((now + self._reserve_us, self._last_number))
        return self._last_number

    def _expire(self, now: int) -> None:
        while self._expiring and self._expiring[0][0] <= now:
            self.release(self._expiring.popleft()[1])

    def _settle(self, cell: _Cell, counted: Mapping[int, int]) -> None:
        """Lets go of what a cell holds for events that are counted now."""
        for number in list(cell.holds):
            place = self._reservations[number].place
            if place is not None and counted.get(place[0], -1) >= place[1]:
                self._let_go(cell, number)

    def _let_go(self, cell: _Cell, number: int) -> None:
        cell.reserved -= cell.holds.pop(number)
        reservation = self._reservations[number]
        reservation.cells.remove(cell)
        if not reservation.cells:
            del self._reservations[number]

    def _everywhere(self) -> Mapping[int, int]:
        """What every shard has counted: a scope without a record may belong to any of them."""
        if len(self._marks) < len(self._heard_at):
            return {}
        partitions = set[int]().union(*self._marks.values())
        return {part: min(mark.get(part, -1) for mark in self._marks.values()) for part in partitions}

    # ---- which budgets a call is held against

    def _covering_cells(self, organization: str, scopes: Mapping[str, str]) -> list[_Cell]:
        key = (organization, tuple(scopes.items()))
        cells = self._covering.get(key)
        if cells is None:
            if len(self._covering) >= REMEMBERED_CALLS:
                self._covering.clear()
            cells = self._covering[key] = list(self._find_cells(organization, scopes))
        return cells

    def _find_cells(self, organization: str, scopes: Mapping[str, str]) -> Iterator[_Cell]:
        for kind, name in {**scopes, "organization": organization}.items():
            for budget in self._budgets.values():
                if budget.covers(organization, kind, name):
                    yield self._cell(budget, (budget.id, organization, kind, name))

    def _cell(self, budget: GuardedBudget, key: Key) -> _Cell:
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell(budget)
            if key in self._limits:
                cell.fill(*self._limits[key])
        return cell
