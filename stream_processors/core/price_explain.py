"""Why a price is what it is, for people: the same resolution that rating uses, told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.counts import LATENCY, REQUESTS, UNITS, canonical, is_part
from stream_processors.core.dated import EPOCH, instant_us
from stream_processors.core.overrides import ANY, Override
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_rules import LIST, Price


@dataclass(frozen=True, slots=True)
class Use:
    """What of an event decides which price it gets."""

    provider: str
    model: str
    service_tier: str
    organization: str
    tool: str


def explain_price(book: PriceBook, use: Use, moment: datetime) -> dict[str, Any]:
    """The prices of a use at a moment, each with its reason, and what every override that is near says to it."""
    offer = book.offer(use.provider, use.model, use.service_tier, use.organization, use.tool)
    prices = offer.prices_at(moment)
    names = {use.model} | ({offer.listed[1].id} if offer.listed else set())
    return {
        "provider": use.provider,
        "model": use.model,
        "service_tier": use.service_tier,
        "organization": use.organization,
        "tool": use.tool,
        "at": moment,
        "price_version": book.version,
        "listed_as": f"{offer.listed[0].id} {offer.listed[1].id}" if offer.listed else None,
        "prices": [line for name, price in prices.items() for line in _lines(name, price)],
        "overrides": [
            {"id": override.id, "says": _verdict(override, use, names, moment, prices)}
            for override in book.overrides
            if any(override.names(name) for name in names) and override.sells(use.provider)
        ],
    }


def explain_cost(book: PriceBook, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the cost of a use came about: each priced count, how much of it is left when its own parts are taken out.

    `row`: an event as it is booked, `at_us` its instant; empty when it has no price.
    """
    use = Use(*(row[name] for name in ("provider", "model", "service_tier", "organization", "tool")))
    offer = book.offer(use.provider, use.model, use.service_tier, use.organization, use.tool)
    moment = EPOCH + timedelta(microseconds=row["at_us"])
    counts = {name: row[name] for name in TOKEN_CLASSES} | {REQUESTS: 1, LATENCY: row["latency_ms"] or 0}
    for name, count in row["units"].items():
        counts[canonical(name)] = counts.get(canonical(name), 0) + count
    prices = offer.prices_at(moment)
    left: dict[str, int] = {}
    for name in sorted(prices, key=lambda name: (-len(UNITS[name].dimensions) if name in UNITS else 0, name)):
        left[name] = counts.get(name, 0) - sum(count for part, count in left.items() if is_part(part, name))
    return [_product(name, prices[name], left[name], row["input_tokens"]) for name in prices if left[name]]


def _product(name: str, price: Price, count: int, input_tokens: int) -> dict[str, Any]:
    usd = next(each for above, each in reversed(price.steps) if input_tokens > above)
    scale, per = _per(name)
    return {
        "count": name,
        "quantity": count,
        "usd": _decimal(usd * scale),
        "per": per,
        "amount_usd": _decimal(usd * count),
        "because": _because(price),
    }


def _lines(name: str, price: Price) -> Iterator[dict[str, Any]]:
    scale, per = _per(name)
    for above, usd in price.steps:
        yield {
            "count": name,
            "usd": _decimal(usd * scale),
            "per": per,
            "above_input_tokens": max(above, 0),
            "because": _because(price),
        }


def _per(name: str) -> tuple[int, str]:
    return (1_000_000, "million") if name in UNITS and UNITS[name].per == 1_000_000 else (1, "one")


def _because(price: Price) -> str:
    by = "the list" if price.origin == LIST else f"price {price.origin}, the most specific that names it"
    return "; ".join([by, *price.changes])


def _decimal(value: Fraction) -> str:
    """Exact where it can be, else to 18 decimals."""
    text = f"{Decimal(round(value * 10**18)).scaleb(-18):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _verdict(override: Override, use: Use, names: set[str], moment: datetime, prices: Mapping[str, Price]) -> str:
    if not override.matches(use.organization, use.provider, names, use.tool, use.service_tier):
        wanted = {
            "organization": (override.organization, use.organization),
            "tool": (override.tool, use.tool),
            "service tier": (override.service_tier, use.service_tier),
        }
        return "is for " + ", ".join(f"{what} {ours}" for what, (ours, its) in wanted.items() if ours not in (ANY, its))
    if override.at(instant_us(moment)) is None:
        return "is not in force then: " + "; ".join(dated.text() for dated in override.ranges)
    sets = [name for name, price in prices.items() if price.origin == override.id]
    if not all(prices[name].steps for name in sets):
        return f"has no rate of {override.currency} then: usage with {', '.join(sets)} is unpriced"
    changes = {change for price in prices.values() for change in price.changes if change.endswith(f" of {override.id}")}
    told = [f"sets {', '.join(sets)}"] if sets else []
    return "; ".join([*told, *sorted(changes)]) or "gives way to a more specific one"
