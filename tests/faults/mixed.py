"""The load with all that corrects it mixed in: copies, other contents, revisions in any order, entries by hand.

What the book says of a record is what it must come to in the end, when all is re-rated by the overrides.
"""

import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from producers.batches import encode_batch
from schemas.arrow import TOKEN_CLASSES
from schemas.codec import encode
from stream_processors.reference_prices import Overrides, price_pico

from .load import Record, micros_of, record_of
from .poison import event_of

SHARE = 0.1  # of records come twice
HALF = 0.5
CREDIT_PICO = -(10**10)
_BARE: dict[str, Any] = {"input_parts": {}, "output_parts": {}, "attachments": [], "quality": []}
_ENTRY: dict[str, Any] = _BARE | {
    "kind": "adjustment",
    "author": "faults",
    "latency_ms": None,
    "time_to_first_token_ms": None,
}
_NOTHING: dict[str, Any] = dict.fromkeys(TOKEN_CLASSES, 0) | {"units": {}}

Event = dict[str, Any]


def mixed(events: pa.RecordBatch, schema_id: int, seed: int, overrides: Overrides) -> tuple[list[Record], list[Record]]:
    """Two halves in a random order, in which a copy or another content comes behind what it repeats.

    What a reversal takes back is of the first half as the reversal is: it states the price before the overrides.
    """
    chance = random.Random(seed)
    timed: list[tuple[float, Record]] = []
    for value in encode_batch(events, schema_id):
        at = 0.0
        event = event_of(value)
        event["occurred_at"] = micros_of(event["occurred_at"])
        records = list(_records(event, schema_id, chance, overrides))
        is_early = any(record.requests < 0 for record in records)
        for record in records:
            at = chance.random() if record.revision else chance.uniform(at, HALF if is_early else 1)
            timed.append((at, record))
            if chance.random() < SHARE:
                timed.append((chance.uniform(at, 1), record))
    ordered = sorted(timed, key=lambda each: each[0])
    first, second = ([record for at, record in ordered if (at < HALF) == early] for early in (True, False))
    return first, second


def _records(event: Event, schema_id: int, chance: random.Random, overrides: Overrides) -> Iterator[Record]:
    """The event as usage or in revisions, and at times what corrects it."""

    def record(said: Event, **fields: Any) -> Record:
        return record_of(said, encode(said, "usage_event.v1", schema_id), overrides, **fields)

    kind = chance.choices(
        ("plain", "revised", "open", "conflict", "reversed", "corrected", "credited"), (4, 2, 1, 1, 1, 1, 1)
    )[0]
    if kind in ("revised", "open"):
        yield from _revisions(event, kind == "revised", chance, record)
        return
    yield record(event)
    if kind == "conflict":
        yield record(event | {"task_title": "another"}, fate="conflict")
    if kind == "credited":
        yield record(_entry(event, "credit", CREDIT_PICO) | _NOTHING, requests=0, cost_pico=CREDIT_PICO)
    cost, new = price_pico(event), price_pico(event, overrides)
    if cost is None or new is None:
        return
    if kind == "reversed":
        yield record(_entry(event, "reversal", -cost) | _negative(event), requests=-1, cost_pico=-new)
    less = event | {"output_tokens": event["output_tokens"] // 2}
    before, after = price_pico(less), price_pico(less, overrides)
    tokens = _NOTHING | {"output_tokens": less["output_tokens"] - event["output_tokens"]}
    has_parts = any(event[name] for name in ("reasoning_tokens", "output_audio_tokens"))
    if kind == "corrected" and not has_parts and tokens["output_tokens"] and before is not None and after is not None:
        yield record(_entry(event, "correction", before - cost) | tokens, requests=0, cost_pico=after - new)


def _revisions(event: Event, ends: bool, chance: random.Random, record: Any) -> Iterator[Record]:
    """Two to four statements of what was used so far, which also shrink; the last one sometimes elsewhere."""
    count = chance.randint(2, 4)
    for revision in range(count):
        said = event | _BARE | {"revision": revision, "kind": "provisional"}
        share = chance.randint(1, 10)
        said |= {name: event[name] * share // 10 for name in TOKEN_CLASSES}
        if revision == count - 1 and ends:
            said |= {"kind": "final"}
            said |= {"department": f"{event['department']} moved"} if chance.random() < 0.5 else {}
        yield record(said)


def _entry(event: Event, kind: str, amount_pico: int) -> Event:
    """An adjustment of the event, under its scopes and at its time."""
    said = {"event_id": f"{kind} {event['event_id']}", "corrects": event["event_id"], "adjustment_type": kind}
    return event | _ENTRY | said | {"amount_pico": amount_pico, "reason": f"a {kind}"}


def _negative(event: Event) -> Event:
    units = {name: -count for name, count in event["units"].items()}
    return {name: -event[name] for name in TOKEN_CLASSES} | {"units": units}
