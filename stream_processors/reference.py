"""A second opinion on every event: what it must have become, computed without any of the engine's code.

Decodes with fastavro one event at a time, checks it by the rules of `schemas/avro/usage_event.v1.avsc` and prices it in
fractions straight from the data of `genai-prices`. Slow and plain on purpose: `tollbook audit --deep` holds the books
against it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import fastavro
from genai_prices.data import providers
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.data_units import unit_data
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from schemas.arrow import TOKEN_CLASSES
from schemas.codec import avro_text, decode, split_frame

MAX_RECORD_BYTES = 1_000_000
MAX_TOKENS = 10**9
MAX_NAME = 128
MAX_AHEAD_US = 300_000_000
FIRST_US = 1_420_070_400_000_000  # 2015-01-01
END_US = 4_102_444_800_000_000  # 2100-01-01
HOUR_US = 3_600_000_000
HORIZON_HOURS = 24
INT32 = range(-(2**31), 2**31)
INT64_MAX = 2**63 - 1
PICO = 10**12
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: What of a row is compared with the reference, besides `cost_pico`, `requests` and `unpriced_requests`.
COLUMNS = (
    *("event_id", "source", "revision", "occurred_at", "organization", "business_unit", "cost_center", "department"),
    *("team", "user", "project", "task", "session", "feature", "tool", "integration", "platform", "environment"),
    *("provider", "model", "service_tier", "status", "error_type"),
    *TOKEN_CLASSES,
)
PARTS = (
    (("cache_read_tokens", "cache_write_tokens"), "input_tokens"),
    (("cache_write_1h_tokens",), "cache_write_tokens"),
    (("input_audio_tokens", "input_image_tokens"), "input_tokens"),
    (("reasoning_tokens",), "output_tokens"),
    (("output_audio_tokens",), "output_tokens"),
)
#: What `genai-prices` calls a service tier, and our token classes.
TIERS: Mapping[str, dict[str, str]] = {
    "default": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
UNIT_OF_CLASS = {name: name for name in TOKEN_CLASSES} | {"reasoning_tokens": "output_reasoning_tokens"}
UNIT_OF_PRICE = {definition["price_key"]: unit for unit, definition in unit_data.items()}

Event = Mapping[str, Any]


class RejectedError(Exception):
    """The event must not be booked; `reason` is one of the closed set."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an event must have become: a row with these values, or a reject for `reason`.

    `doubtful`: a repeat at the very edge of the horizon, where both are right.
    """

    values: Mapping[str, Any] | None
    reason: str = ""
    doubtful: bool = False


class Partition:
    """The events of one source partition, judged in the order of their offsets.

    `schema_of(id)` gives a writer schema's text, None when the registry does not know it.
    """

    def __init__(self, schema_of: Callable[[int], str | None]) -> None:
        self._schema_of = schema_of
        self._seen: dict[bytes, tuple[bytes, int]] = {}

    def judge(self, value: bytes, booked_us: int) -> Verdict:
        """The verdict on a record appended at `booked_us` (microseconds UTC). What `schema_of` raises goes through."""
        try:
            event = read_event(value, self._schema_of)
            check_event(event, booked_us)
            cost_pico = price_pico(event)
        except RejectedError as error:
            return Verdict(None, error.reason)
        repeat, doubtful = self._repeat(event, value, booked_us // HOUR_US)
        if repeat:
            return Verdict(_values(event, cost_pico), repeat, doubtful)
        return Verdict(_values(event, cost_pico))

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


def _values(event: Event, cost_pico: int | None) -> dict[str, Any]:
    values = {name: event[name] for name in COLUMNS}
    return values | {"cost_pico": cost_pico, "requests": 1, "unpriced_requests": int(cost_pico is None)}


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
    for name in ("provider", "model"):
        _require(len(event[name]) >= 1, "invalid", f"length of {name}")
    _require(event["kind"] == "usage", "invalid", "kind: only usage is booked yet")
    _require(event["service_tier"] in TIERS, "invalid", "service_tier")
    _require(event["status"] in ("ok", "error", "cancelled"), "invalid", "status")
    _require(all(count >= 0 for count in _counts(event)), "invalid", "a negative count")
    for parts, whole in PARTS:
        _require(sum(event[part] for part in parts) <= event[whole], "parts_exceed_whole", whole)
    for name, whole in (("input_parts", "input_tokens"), ("output_parts", "output_tokens")):
        _require(sum(event[name].values()) <= event[whole], "parts_exceed_whole", name)
    _require(event["occurred_at"] <= booked_us + MAX_AHEAD_US, "future", "occurred_at")
    _require(FIRST_US <= event["occurred_at"] < END_US, "out_of_range", "occurred_at")
    _require(all(event[name] <= MAX_TOKENS for name in TOKEN_CLASSES), "too_large", "tokens")
    _require(all(count <= MAX_TOKENS for count in event["units"].values()), "too_large", "units")


def _counts(event: Event) -> Iterator[int]:
    yield event["revision"]
    yield from (event[name] for name in TOKEN_CLASSES)
    for name in ("input_parts", "output_parts", "units"):
        yield from event[name].values()


def _require(holds: bool, reason: str, detail: str) -> None:
    if not holds:
        raise RejectedError(reason, detail)


def price_pico(event: Event) -> int | None:
    """The cost in pico-dollars, exact, half-even once; None when no price is known, which is not 0.

    Raises RejectedError (too_large) beyond 64 bits.
    """
    prices = _prices_of(event)
    if prices is None:
        return None
    counts, stated = _counted(event)
    priced = _priced_units(prices)
    if not priced.keys() & stated:
        return None  # priced by what the event does not say, such as seconds
    if any(count and not _has_price(name, priced) for name, count in counts.items() if name != "requests"):
        return None
    if _meet_unknown(priced, counts, stated):
        return None
    left = _leaves(counts, priced)
    if any(count < 0 for count in left.values()):
        return None  # its parts do not fit into each other
    total = Fraction(0)
    for unit, count in left.items():
        price = Fraction(_at(priced[unit], event["input_tokens"])) / unit_data[unit]["per"]
        total += price * _charged(event, unit, count)
    pico = round(total * PICO)  # of a Fraction: exact, halves to even
    _require(pico <= INT64_MAX, "too_large", "cost_pico")
    return pico


def _counted(event: Event) -> tuple[dict[str, int], set[str]]:
    """How often each unit of `genai-prices` was used, and which of them the event states, were it as 0."""
    counts = {unit: event[name] for name, unit in UNIT_OF_CLASS.items()} | {"requests": 1}
    stated = set(counts)
    for name, count in event["units"].items():
        known = next((unit for unit in (name, f"{name}s", f"{name}es") if unit in unit_data), name)
        if known in UNIT_OF_CLASS.values() or known in UNIT_OF_CLASS or known == "requests":
            known = f"units.{name}"  # counted by a column already
        counts[known] = counts.get(known, 0) + count
        stated.add(known)
    for part in stated - set(UNIT_OF_CLASS.values()) - {"requests"}:
        for whole in unit_data:  # seconds and pages of a kind are seconds and pages
            if part in unit_data and _is_part(part, whole) and unit_data[whole]["dimensions"]["family"] != "tokens":
                counts[whole] = counts.get(whole, 0) + (counts[part] if whole not in stated else 0)
    return counts, stated


def _has_price(name: str, priced: Mapping[str, Any]) -> bool:
    return name in priced or any(name in unit_data and _is_part(name, whole) for whole in priced)


def _charged(event: Event, unit: str, count: int) -> int:
    """Groq bills at least ten seconds of a transcription."""
    found = _model(event["provider"], event["model"])
    assert found is not None  # it has a price
    whisper = found[2] == "groq" and found[0].id in ("whisper-large-v3", "whisper-large-v3-turbo")
    return max(count, 10) if whisper and count and unit in ("audio_seconds", "input_audio_seconds") else count


def _prices_of(event: Event) -> ModelPrice | None:
    found = _model(event["provider"], event["model"])
    if found is None:
        return None
    model, is_own, _ = found
    at = EPOCH + timedelta(microseconds=event["occurred_at"])
    context = TIERS[event["service_tier"]]
    if not context:
        return model.get_prices(at)
    # Another tier has a price only where one is published for it: the standard one would be wrong.
    variants = [v for v in model.price_variants or () if v.when.items() <= context.items()]
    in_force = any(v.constraint is None or v.constraint.active(at) for v in variants)
    return model.get_prices(at, context) if is_own and in_force else None


@cache
def _snapshot() -> DataSnapshot:
    return DataSnapshot(providers, from_auto_update=False)


@cache
def _model(provider: str, model: str) -> tuple[ModelInfo, bool, str] | None:
    """The model as sold by this provider, never guessed from its name; whether it is the provider's own; its id."""
    try:
        seller, sold = _snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    return sold, any(sold is own for own in seller.models), seller.id


def _priced_units(prices: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    return {UNIT_OF_PRICE[key]: price for key, price in prices.__dict__.items() if price is not None}


def _leaves(counts: Mapping[str, int], priced: Mapping[str, Any]) -> dict[str, int]:
    """How many of each priced unit are left when the more specific priced ones are taken out."""
    left: dict[str, int] = {}
    for unit in sorted(priced, key=lambda unit: -len(unit_data[unit]["dimensions"])):
        left[unit] = counts.get(unit, 0) - sum(count for other, count in left.items() if _is_part(other, unit))
    return left


def _is_part(unit: str, whole: str) -> bool:
    return set(unit_data[unit]["dimensions"].items()) > set(unit_data[whole]["dimensions"].items())


def _meet_unknown(priced: Mapping[str, Any], counts: Mapping[str, int], stated: set[str]) -> bool:
    """Whether the event has two counts that are priced apart where they meet, and does not say how far they meet."""
    used = [unit for unit in priced if counts.get(unit)]
    return any(join not in stated for join in _joins(tuple(used)))


@cache
def _joins(used: tuple[str, ...]) -> tuple[str, ...]:
    joins = []
    for index, one in enumerate(used):
        for other in used[index + 1 :]:
            first, second = unit_data[one]["dimensions"], unit_data[other]["dimensions"]
            both = first | second
            if both not in (first, second) and both == second | first:
                joins += [name for name, unit in unit_data.items() if unit["dimensions"] == both]
    return tuple(joins)


def _at(price: Decimal | TieredPrices, input_tokens: int) -> Decimal:
    if not isinstance(price, TieredPrices):
        return price
    above = [tier for tier in price.tiers if input_tokens > tier.start]
    return max(above, key=lambda tier: tier.start).price if above else price.base
