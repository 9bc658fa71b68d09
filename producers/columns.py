"""Columns of made-up values: names picked in proportion to weights, as Arrow dictionaries."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from producers.catalog import FEATURES, MODELS, TITLES
from producers.hashing import short_ids

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def pick(weights: Sequence[float], uniform: Floats) -> Ints:
    """Row numbers in proportion to the weights."""
    cumulative = np.cumsum(weights)
    return np.searchsorted(cumulative / cumulative[-1], uniform, side="right").astype(np.int64)


def choose(weights: Mapping[str, float], uniform: Floats) -> pa.Array:
    """Names in proportion to their weights."""
    return coded(list(weights), pick(list(weights.values()), uniform))


def coded(names: Sequence[str], codes: Ints) -> pa.Array:
    """The names with these numbers; a name may stand twice (two models of one provider)."""
    distinct = list(dict.fromkeys(names))
    renumbered = np.array([distinct.index(name) for name in names], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(renumbered[codes]), pa.array(distinct))


def constant(name: str, count: int) -> pa.Array:
    """The same name in every row."""
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([name]))


def feature_columns(feature: Ints) -> dict[str, pa.Array]:
    """What goes with the features of these numbers."""
    columns = {"feature": [each.name for each in FEATURES]}
    for name in ("tool", "integration", "platform", "task_type"):
        columns[name] = [getattr(each, name) for each in FEATURES]
    return {name: coded(values, feature) for name, values in columns.items()}


def model_columns(model: Ints) -> dict[str, pa.Array]:
    """Provider and name of the models of these numbers."""
    return {
        "provider": coded([each.provider for each in MODELS], model),
        "model": coded([each.name for each in MODELS], model),
    }


def work_columns(
    namespace: str, who: npt.NDArray[np.int32], occurred_at: Ints, random: np.random.Generator
) -> dict[str, pa.Array]:
    """A user (row number) works on up to three tasks a day, and has a session an hour."""
    task = (occurred_at // 86_400_000_000 * 3 + random.integers(0, 3, len(who))) * 4096 + who
    session = occurred_at // 3_600_000_000 * 4096 + who
    return {
        "task": short_ids("task-", f"task {namespace}", task),
        "session": short_ids("session-", f"session {namespace}", session),
        "task_title": pa.array(TITLES).take(pa.array(task % len(TITLES))),
    }
