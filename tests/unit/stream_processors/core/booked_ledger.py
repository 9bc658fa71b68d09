"""A source partition with its books, for the tests of what corrects them."""

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
from rating_events import BOOKED_MS, SCHEMA_ID, batch, schema_of

from schemas.arrow import ROW_KEYS, TOKEN_CLASSES
from schemas.batches import avro_bodies, plain_batch
from schemas.batches import framed as in_frames
from stream_processors.core.corrections import PRICE_TAG, Corrections
from stream_processors.core.directory import NOBODY, Directory
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import Rated, rate
from stream_processors.core.reassignment import DIRECTORY_TAG, MOVABLE_ROWS
from stream_processors.core.rerating import rerate
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen
from stream_processors.core.statements import MOVED_IN, MOVED_TAG

OLD = PriceBook.compiled()


class Ledger:
    """A source partition of `usage.events` with its books, rated by `book` and `directory`."""

    def __init__(self, book: PriceBook = OLD, directory: Directory = NOBODY) -> None:
        self.book, self.directory = book, directory
        self.seen, self.revisions = Seen(), Revisions()
        self.offset = 0
        self.blocks: list[Rated] = []
        self.versions: list[tuple[str, int]] = []

    def take(self, *values: bytes) -> Rated:
        raw = batch(values, self.offset, BOOKED_MS)
        rated = rate(raw, schema_of, self.book, self.seen, self.revisions, self.directory)
        self.offset += len(values)
        self.blocks.append(rated)
        self.versions += [(self.book.version, self.directory.version)] * rated.rows.num_rows
        return rated

    def restart(self) -> None:
        self.seen, self.revisions = Seen(), Revisions()
        for block in self.blocks:
            self.seen.remember(block.rows)
            self.revisions.remember(block.rows)

    def rows(self) -> list[dict[str, Any]]:
        return [row for block in self.blocks for row in block.rows.to_pylist(maps_as_pydicts="strict")]

    def landed(self) -> pa.RecordBatch:
        """As they are read for a correction (MOVABLE_ROWS), in any order."""
        read = [
            row | of_statement(row) | of_block(row, *versions) | {"src_partition": 0}
            for row, versions in zip(self.rows(), self.versions, strict=True)
            if row["kind"] != "adjustment" or row["corrects"]
        ]
        shuffled = [read[place] for place in np.random.default_rng(1).permutation(len(read))]
        return pa.RecordBatch.from_pylist(
            [{name: each[name] for name in MOVABLE_ROWS.names} for each in shuffled], schema=MOVABLE_ROWS
        )

    def rerate(self, book: PriceBook) -> Corrections:
        return rerate(self.landed(), book, "new prices", "mia")

    def settle(self, book: PriceBook, first: Corrections | None = None) -> int:
        """Looks until nothing differs, beginning with what was found earlier; how many entries it took."""
        taken, found = 0, first or self.rerate(book)
        for _ in range(5):
            if not found.entries.num_rows:
                return taken
            self.take(*values_of(found))
            taken += found.entries.num_rows
            found = self.rerate(book)
        raise AssertionError("it does not come to an end")

    def sums(self) -> dict[tuple[Any, ...], dict[str, int]]:
        """All that is counted, by event and key, without what comes to nothing."""
        sums: dict[tuple[Any, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for row in self.rows():
            total = sums[(row["corrects"] or row["event_id"], *(row[name] for name in ROW_KEYS))]
            measures = ("requests", "unpriced_requests", "cost_pico", *TOKEN_CLASSES)
            for name, count in ({name: row[name] or 0 for name in measures} | row["units"]).items():
                total[name] += count
        found = {key: {name: count for name, count in total.items() if count} for key, total in sums.items()}
        return {key: total for key, total in found.items() if total}

    def costs(self) -> dict[tuple[Any, ...], tuple[int, int, int]]:
        """Requests, unpriced requests and cost by event and key, without what comes to nothing."""
        sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
        for row in self.rows():
            total = sums[(row["corrects"] or row["event_id"], *(row[name] for name in ROW_KEYS))]
            for place, name in enumerate(("requests", "unpriced_requests", "cost_pico")):
                total[place] += row[name] or 0
        return {key: (total[0], total[1], total[2]) for key, total in sums.items() if any(total)}


def of_statement(row: dict[str, Any]) -> dict[str, Any]:
    event_id = row["corrects"] or row["event_id"]
    text = repr((row["source"], event_id, [row[name] for name in ROW_KEYS]))
    digest = hashlib.sha256(text.encode()).digest()
    parts = {"group_a": int.from_bytes(digest[:8], "big"), "group_b": int.from_bytes(digest[8:16], "big")}
    return parts | {"event_id": event_id, "units": list(row["units"].items())}


def of_block(row: dict[str, Any], price_version: str, directory_version: int) -> dict[str, Any]:
    tags = row["tags"] if row["kind"] == "adjustment" else {}
    moved = tags.get(MOVED_TAG, "")
    return {
        "price_version": tags.get(PRICE_TAG, price_version),
        "moved": moved,
        "entry_id": row["event_id"] if moved else "",
        "directory_version": int(tags[DIRECTORY_TAG]) if moved == MOVED_IN else directory_version,
    }


def values_of(found: Corrections) -> list[bytes]:
    return in_frames(avro_bodies(plain_batch(found.entries)), SCHEMA_ID)
