"""Every offset of `usage.events` is in the books once: as a row, a reject, a transaction marker or a gap.

This is also the proof that (epoch, partition, offset, entry) is unique: blocks follow each other without overlap,
and each holds its own offsets, each once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_processors.audit.model import LISTED, Check, Difference, Value
from stream_processors.audit.queries import Ledger

OFFSETS_LISTED = 50  # a block


@dataclass(frozen=True, slots=True)
class Landed:
    """How far one source partition is in ClickHouse."""

    src_partition: int
    block_offset: int
    src_epoch: str
    last_offset: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """One partition of `usage.events` as the broker has it now; `end` is the offset after the last record."""

    src_partition: int
    src_epoch: str
    start: int
    end: int


def read_landed(ledger: Ledger) -> dict[int, Landed]:
    """By source partition; those without a block are not in it."""
    return {row["src_partition"]: Landed(**row) for row in ledger.ask("landed")}


def check_chain(ledger: Ledger, landed: Mapping[int, Landed]) -> Check:
    """Each block continues the one before it, and accounts for as many offsets as it covers."""
    check = Check("blocks", checked=sum(part.blocks for part in landed.values()))
    for partition in landed:
        for row in ledger.ask("block_chain", {"partition": partition, "limit": LISTED}):
            check.add(chain_differences(partition, row))
    return check


def chain_differences(partition: int, row: Mapping[str, Any]) -> list[Difference]:
    """What is wrong with one block's place in the chain."""
    covered = row["last_offset"] - row["first_offset"] + 1
    measured = (
        ("extends", row["previous_block"], row["extends"]),
        ("first_offset", row["expected_first"], row["first_offset"]),
        ("offsets", covered, row["counted"]),
    )
    place = _place(partition, row["block_offset"])
    window = _block_text(row["block_offset"], row["first_offset"], row["last_offset"])
    return [
        Difference("blocks", _scope(partition), window, measure, expected, found, place)
        for measure, expected, found in measured
        if expected != found
    ]


def check_contents(ledger: Ledger, landed: Mapping[int, Landed]) -> Check:
    """The rows and rejects of each landed block are those it counted, each offset once; `checked` counts offsets."""
    check = Check("conservation")
    for partition, part in landed.items():
        parameters = {"partition": partition, "landed": part.block_offset, "limit": LISTED}
        found = ledger.ask_one("block_contents", parameters)
        check.checked += int(found["offsets"])
        for block in found["blocks"]:
            check.add(_block_differences(ledger, partition, block))
    return check


def _block_differences(ledger: Ledger, partition: int, block: Sequence[Any]) -> list[Difference]:
    offset, is_block, epoch, first, last, rows, rejects, without_entry, found_rows, found_rejects, repeated = block[:11]
    pairs, found_pairs = block[11:]
    place = _place(partition, offset)
    if not is_block:
        return [Difference("usage", _scope(partition), f"block {offset}", "rows", 0, found_rows + found_rejects, place)]
    window = _block_text(offset, first, last)
    measured = (
        ("usage", "rows", rows, found_rows),
        ("usage", "second rows", pairs, found_pairs),
        ("rejected", "rejects", rejects, found_rejects),
        ("usage", "repeated", 0, repeated),
    )
    differences = [
        Difference(table, _scope(partition), window, measure, expected, found, place)
        for table, measure, expected, found in measured
        if expected != found
    ]
    parameters = {
        "partition": partition,
        "block": offset,
        "first": first,
        "count": last - first + 1,
        "limit": OFFSETS_LISTED + without_entry,
    }
    entries = {row["src_offset"]: int(row["entries"]) for row in ledger.ask("block_offsets", parameters)}
    named = offset_differences(partition, epoch, range(first, last + 1), entries, without_entry)
    # Nothing else to say of a block that differs: its rows carry another epoch.
    wrong_epoch = Difference("usage", _scope(partition), window, "src_epoch", epoch, "another", place)
    return (differences + named[:OFFSETS_LISTED]) or [wrong_epoch]


def offset_differences(
    partition: int, epoch: str, block: range, entries: Mapping[int, int], without_entry: int
) -> list[Difference]:
    """Offsets of a block that are not there once; `entries` says how often those are.

    Markers and gaps are offsets without an entry, so absent offsets are named only when there are more of them.
    """
    absent = [offset for offset, count in entries.items() if count == 0]
    wrong = [offset for offset, count in entries.items() if count > 1 or offset not in block]
    if len(absent) > without_entry:
        wrong += absent
    return [
        Difference(
            "usage",
            _scope(partition),
            f"offset {offset}",
            "entries",
            1 if offset in block else 0,
            entries[offset],
            {"src_epoch": epoch, "src_partition": partition, "src_offset": offset},
        )
        for offset in sorted(wrong)
    ]


def check_upstream(landed: Mapping[int, Landed], upstream: Sequence[Upstream]) -> Check:
    """What has landed lies within what the broker has; what the broker has beyond it is `ahead`. Pure."""
    check = Check("upstream", checked=len(upstream))
    for source in upstream:
        part = landed.get(source.src_partition)
        if part is None or part.src_epoch != source.src_epoch:
            check.ahead += source.end
            continue
        check.ahead += max(0, source.end - part.last_offset - 1)
        if part.last_offset >= source.end:
            place: dict[str, Value] = {"src_epoch": part.src_epoch, **_place(part.src_partition, part.block_offset)}
            window = f"offsets {source.start} to {source.end - 1}"
            found = part.last_offset
            check.add(
                [Difference("blocks", _scope(part.src_partition), window, "last_offset", source.end - 1, found, place)]
            )
    if check.ahead and not any(part.blocks for part in landed.values()):
        check.undecided = f"{check.ahead} events in usage.events, none has landed"
    return check


def _scope(partition: int) -> str:
    return f"usage.events[{partition}]"


def _place(partition: int, block_offset: int) -> dict[str, Value]:
    return {"src_partition": partition, "block_offset": block_offset}


def _block_text(block_offset: int, first: int, last: int) -> str:
    return f"block {block_offset} (offsets {first} to {last})"
