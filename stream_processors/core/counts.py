"""What an event counts that can have a price, and which counts are parts of which.

Token classes are columns of an event; everything else stands in its `units`, under the name that `genai-prices` gives
it (`web_searches`, `audio_seconds`, `output_image_tokens`) or that name in the singular. Two counts *meet* when they
may share what they count: cached tokens and audio tokens share cached audio, which is a count of its own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from genai_prices.data_units import unit_data
from genai_prices.units import UnitDef, UnitRegistry

from schemas.arrow import TOKEN_CLASSES

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Every event counts one of these.
REQUESTS = "requests"
#: How long it took, for models that are paid by the second; an event may not say.
LATENCY = "latency_ms"
_RENAMED = {"output_reasoning_tokens": "reasoning_tokens"}
_REGISTRY = UnitRegistry(unit_data)
#: `genai-prices`' definition of each count, under our name.
UNITS: Mapping[str, UnitDef] = {_RENAMED.get(key, key): unit for key, unit in _REGISTRY.units.items()}
_NOT_IN_UNITS = {*TOKEN_CLASSES, REQUESTS}


def named(unit: UnitDef) -> str:
    """Our name of a unit of `genai-prices`."""
    return _RENAMED.get(unit.usage_key, unit.usage_key)


def unit_of_price(price_key: str) -> UnitDef:
    """The unit that a price of `genai-prices` is for."""
    return _REGISTRY.unit_for_price_key(price_key)


@cache
def canonical(name: str) -> str:
    """The count that an entry of `units` states: `web_search` is `web_searches`; an unknown name stands for itself."""
    return next((known for known in (name, f"{name}s", f"{name}es") if known in UNITS), name)


@cache
def is_part(part: str, whole: str) -> bool:
    """Whether what `part` counts is counted by `whole` too."""
    if part == whole or part not in UNITS or whole not in UNITS:
        return False
    return UNITS[whole].dimensions.items() <= UNITS[part].dimensions.items()


def is_covered(name: str, priced: Collection[str]) -> bool:
    """Whether a count has a price: its own, or that of a whole it is part of."""
    return name in priced or any(is_part(name, whole) for whole in priced)


@cache
def meeting(first: str, second: str) -> str | None:
    """The count of what both count; None when they share nothing or one is part of the other."""
    if first not in UNITS or second not in UNITS or is_part(first, second) or is_part(second, first):
        return None
    join = _REGISTRY.find_join(UNITS[first], UNITS[second])
    return None if join is None else named(join)


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of a batch: one array a name. `stated[name]` tells which rows name a unit, were it as 0."""

    values: dict[str, Numbers]
    stated: Mapping[str, Mask]

    def raised(self, name: str, least: int, rows: npt.NDArray[np.intp]) -> None:
        """What is counted at all counts as `least` at least, in these rows."""
        if name in self.stated:
            few = rows[(self.values[name][rows] > 0) & (self.values[name][rows] < least)]
            self.values[name][few] = least


def counts_of(rows: pa.RecordBatch, timed: bool = False) -> Counts:
    """The counts of events (`schemas.arrow.EVENT_COLUMNS`); `timed`: their latency too."""
    values = {name: integers(rows.column(name)) for name in TOKEN_CLASSES}
    values[REQUESTS] = np.ones(rows.num_rows, np.int64)
    units = rows.column("units")
    stated: dict[str, Mask] = {}
    if timed:
        latency = rows.column("latency_ms")
        stated[LATENCY] = np.asarray(latency.is_valid())
        values[LATENCY] = integers(latency.fill_null(0).cast(pa.int64()))
    offsets = units.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    if first < last:
        keys = pc.dictionary_encode(units.keys.slice(first, last - first))
        amounts = integers(units.items)[first:last]
        row_of = np.repeat(np.arange(rows.num_rows), np.diff(offsets))
        code_of = keys.indices.to_numpy()
        for code, name in enumerate(keys.dictionary.to_pylist()):
            # A token class among the units would count twice: such a name has no price.
            name = f"units.{name}" if canonical(name) in _NOT_IN_UNITS else canonical(name)
            mine = code_of == code
            np.add.at(values.setdefault(name, np.zeros(rows.num_rows, np.int64)), row_of[mine], amounts[mine])
            stated.setdefault(name, np.zeros(rows.num_rows, bool))[row_of[mine]] = True
        _add_wholes(values, stated)
    return Counts(values, stated)


def _add_wholes(values: dict[str, Numbers], stated: dict[str, Mask]) -> None:
    """Seconds and pages of a kind are seconds and pages: a whole that a row does not state is the sum of its parts."""
    before = dict(stated)
    for part, states in before.items():
        for whole in (name for name in UNITS if is_part(part, name) and UNITS[name].dimensions["family"] != "tokens"):
            silent = states & ~before[whole] if whole in before else states
            count = values.setdefault(whole, np.zeros(len(states), np.int64))
            count[silent] += values[part][silent]
            stated[whole] = stated.get(whole, False) | states


def integers(column: pa.Array) -> Numbers:
    """A column of integers or instants as numbers."""
    return column.view(pa.int64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
