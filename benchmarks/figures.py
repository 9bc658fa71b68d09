"""The harness' arithmetic: medians, spreads, percentiles and rates. Pure."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any


def rate(events: int, seconds: float) -> float:
    """Events per second; ValueError when no time passed, because then nothing was measured."""
    if seconds <= 0:
        raise ValueError(f"seconds = {seconds}: nothing was measured")
    return events / seconds


def spread(values: Sequence[float]) -> float:
    """How far the runs lie apart: (largest - smallest) / median; 0 for a single run."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank, nothing interpolated)."""
    if not values:
        raise ValueError("values: empty; a percentile needs one")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def growth(samples: Sequence[float]) -> float:
    """By what share the last tenth of the samples lies above the second tenth (the first is warm-up)."""
    tenth = len(samples) // 10
    if not tenth:
        raise ValueError(f"samples: {len(samples)}; growth needs at least 10")
    before, after = median(samples[tenth : 2 * tenth]), median(samples[-tenth:])
    return after / before - 1


#: Of a run: how many sums and alerts are not what they must be.
WRONGS = ("row_sums_wrong", "windows_wrong", "alerts_wrong", "alerts_repeated")


def is_exact(run: Mapping[str, Any]) -> bool:
    """Whether all that a run counted and said is right."""
    return not any(run[name] for name in WRONGS)
