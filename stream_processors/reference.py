"""A second opinion on every event: what it must have become, computed without any of the engine's code.

Decodes with fastavro one event at a time, checks it by the rules of `schemas/avro/usage_event.v1.avsc` and prices it in
fractions (`reference_prices.py`). Slow and plain on purpose: `tollbook audit --deep` holds the books against it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import fastavro

from schemas.arrow import TOKEN_CLASSES
from schemas.codec import avro_text, decode, split_frame
from stream_processors.reference_prices import TIERS, Overrides, price_pico, tokens_fit

MAX_RECORD_BYTES = 1_000_000
MAX_TOKENS = 10**9
MAX_NAME = 128
MAX_AHEAD_US = 300_000_000
FIRST_US = 1_420_070_400_000_000  # 2015-01-01
END_US = 4_102_444_800_000_000  # 2100-01-01
#: adjustment type: (change of requests, change of unpriced requests, names what it corrects, states an amount)
ADJUSTMENTS = {
    "reversal": (-1, 0, True, False),
    "reinstatement": (1, 0, True, False),
    "correction": (0, 0, True, False),
    "re-rating": (0, 0, True, True),
    "pricing": (0, -1, True, True),
    "unpricing": (0, 1, True, True),
    "credit": (0, 0, False, True),
    "allocation": (0, 0, False, True),
    "settlement": (0, 0, False, True),
    "manual": (0, 0, False, True),
}
HOUR_US = 3_600_000_000
HORIZON_HOURS = 24
LIFETIME_US = 48 * HOUR_US
INT32 = range(-(2**31), 2**31)
INT64_MAX = 2**63 - 1

#: What of a row is compared with the reference, besides `cost_pico`, `requests` and `unpriced_requests`.
COLUMNS = (
    *("event_id", "source", "revision", "kind", "corrects", "adjustment_type", "amount_pico", "reason", "author"),
    *("occurred_at", "organization", "business_unit", "cost_center", "department"),
    *("team", "user", "project", "task", "session", "feature", "tool", "integration", "platform", "environment"),
    *("provider", "model", "service_tier", "status", "error_type"),
    *TOKEN_CLASSES,
)
#: A revision that differs in one of these counts under something else than the one before.
KEYS = (
    *("occurred_at", "organization", "business_unit", "cost_center", "department", "team", "user", "project", "task"),
    *("session", "feature", "tool", "integration", "platform", "environment", "task_type", "provider", "model"),
    *("operation", "service_tier", "region", "status"),
)
PARTS = (
    (("cache_read_tokens", "cache_write_tokens"), "input_tokens"),
    (("cache_write_1h_tokens",), "cache_write_tokens"),
    (("input_audio_tokens", "input_image_tokens"), "input_tokens"),
    (("reasoning_tokens",), "output_tokens"),
    (("output_audio_tokens",), "output_tokens"),
)

Event = Mapping[str, Any]
#: What the directory fills in.
FILLED = ("business_unit", "cost_center", "department", "team")
#: By organization and user: (since when, in microseconds; an entry of `usage.directory`), oldest first.
People = Mapping[tuple[str, str], list[tuple[int, Mapping[str, str]]]]


class RejectedError(Exception):
    """The event must not be booked; `reason` is one of the closed set."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an event must have become: a row with these values, or a reject for `reason`; `pair` is a second row.

    `doubtful`: a repeat at the very edge of the horizon, where both are right. Neither values nor reason: it revises
    what retention may have taken, so that its row cannot be judged.
    """

    values: Mapping[str, Any] | None
    reason: str = ""
    doubtful: bool = False
    pair: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Held:
    """What was last stated of an event in revisions; `values` None when that is not known."""

    first_us: int
    revision: int
    content: bytes
    keys: Mapping[str, Any]
    values: Mapping[str, Any] | None


class Partition:
    """The events of one source partition, judged in the order of their offsets.

    `schema_of(id)` gives a writer schema's text, None when the registry does not know it. `complete`: the first event
    judged is the first there was.
    """

    def __init__(self, schema_of: Callable[[int], str | None], complete: bool = True) -> None:
        self._schema_of = schema_of
        self._unknown_until_us = 0 if complete else -1
        self._held: dict[tuple[str, str], _Held] = {}
        self._seen: dict[bytes, tuple[bytes, int]] = {}

    def judge(self, value: bytes, booked_us: int, overrides: Overrides = (), people: People | None = None) -> Verdict:
        """The verdict on a record appended at `booked_us` (microseconds UTC), by these `overrides` and `people`.

        What `schema_of` raises goes through.
        """
        if self._unknown_until_us < 0:
            self._unknown_until_us = booked_us + LIFETIME_US
        try:
            event = read_event(value, self._schema_of)
            check_event(event, booked_us)
            event |= _belonging(event, people or {})
            values = {name: event[name] for name in COLUMNS} | measures(event, overrides)
        except RejectedError as error:
            return Verdict(None, error.reason)
        repeat, doubtful = self._repeat(event, value, booked_us // HOUR_US)
        if repeat:
            return Verdict(values, repeat, doubtful)
        if event["adjustment_type"] in ("re-rating", "pricing", "unpricing"):
            self._reprice(event, values)
        if event["adjustment_type"] == "reinstatement" and event["tags"].get("reassigned") == "in":
            self._move(event)
        if event["kind"] in ("provisional", "final") or event["revision"]:
            content = hashlib.blake2b(split_frame(value)[1], digest_size=16).digest()
            return self._revise(event, values, content, booked_us)
        return Verdict(values)

    def _reprice(self, event: Event, values: Mapping[str, Any]) -> None:
        """What is booked for a statement becomes another cost, of which the next revision books the difference."""
        held = self._held.get((event["source"], event["corrects"]))
        if held is None or held.values is None or held.keys != {name: event[name] for name in KEYS}:
            return
        added = {"cost_pico": values["cost_pico"] + (held.values["cost_pico"] or 0)}
        added["unpriced_requests"] = values["unpriced_requests"] + held.values["unpriced_requests"]
        held.values = {**held.values, **added}

    def _move(self, event: Event) -> None:
        """What is booked for a statement counts in another department, so the next revision finds it there."""
        held = self._held.get((event["source"], event["corrects"]))
        keys = {name: event[name] for name in KEYS}
        if held is not None and all(keys[name] == held.keys[name] for name in KEYS if name not in FILLED):
            held.keys = keys

    def _revise(self, event: Event, values: dict[str, Any], content: bytes, booked_us: int) -> Verdict:
        """A revision books the difference to what is booked; a pair of rows when it counts under something else."""
        identity = event["source"], event["event_id"]
        held = self._held.get(identity)
        keys = {name: event[name] for name in KEYS}
        now = _Held(booked_us, event["revision"], content, keys, values)
        if held is None or booked_us - held.first_us > LIFETIME_US:
            self._held[identity] = now
            if booked_us > self._unknown_until_us:
                return Verdict(values)
            now.values = None
            return Verdict(None, doubtful=True)
        if held.values is None:
            now.values, self._held[identity] = None, now
            return Verdict(None, doubtful=True)
        if now.revision < held.revision:
            return Verdict(values | _less(held.values, held.values))
        if now.revision == held.revision:
            return Verdict(values, "duplicate" if content == held.content else "conflict")
        now.first_us, self._held[identity] = held.first_us, now
        if keys == held.keys:
            return Verdict(values | _less(values, held.values))
        taken_back = {name: value for name, value in held.keys.items() if name in values} | {"error_type": ""}
        nothing = dict.fromkeys(TOKEN_CLASSES, 0) | {"cost_pico": None, "unpriced_requests": 0}
        pair = values | taken_back | _less(nothing, held.values) | {"requests": -1}
        if held.values["unpriced_requests"] > 0 and not held.values["cost_pico"]:
            pair |= {"cost_pico": None}
        return Verdict(values, pair=pair)

    def _repeat(self, event: Event, value: bytes, hour: int) -> tuple[str, bool]:
        """'duplicate' or 'conflict' when the identity was booked within the horizon."""
        identity = repr((event["source"], event["event_id"], event["revision"]))
        key = hashlib.blake2b(identity.encode(), digest_size=16).digest()
        content = hashlib.blake2b(split_frame(value)[1], digest_size=16).digest()
        first = self._seen.get(key)
        if first is None or hour - first[1] > HORIZON_HOURS:
            self._seen[key] = (content, hour)
            return "", False
        return ("duplicate" if first[0] == content else "conflict"), hour - first[1] == HORIZON_HOURS


def _less(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """What brings the measures of `old` to those of `new`; an unpriced cost counts as nothing, and is not 0."""
    difference: dict[str, Any] = {name: new[name] - old[name] for name in (*TOKEN_CLASSES, "unpriced_requests")}
    cost_pico = (new["cost_pico"] or 0) - (old["cost_pico"] or 0)
    unpriced = new["unpriced_requests"] > 0 and not cost_pico
    return difference | {"requests": 0, "cost_pico": None if unpriced else cost_pico}


def measures(event: Event, overrides: Overrides) -> dict[str, int | None]:
    """What a sound event adds besides its tokens. Raises RejectedError (too_large) beyond 64 bits."""
    if event["kind"] == "adjustment":
        cost_pico = event["amount_pico"]
        requests, unpriced, _, _ = ADJUSTMENTS[event["adjustment_type"]]
        unpriced = requests if cost_pico is None else unpriced
    else:
        cost_pico = _price(event, overrides)
        requests, unpriced = 1, int(cost_pico is None)
    return {"cost_pico": cost_pico, "requests": requests, "unpriced_requests": unpriced}


def read_event(value: bytes, schema_of: Callable[[int], str | None]) -> dict[str, Any]:
    """The event in a framed record. Raises RejectedError: too_large, decode or schema."""
    if len(value) > MAX_RECORD_BYTES:
        raise RejectedError("too_large", f"{len(value)} bytes")
    try:
        schema_id, _ = split_frame(value)
    except ValueError as error:
        raise RejectedError("decode", str(error)) from error
    text = schema_of(schema_id)
    if text is None:
        raise RejectedError("schema", f"schema id {schema_id} is unknown")
    try:
        writer, reader = _schemas(text)
        event = decode(value, writer, reader)
    except fastavro.read.SchemaResolutionError as error:
        raise RejectedError("schema", str(error)) from error
    except ValueError as error:
        raise RejectedError("decode", str(error)) from error
    if event["revision"] not in INT32 or any(
        event[name] is not None and event[name] not in INT32 for name in ("latency_ms", "time_to_first_token_ms")
    ):
        raise RejectedError("decode", "a number that does not fit 32 bits")
    return event


@cache
def _schemas(text: str) -> tuple[Any, Any]:
    """Writer and reader; no reader when they are the same, for a projection would cost half of the time."""
    written, ours = _plain(json.loads(text)), _plain(json.loads(avro_text("usage_event.v1")))
    return fastavro.parse_schema(written), None if written == ours else fastavro.parse_schema(ours)


def _plain(schema: Any) -> Any:
    """The schema without logical types: an instant is a number of microseconds."""
    if isinstance(schema, dict):
        return {name: _plain(part) for name, part in schema.items() if name != "logicalType"}
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema


def check_event(event: Event, booked_us: int) -> None:
    """Raises RejectedError for the first rule that the event breaks."""
    for name in ("source", "event_id", "organization"):
        _require(1 <= len(event[name]) <= MAX_NAME, "invalid", f"length of {name}")
    _require(event["kind"] in ("usage", "provisional", "final", "adjustment"), "invalid", "kind")
    _require(event["service_tier"] in TIERS, "invalid", "service_tier")
    _require(event["status"] in ("ok", "error", "cancelled"), "invalid", "status")
    _require(all(count >= 0 for count in _never_negative(event)), "invalid", "a negative count")
    if event["kind"] == "adjustment":
        _check_adjustment(event)
    else:
        _check_use(event)
    _require(event["occurred_at"] <= booked_us + MAX_AHEAD_US, "future", "occurred_at")
    _require(FIRST_US <= event["occurred_at"] < END_US, "out_of_range", "occurred_at")
    _require(all(abs(event[name]) <= MAX_TOKENS for name in TOKEN_CLASSES), "too_large", "tokens")
    _require(all(abs(count) <= MAX_TOKENS for count in event["units"].values()), "too_large", "units")


def _check_use(event: Event) -> None:
    for name in ("provider", "model"):
        _require(len(event[name]) >= 1, "invalid", f"length of {name}")
    counts = [*(event[name] for name in TOKEN_CLASSES), *event["units"].values()]
    _require(all(count >= 0 for count in counts), "invalid", "a negative count")
    for parts, whole in PARTS:
        _require(sum(event[part] for part in parts) <= event[whole], "parts_exceed_whole", whole)
    for name, whole in (("input_parts", "input_tokens"), ("output_parts", "output_tokens")):
        _require(sum(event[name].values()) <= event[whole], "parts_exceed_whole", name)
    files = sum(file["tokens"] for file in event["attachments"])
    _require(files <= event["input_tokens"], "parts_exceed_whole", "attachments")
    _require(tokens_fit(event), "parts_exceed_whole", "units")


def _check_adjustment(event: Event) -> None:
    _require(event["adjustment_type"] in ADJUSTMENTS, "invalid", "adjustment_type")
    _, _, corrects, amount = ADJUSTMENTS[event["adjustment_type"]]
    _require(event["revision"] == 0, "invalid", "revision")
    _require(event["reason"] != "" and event["author"] != "", "invalid", "reason and author")
    _require(int(corrects) <= len(event["corrects"]) <= MAX_NAME, "invalid", "corrects")
    _require(event["amount_pico"] is not None or not amount, "invalid", "amount_pico")


def _never_negative(event: Event) -> Iterator[int]:
    yield event["revision"]
    for name in ("latency_ms", "time_to_first_token_ms", "max_output_tokens"):
        yield event[name] or 0
    for name in ("input_parts", "output_parts"):
        yield from event[name].values()
    for file in event["attachments"]:
        yield from (file["bytes"], file["tokens"])


def _require(holds: bool, reason: str, detail: str) -> None:
    if not holds:
        raise RejectedError(reason, detail)


def _price(event: Event, overrides: Overrides) -> int | None:
    pico = price_pico(event, overrides)
    _require(pico is None or pico <= INT64_MAX, "too_large", "cost_pico")
    return pico


def _belonging(event: Event, people: People) -> dict[str, str]:
    """What the event leaves out and the directory knows, as of when it occurred; an adjustment leaves nothing out."""
    if event["kind"] == "adjustment":
        return {}
    entries = people.get((event["organization"], event["user"]), [])
    held = [entry for since, entry in entries if since <= event["occurred_at"]]
    return {name: held[-1].get(name, "") for name in FILLED if held and not event[name]}


def people_of(records: Iterable[bytes], version: int) -> People:
    """What the records of `usage.directory` (in the order of the topic) say as of a version."""
    people = {}
    for record in map(json.loads, records):
        said = [revision["person"] for revision in record["revisions"] if revision["version"] <= version]
        for person in said[-1:]:
            entries = [(_micros(entry["from"]), entry) for entry in person["entries"]]
            people[person["organization"], person["user"]] = sorted(entries, key=lambda entry: entry[0])
    return people


def _micros(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
