"""The reference's prices: fractions straight from the data of `genai-prices`, and from `usage.prices` as it stands."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any

from genai_prices.data import providers
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.data_units import unit_data
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from schemas.arrow import TOKEN_CLASSES

PICO = 10**12
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
#: Prices in `usage.prices`, each as of one version; `rates`: those of its currency, None for the US dollar.
Overrides = Sequence[Mapping[str, Any]]
#: (more input tokens than this, dollars for one).
Steps = list[tuple[int, Fraction]]


def price_pico(event: Event, overrides: Overrides = ()) -> int | None:
    """The cost in pico-dollars, exact, half-even once; None when no price is known, which is not 0.

    `overrides`: the prices of one's own that are to be applied, as `usage.prices` holds them.
    """
    known = _with_overrides(event, _listed(event), overrides)
    priced = {unit: steps for unit, steps in known.items() if steps}
    counts, stated = _counted(event)
    if any(not steps and (unit == "latency_ms" or counts.get(unit)) for unit, steps in known.items()):
        return None  # in a currency without a rate then
    if "latency_ms" in priced:
        if event["latency_ms"] is None:
            return None
        counts["latency_ms"] = event["latency_ms"]
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
        total += _at(priced[unit], event["input_tokens"]) * _charged(event, unit, count)
    return round(total * PICO)  # of a Fraction: exact, halves to even


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
            if _is_part(part, whole) and unit_data[whole]["dimensions"]["family"] != "tokens":
                counts[whole] = counts.get(whole, 0) + (counts[part] if whole not in stated else 0)
    return counts, stated


def tokens_fit(event: Event) -> bool:
    """Whether tokens that stand in `units`, as cached audio, are no more than what they are part of."""
    counts, stated = _counted(event)
    in_units = {name for name in stated - set(UNIT_OF_CLASS.values()) if _dimensions(name).get("family") == "tokens"}
    return all(counts[part] <= counts[whole] for part in in_units for whole in stated if _is_part(part, whole))


def _has_price(name: str, priced: Mapping[str, Any]) -> bool:
    return name in priced or any(_is_part(name, whole) for whole in priced)


def _charged(event: Event, unit: str, count: int) -> int:
    """Groq bills at least ten seconds of a transcription."""
    found = _model(event["provider"], event["model"])
    whisper = found is not None and found[2] == "groq" and found[0].id in ("whisper-large-v3", "whisper-large-v3-turbo")
    return max(count, 10) if whisper and count and unit in ("audio_seconds", "input_audio_seconds") else count


def _listed(event: Event) -> dict[str, Steps]:
    """The list prices in force; empty when there are none."""
    found = _model(event["provider"], event["model"])
    if found is None:
        return {}
    model, is_own, _ = found
    at = EPOCH + timedelta(microseconds=event["occurred_at"])
    context = TIERS[event["service_tier"]]
    # Another tier has a price only where one is published for it: the standard one would be wrong.
    variants = [v for v in model.price_variants or () if v.when.items() <= context.items()]
    in_force = any(v.constraint is None or v.constraint.active(at) for v in variants)
    if context and not (is_own and in_force):
        return {}
    return _steps_of(model.get_prices(at, context))


def _steps_of(prices: ModelPrice) -> dict[str, Steps]:
    found = {}
    for key, price in prices.__dict__.items():
        if price is not None:
            unit = UNIT_OF_PRICE[key]
            tiers = (
                [(-1, price.base), *((tier.start, tier.price) for tier in price.tiers)]
                if isinstance(price, TieredPrices)
                else [(-1, price)]
            )
            found[unit] = [(above, Fraction(each) / unit_data[unit]["per"]) for above, each in tiers]
    return found


def _with_overrides(event: Event, listed: dict[str, Steps], overrides: Overrides) -> dict[str, Steps]:
    """Each unit at the price of the most specific override that names it; discounts off the list, markups on all."""
    at = EPOCH + timedelta(microseconds=event["occurred_at"])
    near = sorted((o for o in overrides if _is_for(o, event)), key=_rank)
    own: dict[str, Steps] = {}
    in_force = []
    for override in near:
        for dated in _holding(override["range"], at):
            in_force.append(dated)
            rates = override.get("rates")
            worth = [Fraction(1)] if rates is None else [Fraction(rate["usd"]) for rate in _holding(rates, at)]
            for name, price in _stated(dated).items():
                own[UNIT_OF_CLASS.get(name, name)] = [(-1, price * usd) for usd in worth]
    if not in_force:
        return listed
    discounts = [Fraction(dated["discount_percent"]) for dated in in_force if "discount_percent" in dated]
    markups = [Fraction(dated["markup_percent"]) for dated in in_force if "markup_percent" in dated]
    off = 1 - discounts[-1] / 100 if discounts else Fraction(1)
    on = 1 + markups[-1] / 100 if markups else Fraction(1)
    reduced = {unit: [(above, each * off) for above, each in steps] for unit, steps in listed.items()}
    # A price is a whole number of ninths of 1e-24 dollars: exact a million and an hour, rounded after percentages.
    return {
        unit: [(above, Fraction(round(each * on * 9 * 10**24), 9 * 10**24)) for above, each in steps]
        for unit, steps in (reduced | own).items()
    }


def _stated(dated: Mapping[str, Any]) -> dict[str, Fraction]:
    stated: dict[str, Fraction] = {}
    if "per_second" in dated:
        stated = {"input_tokens": Fraction(0), "output_tokens": Fraction(0)}
        stated["latency_ms"] = Fraction(dated["per_second"]) / 1000
    stated |= {name: Fraction(price) / 10**6 for name, price in dated.get("per_million", {}).items()}
    return stated | {name: Fraction(price) for name, price in dated.get("each", {}).items()}


def _is_for(override: Mapping[str, Any], event: Event) -> bool:
    found = _model(event["provider"], event["model"])
    names = [event["model"].lower()] + ([found[0].id.lower()] if found else [])
    wanted = override["model"].lower()
    named = any(name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted for name in names)
    sold = override["provider"].lower() in ("*", event["provider"].lower())
    return named and sold and all(override[n] in ("*", event[n]) for n in ("organization", "tool", "service_tier"))


def _rank(override: Mapping[str, Any]) -> list[int]:
    """More specific ranks higher: by organization, then tool, model, provider, service tier."""
    return [
        0 if override[name] == "*" else len(override[name]) if override[name].endswith("*") else 1000
        for name in ("organization", "tool", "model", "provider", "service_tier")
    ]


def _holding(ranges: Sequence[Mapping[str, Any]], at: datetime) -> list[Mapping[str, Any]]:
    """The one that holds then, if any."""
    return [r for r in ranges if _instant(r["from"]) <= at and ("to" not in r or at < _instant(r["to"]))]


@cache
def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def overrides_of(records: Iterable[bytes], version: int) -> Overrides:
    """What the records of `usage.prices` (in the order of the topic) say as of a version."""
    newest = {record["id"]: record for record in map(json.loads, records)}
    held = []
    for _, record in sorted(newest.items()):
        said = [revision["price"] for revision in record["revisions"] if revision["version"] <= version]
        held += said[-1:]
    rates = {entry["code"]: entry.get("range", []) for entry in held if "code" in entry} | {"USD": None}
    prices = [{"range": [], **entry} for entry in held if "service_tier" in entry]  # a tax has none
    return [price | {"rates": rates[price.get("currency", "USD")]} for price in prices]


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


def _leaves(counts: Mapping[str, int], priced: Mapping[str, Any]) -> dict[str, int]:
    """How many of each priced unit are left when the more specific priced ones are taken out."""
    left: dict[str, int] = {}
    for unit in sorted(priced, key=lambda unit: -len(_dimensions(unit))):
        left[unit] = counts.get(unit, 0) - sum(count for other, count in left.items() if _is_part(other, unit))
    return left


@cache
def _is_part(unit: str, whole: str) -> bool:
    return set(_dimensions(unit).items()) > set(_dimensions(whole).items())


def _dimensions(unit: str) -> Mapping[str, str]:
    """What an override names that `genai-prices` does not know is a thing of its own."""
    known: Mapping[str, str] = unit_data.get(unit, {"dimensions": {"family": unit}})["dimensions"]
    return known


def _meet_unknown(priced: Mapping[str, Any], counts: Mapping[str, int], stated: set[str]) -> bool:
    """Whether the event has two counts that are priced apart where they meet, and does not say how far they meet."""
    used = [unit for unit in priced if counts.get(unit)]
    return any(join not in stated or join not in priced for join in _joins(tuple(used)))


@cache
def _joins(used: tuple[str, ...]) -> tuple[str, ...]:
    joins = []
    for index, one in enumerate(used):
        for other in used[index + 1 :]:
            first, second = dict(_dimensions(one)), dict(_dimensions(other))
            both = first | second
            if both not in (first, second) and both == second | first:
                joins += [name for name, unit in unit_data.items() if unit["dimensions"] == both]
    return tuple(joins)


def _at(steps: Steps, input_tokens: int) -> Fraction:
    return max((above, price) for above, price in steps if input_tokens > above)[1]
