"""Totals of windows as rows of `WINDOW_ENTRIES`: one batch for all windows of a turn costs little more than for one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.arrow import MEASURES, MICROS, WINDOW_ENTRIES, WINDOW_KINDS
from stream_processors.core import int128
from stream_processors.core.gcounter import HIGH, LOW, WIDTH, Progress, WindowTotals
from stream_processors.core.scopes import Ids, ScopeIndex

#: Entries a message: about 120 bytes each, so that one stays far below the broker's limit.
MESSAGE_ENTRIES = 50_000


class Excerpt(NamedTuple):
    """Some scopes (each once) of one window and source partition, counted up to `progress`."""

    held: WindowTotals
    ids: Ids
    progress: Progress


def entry_batch(parts: Sequence[Excerpt], index: ScopeIndex) -> pa.RecordBatch:
    """The entries of all of them, one behind the other, as `WINDOW_ENTRIES`."""
    counts = [len(part.ids) for part in parts]
    ids = np.concatenate([np.zeros(0, np.int64), *(part.ids for part in parts)]).tolist()
    values = np.concatenate([np.zeros((0, WIDTH), np.int64), *(p.held.values[p.held.rows_of(p.ids)] for p in parts)])

    def repeated(numbers: list[int], kind: type[np.int64] | type[np.int32] = np.int64) -> pa.Array:
        return pa.array(np.repeat(np.array(numbers, kind), counts))

    def named(names: list[str]) -> pa.Array:
        known = list(dict.fromkeys(names))
        return pa.DictionaryArray.from_arrays(repeated([known.index(name) for name in names], np.int32), known)

    organizations = [index.organizations[scope] for scope in ids]
    codes = {name: code for code, name in enumerate(dict.fromkeys(organizations))}
    return pa.RecordBatch.from_arrays(
        [
            pa.DictionaryArray.from_arrays(
                repeated([WINDOW_KINDS.index(part.held.window.kind) for part in parts], np.int32), list(WINDOW_KINDS)
            ),
            repeated([part.held.window.start for part in parts]).view(MICROS),
            repeated([part.held.window.end for part in parts]).view(MICROS),
            pa.DictionaryArray.from_arrays(
                pa.array([codes[name] for name in organizations], pa.int32()), pa.array(list(codes), pa.string())
            ),
            pa.DictionaryArray.from_arrays(
                pa.array([index.kinds[scope] for scope in ids], pa.int32()), pa.array(index.kind_names)
            ),
            pa.array([index.names[scope] for scope in ids], pa.string()),
            repeated([part.progress.src_partition for part in parts], np.int32),
            repeated([part.held.segment for part in parts]),
            repeated([part.progress.block_offset for part in parts]),
            named([part.progress.src_epoch for part in parts]),
            repeated([part.progress.src_offset for part in parts]),
            *(pa.array(np.ascontiguousarray(values[:, column])) for column in range(len(MEASURES))),
            int128.to_decimal(values[:, HIGH], values[:, LOW]),
        ],
        schema=WINDOW_ENTRIES,
    )
