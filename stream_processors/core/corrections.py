"""What a look over the books finds to correct: entries, made from the books alone, and a tally of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: The tag of an entry that names the prices by which it prices its event.
PRICE_TAG = "price_version"


@dataclass(slots=True)
class Tally:
    """What was found. `rows` and `cost_pico` are by what it was before and what it is by: (model, price version)."""

    statements: int = 0
    repeated: int = 0  # booked more than once, as a copy that came too late to be seen: left
    unsound: int = 0  # what is booked is not a use's: left
    types: Counter[str] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    cost_pico: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def entries(self) -> int:
        """How many entries it takes."""
        return self.types.total()

    def add(self, other: "Tally") -> None:
        """Takes in what was found elsewhere."""
        self.statements += other.statements
        self.repeated += other.repeated
        self.unsound += other.unsound
        for name in ("types", "rows", "cost_pico"):
            getattr(self, name).update(getattr(other, name))


@dataclass(frozen=True, slots=True)
class Corrections:
    """`entries` as EVENT_COLUMNS, and the partition of `usage.events` that each belongs to: that of its event."""

    entries: pa.RecordBatch
    partitions: npt.NDArray[np.int32]
    tally: Tally


def hex_ids(events: pa.RecordBatch, *numbers: npt.NDArray[np.int64]) -> pa.Array:
    """Ids of entries: the hash of each statement and, of 32 bits each, `numbers`, as hexadecimal digits."""
    named = {"a": events.column("group_a").to_numpy(), "b": events.column("group_b").to_numpy()}
    named |= {f"number_{place}": values for place, values in enumerate(numbers)}
    parts = np.empty(events.num_rows, np.dtype([(name, ">u8" if name in "ab" else ">u4") for name in named]))
    for name, values in named.items():
        parts[name] = values
    digits = 2 * parts.dtype.itemsize
    offsets = pa.py_buffer(np.arange(0, digits * len(parts) + 1, digits, dtype=np.int32))
    return pa.StringArray.from_buffers(len(parts), offsets, pa.py_buffer(parts.tobytes().hex().encode()))


def constant(name: str, count: int) -> pa.Array:
    """The same name in every row."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([name]))


def tags(named: Mapping[str, pa.Array], count: int) -> pa.Array:
    """Tags of these names in every row; an array has a value for each row."""
    names = pa.array(list(named) * count, pa.string())
    values = np.empty((count, len(named)), object)
    for place, column in enumerate(named.values()):
        values[:, place] = column.to_numpy(zero_copy_only=False)
    offsets = np.arange(0, len(named) * count + 1, len(named), dtype=np.int32)
    return pa.MapArray.from_arrays(pa.array(offsets), names, pa.array(values.ravel(), pa.string()))
