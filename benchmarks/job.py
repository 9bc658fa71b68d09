"""The job that every system gets: the events, their prices, the budgets, and what the totals must be.

Prices are asked of `genai-prices`, totals come from the generator's own columns by integer arithmetic in numpy: nothing
of the engine takes part.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from genai_prices import Usage, calc_price

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
HOURS = 6
THRESHOLDS = (50, 75, 90, 100)
ORGANIZATION = "acme"
#: What windows hold, in this order.
MEASURES = ("requests", "input_tokens", "output_tokens", "cost_pico")
Ints = npt.NDArray[np.int64]
Window = tuple[str, str, int]  # scope kind, scope, first microsecond of the hour


@dataclass(frozen=True, slots=True)
class Job:
    """What decides every byte of the topic. `start`: microseconds UTC, on the hour; events span HOURS from there."""

    seed: int
    events: int
    start: int
    duplicates: float = 0.0  # share of records that are a copy of an earlier one


def latest_start(now: datetime) -> int:
    """The start (microseconds) of the latest HOURS that are over and of one month, as the budgets are; `now` in UTC."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    month = hour.replace(day=1, hour=0)
    over = hour if hour - month >= timedelta(hours=HOURS) else month
    return int(over.timestamp()) * 1_000_000 - HOURS * HOUR_US


@dataclass(slots=True)
class Totals:
    """Sums over events: per hour of each department and user (MEASURES), and each department's cost."""

    windows: dict[Window, tuple[int, ...]] = field(default_factory=dict)
    department_cost: Counter[str] = field(default_factory=Counter)
    events: int = 0

    def add(self, events: pa.RecordBatch, cost: Ints) -> None:
        """Counts a batch of events; `cost` in pico-dollars."""
        self.events += events.num_rows
        hours = events.column("occurred_at").cast(pa.int64()).to_numpy() // HOUR_US * HOUR_US
        tokens = [events.column(name).to_numpy() for name in ("input_tokens", "output_tokens")]
        measures = np.stack([np.ones(len(cost), np.int64), *tokens, cost], axis=1)
        for kind in ("department", "user"):
            names = events.column(kind)
            codes = names.indices.to_numpy().astype(np.int64)
            keys, of_key = np.unique(codes * (1 << 45) + hours // HOUR_US, return_inverse=True)
            sums = np.zeros((len(keys), len(MEASURES)), np.int64)
            np.add.at(sums, of_key, measures)
            scopes = names.dictionary.to_pylist()
            for key, row in zip(keys.tolist(), sums.tolist(), strict=True):
                self._add(kind, scopes[key >> 45], (key & ((1 << 45) - 1)) * HOUR_US, row)

    def _add(self, kind: str, scope: str, hour: int, row: list[int]) -> None:
        place = (kind, scope, hour)
        before = self.windows.get(place, (0,) * len(MEASURES))
        self.windows[place] = tuple(a + b for a, b in zip(before, row, strict=True))
        if kind == "department":
            self.department_cost[scope] += row[-1]

    def alerts(self, limit_pico: int) -> set[tuple[str, int]]:
        """Department and threshold of every crossing of the monthly budget."""
        return {
            (department, threshold)
            for department, cost in self.department_cost.items()
            for threshold in THRESHOLDS
            if cost * 100 >= limit_pico * threshold
        }


Prices = Mapping[str, Mapping[str, list[Any]]]
#: The token classes that the events have, and the whole that a part is charged within.
CHARGED = {
    "input_tokens": None,
    "output_tokens": None,
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
}
_MANY, _HALF_HOURS = 100_000, 48


def price_list(models: Iterable[tuple[str, str]], day: int) -> Prices:
    """What a token of each class adds to an event's cost, in whole pico-dollars, per `provider/model`.

    Asked of `genai-prices` itself for each half hour of `day` (microseconds UTC). `from_us` are the times of day
    (microseconds) from which the row of `rates` of the same number holds; a row has one signed number for each class of
    CHARGED. Raises ValueError for a price that this form cannot say.
    """
    found: dict[str, dict[str, list[Any]]] = {}
    for provider, model in models:
        card: dict[str, list[Any]] = {"from_us": [], "rates": []}
        for number in range(_HALF_HOURS):
            at = number * (DAY_US // _HALF_HOURS)
            rates = _rates(provider, model, day // DAY_US * DAY_US + at)
            if not card["rates"] or card["rates"][-1] != rates:
                card["from_us"].append(at)
                card["rates"].append(rates)
        found[f"{provider}/{model}"] = card
    return found


def _rates(provider: str, model: str, at: int) -> list[int]:
    moment = datetime.fromtimestamp(at // 1_000_000, UTC)

    def pico(**counts: int) -> Decimal:
        price = calc_price(Usage(**counts), model, provider_id=provider, genai_request_timestamp=moment)
        return price.total_price.scaleb(12)

    rates = []
    for name, whole in CHARGED.items():
        around = dict.fromkeys(_wholes(name), _MANY)
        rate = (pico(**around, **{name: _MANY}) - (pico(**around) if whole else 0)) / _MANY
        if rate != int(rate):
            raise ValueError(f"{provider}/{model}: {name} costs {rate} pico-dollars, no whole number")
        rates.append(int(rate))
    return rates


def _wholes(name: str) -> Iterator[str]:
    whole = CHARGED[name]
    if whole:
        yield whole
        yield from _wholes(whole)


def costs(events: pa.RecordBatch, prices: Prices) -> Ints:
    """Pico-dollars of each event."""
    at = events.column("occurred_at").cast(pa.int64()).to_numpy() % DAY_US
    counts = np.stack([events.column(name).to_numpy() for name in CHARGED], axis=1)
    providers, models = (events.column(name) for name in ("provider", "model"))
    result = np.zeros(len(at), np.int64)
    for code, model in enumerate(models.dictionary.to_pylist()):
        rows = np.flatnonzero(models.indices.to_numpy() == code)
        if len(rows):
            card = prices[f"{providers[int(rows[0])].as_py()}/{model}"]
            era = np.searchsorted(np.array(card["from_us"]), at[rows], side="right") - 1
            result[rows] = (counts[rows] * np.array(card["rates"], np.int64)[era]).sum(axis=1)
    return result
