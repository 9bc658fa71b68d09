"""`prices.toml`: its prices, and what stands beside them; what cannot be in force together."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Any, TypeVar

from pydantic import ValidationError

from schemas.event import explain
from stream_processors.core.currencies import USD, Currency
from stream_processors.core.overages import Overage
from stream_processors.core.overrides import MOST_USD, Override, Range
from stream_processors.core.running_totals import Credit, Volume
from stream_processors.core.taxes import Tax

#: What a version of the prices consists of, each known by its id.
Entry = Override | Currency | Tax | Credit | Volume | Overage
_FORMS: Mapping[str, type[Entry]] = {
    "price": Override,
    "currency": Currency,
    "tax": Tax,
    "credit": Credit,
    "volume": Volume,
    "overage": Overage,
}
_NAMES: Mapping[type, str] = {form: name for name, form in _FORMS.items()}
Kind = TypeVar("Kind", bound=Entry)


def parse_prices(text: str, path: str) -> list[Entry]:
    """What the tables of a TOML text say; ValueError lists every mistake with field, value and rule."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from error
    allowed = ", ".join(f"[[{name}]]" for name in _FORMS)
    mistakes = [f"{name}: unknown; allowed: {allowed}" for name in document if name not in _FORMS]
    entries: list[Entry] = []
    for name, form in _FORMS.items():
        tables = document.get(name, [])
        for place, table in enumerate(tables if isinstance(tables, list) else [tables], 1):
            try:
                entries.append(form.model_validate(table))
            except ValidationError as error:
                mistakes += [f"{_title(name, place, table)}: {line}" for line in explain(error).split("; ")]
    mistakes += _collisions(entries)
    if mistakes:
        raise ValueError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return entries


def _title(name: str, place: int, table: Any) -> str:
    said = table if isinstance(table, dict) else {}
    return f"{name} {said.get('id') or said.get('code') or f'number {place}'}"


def conflicts(entries: Sequence[Entry]) -> Iterator[str]:
    """What cannot be in force together: ids, events priced twice, amounts that are no dollars or too many."""
    yield from _collisions(entries)
    rates = {each.code: each for each in only(Currency, entries)}
    for price in only(Override, entries):
        if price.currency in rates:
            yield from _too_much(price, rates[price.currency])
        elif price.currency != USD:
            yield (
                f"price {price.id}: currency = {price.currency!r}: no rate of it is known; "
                f"a [[currency]] with code = {price.currency!r} has them"
            )


def only(kind: type[Kind], entries: Iterable[Entry]) -> list[Kind]:
    """Those of a kind."""
    return [entry for entry in entries if isinstance(entry, kind)]


def subject_of(entry: Entry) -> tuple[str, ...]:
    """What it is about: of two that are about the same, only one may be in force."""
    return _NAMES[type(entry)], *entry.selectors


def _collisions(entries: Iterable[Entry]) -> Iterator[str]:
    for one, other in combinations(entries, 2):
        kind, *_ = subject_of(one)
        if one.id == other.id:
            yield f"{kind} {one.id}: id = {one.id!r}: used twice; each needs its own"
        elif subject_of(one) == subject_of(other):
            for mine, theirs in ((a, b) for a in one.ranges for b in other.ranges if a.overlaps(b)):
                yield (
                    f"{kind} {one.id}, range {mine.text()} and {kind} {other.id}, range {theirs.text()} overlap: "
                    "they are for the same events; which one holds?"
                )


def _too_much(price: Override, currency: Currency) -> Iterator[str]:
    for dated in price.ranges:
        for rate in (rate for rate in currency.ranges if rate.overlaps(dated)):
            for field, amount in dated.amounts():
                if amount * rate.usd > MOST_USD:
                    yield (
                        f"price {price.id}, range {dated.text()}: {field} = {amount} {currency.code}: "
                        f"{amount * rate.usd} US dollars from {rate.text()}, more than {MOST_USD}"
                    )


def without_rate(entries: Sequence[Entry]) -> Iterator[str]:
    """When a price is in force and its currency has no rate: usage is unpriced then."""
    rates = {each.code: each.ranges for each in only(Currency, entries)}
    for price in only(Override, entries):
        for dated in price.ranges if price.currency != USD else ():
            for part in _outside(dated, rates[price.currency]):
                yield f"price {price.id}, {part.text()}: no rate of {price.currency}; such usage is unpriced"


def _outside(dated: Range, rates: Sequence[Any]) -> Iterator[Range]:
    """The parts before the first and after the last rate; between them is no gap."""
    first, last = rates[0].start, rates[-1].end
    if dated.start < first:
        end = first if dated.end is None else min(first, dated.end)
        yield dated.model_copy(update={"end": end})
    if last is not None and (dated.end is None or last < dated.end):
        yield dated.model_copy(update={"start": max(last, dated.start)})
