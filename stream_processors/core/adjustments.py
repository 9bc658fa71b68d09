"""What an adjustment books: the amount that it states, and by its type a change of the counts of requests."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.event import ADJUSTMENT_RULES

Mask = npt.NDArray[np.bool_]


class Measures(NamedTuple):
    """What each event adds besides its tokens; a cost counts where `priced`."""

    cost_pico: npt.NDArray[np.int64]
    priced: Mask
    requests: npt.NDArray[np.int8]
    unpriced_requests: npt.NDArray[np.int8]


def uses(cost_pico: npt.NDArray[np.int64], priced: Mask) -> Measures:
    """Each event is a request of its own."""
    return Measures(cost_pico, priced, np.ones(len(priced), np.int8), (~priced).astype(np.int8))


def with_adjustments(measures: Measures, events: pa.RecordBatch, adjusts: Mask) -> Measures:
    """The measures with those of the (valid) adjustments among `events` in place."""
    stated = events.column("amount_pico").is_valid().to_numpy(zero_copy_only=False)
    amount = events.column("amount_pico").fill_null(0).to_numpy()
    types = events.column("adjustment_type")
    rules = [ADJUSTMENT_RULES.get(name) for name in types.dictionary.to_pylist()]  # a use has none
    codes = types.indices.to_numpy()
    requests = np.array([rule.requests if rule else 0 for rule in rules], np.int8)[codes]
    unpriced = np.array([rule.unpriced_requests if rule else 0 for rule in rules], np.int8)[codes]
    return Measures(
        np.where(adjusts, amount, measures.cost_pico),
        np.where(adjusts, stated, measures.priced),
        np.where(adjusts, requests, measures.requests),
        np.where(adjusts, np.where(stated, unpriced, requests), measures.unpriced_requests),
    )
