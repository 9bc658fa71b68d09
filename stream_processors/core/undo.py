"""Taking back what was booked: the adjustments that bring rows to nothing, each dated and scoped as they were."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.arrow import ROW_KEYS, TOKEN_CLASSES
from schemas.event import UsageEvent

#: Columns of `usage` by name; `cost_pico` is an integer or None, `units` a mapping, `occurred_at` aware.
Row = Mapping[str, Any]


@dataclass(slots=True)
class _Net:
    """What rows of one key add up to."""

    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKEN_CLASSES, 0))
    units: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    cost_pico: int = 0
    requests: int = 0
    unpriced_requests: int = 0

    def add(self, row: Row) -> None:
        for name in TOKEN_CLASSES:
            self.tokens[name] += row[name]
        for name, count in row["units"].items():
            self.units[name] += count
        self.cost_pico += row["cost_pico"] or 0
        self.requests += row["requests"]
        self.unpriced_requests += row["unpriced_requests"]

    def is_nothing(self) -> bool:
        sums = (self.cost_pico, self.requests, self.unpriced_requests, *self.tokens.values(), *self.units.values())
        return not any(sums)


def undo(
    rows: Iterable[Row], source: str, corrects: str, reason: str, author: str, id_of: Callable[[int], str]
) -> list[UsageEvent]:
    """Adjustments after which `rows` add up to nothing under every key; none when they do already.

    `rows` are all entries of one event (`source`, `corrects`) that are to be taken back, adjustments included;
    `id_of(n)` names the n-th adjustment. pydantic.ValidationError when sums are beyond what an event may state.
    """
    nets: dict[tuple[Any, ...], _Net] = {}
    for row in rows:
        nets.setdefault(tuple(row[name] for name in ROW_KEYS), _Net()).add(row)
    common: dict[str, Any] = {
        "source": source,
        "corrects": corrects,
        "kind": "adjustment",
        "reason": reason,
        "author": author,
    }
    entries = [
        dict(zip(ROW_KEYS, key, strict=True)) | fields
        for key, net in nets.items()
        if not net.is_nothing()
        for fields in _entries(net)
    ]
    return [UsageEvent(**common, **fields, event_id=id_of(number)) for number, fields in enumerate(entries)]


def _entries(net: _Net) -> list[dict[str, Any]]:
    """One adjustment, unless the counts of requests take more; the first carries the tokens."""
    entries: list[dict[str, Any]] = [{"adjustment_type": name, "amount_pico": amount} for name, amount in _types(net)]
    entries[0] |= {name: -count for name, count in net.tokens.items()}
    entries[0]["units"] = {name: -count for name, count in net.units.items() if count}
    return entries


def _types(net: _Net) -> list[tuple[str, int | None]]:
    back = "reversal" if net.requests > 0 else "reinstatement"
    sign = 1 if net.requests > 0 else -1
    unpriced = min(abs(net.requests), max(0, sign * net.unpriced_requests))
    left = net.unpriced_requests - sign * unpriced
    priced: list[tuple[str, int | None]] = [
        *[(back, 0)] * (abs(net.requests) - unpriced),
        *[("pricing" if left > 0 else "unpricing", 0)] * abs(left),
    ]
    if priced:
        priced[0] = (priced[0][0], -net.cost_pico)
    elif net.cost_pico or not unpriced:
        priced = [("correction", -net.cost_pico)]
    return [*[(back, None)] * unpriced, *priced]
