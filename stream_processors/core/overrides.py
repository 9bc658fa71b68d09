"""Prices of one's own, over the list: contracts, discounts, markups, self-hosted models, tool price lines.

An override says for which events it is (organization, provider, model, tool, service tier; `*` is any) and holds dated
ranges, half-open and without gaps. It is written in `prices.toml`, and kept whole in `usage.prices`.
"""

import tomllib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.arrow import TOKEN_CLASSES
from schemas.event import explain
from stream_processors.core.counts import LATENCY, UNITS, canonical

ANY = "*"
MOST_USD = 100_000  # a million tokens: ten cents a token
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE_NAME = 1_000  # weighs more than any beginning of one
_DECIMALS = 6  # of any price as it is written; with two percents over it, an integer rate still holds it


def _price(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 <= value <= MOST_USD and _decimals(value) <= _DECIMALS):
        raise ValueError(f"a price is 0 to {MOST_USD} dollars with at most {_DECIMALS} decimals")
    return value


def _price_of_one(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 <= value <= MOST_USD and _decimals(value) <= 2 * _DECIMALS):
        raise ValueError(f"a price is 0 to {MOST_USD} dollars with at most {2 * _DECIMALS} decimals")
    return value


def _percent(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 <= value <= 1_000 and _decimals(value) <= 2):
        raise ValueError("a percentage is 0 to 1000 with at most 2 decimals")
    return value


def _discount(value: Decimal) -> Decimal:
    if value > 100:
        raise ValueError("a discount is at most 100 percent")
    return value


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # it is finite
    return max(0, -exponent)


def _tokens(name: str) -> str:
    if name not in UNITS or UNITS[name].dimensions["family"] != "tokens":
        raise ValueError("not a class of tokens; one of " + ", ".join(TOKEN_CLASSES))
    return name


def _counted(name: str) -> str:
    if name in TOKEN_CLASSES:
        raise ValueError("tokens are priced in per_million")
    return canonical(name)


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Range(_Form):
    """Prices from `start` to before `end`. What it does not name stays as it was."""

    start: Annotated[AwareDatetime, Field(alias="from")]
    end: Annotated[AwareDatetime | None, Field(alias="to")] = None
    per_million: dict[Annotated[str, AfterValidator(_tokens)], Annotated[Decimal, AfterValidator(_price)]] = {}
    each: dict[Annotated[str, AfterValidator(_counted)], Annotated[Decimal, AfterValidator(_price_of_one)]] = {}
    per_second: Annotated[Decimal, AfterValidator(_price)] | None = None
    discount_percent: Annotated[Decimal, AfterValidator(_percent), AfterValidator(_discount)] | None = None
    markup_percent: Annotated[Decimal, AfterValidator(_percent)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"to = {self.end.isoformat()}: must be after from = {self.start.isoformat()}")
        if not (self.per_million or self.each) and all(
            value is None for value in (self.per_second, self.discount_percent, self.markup_percent)
        ):
            raise ValueError("a range has a price: per_million, each, per_second, discount_percent or markup_percent")
        return self

    @property
    def start_us(self) -> int:
        """Microseconds UTC."""
        return instant_us(self.start)

    @property
    def end_us(self) -> int | None:
        """Microseconds UTC, exclusive; None: open."""
        return None if self.end is None else instant_us(self.end)

    def prices(self) -> dict[str, Fraction]:
        """Dollars for one of each count that it names. A price a second is one of latency, and covers the tokens."""
        free = {} if self.per_second is None else {"input_tokens": Fraction(0), "output_tokens": Fraction(0)}
        timed = {} if self.per_second is None else {LATENCY: Fraction(self.per_second) / 1_000}
        tokens = {name: Fraction(price) / 1_000_000 for name, price in self.per_million.items()}
        return free | timed | tokens | {name: Fraction(price) for name, price in self.each.items()}

    def text(self) -> str:
        """`2026-01-01T00:00:00Z to 2026-07-01T00:00:00Z`."""
        return f"{_text(self.start)} to {'further notice' if self.end is None else _text(self.end)}"


class Override(_Form):
    """For which events, and what from when to when. No range at all: it was removed."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    organization: Annotated[str, Field(min_length=1)] = ANY
    provider: Annotated[str, Field(min_length=1)] = ANY
    model: Annotated[str, Field(min_length=1)] = ANY
    tool: Annotated[str, Field(min_length=1)] = ANY
    service_tier: Literal["default", "batch", "flex", "priority", "*"]
    ranges: Annotated[tuple[Range, ...], Field(alias="range")] = ()

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        for before, after in pairwise(self.ranges):
            if before.end is None or before.end > after.start:
                raise ValueError(f"ranges {before.text()} and {after.text()} overlap: each ends where the next begins")
            if before.end < after.start:
                raise ValueError(f"ranges {before.text()} and {after.text()} leave a gap: say what holds in between")
        return self

    @property
    def selectors(self) -> tuple[str, ...]:
        """For which events, the weightiest first."""
        return (self.organization, self.tool, self.model.lower(), self.provider.lower(), self.service_tier)

    @property
    def weight(self) -> tuple[int, ...]:
        """Of two overrides for an event, the one with the higher weight is the more specific."""
        return tuple(map(_weight, self.selectors))

    def matches(self, organization: str, provider: str, models: Iterable[str], tool: str, service_tier: str) -> bool:
        """Whether it is for such an event. `models`: what the event calls it, and what the list does."""
        return (
            self.organization in (ANY, organization)
            and self.tool in (ANY, tool)
            and self.service_tier in (ANY, service_tier)
            and self.sells(provider)
            and any(self.names(model) for model in models)
        )

    def sells(self, provider: str) -> bool:
        """Whether it is for what this provider sells."""
        return self.provider.lower() in (ANY, provider.lower())

    def names(self, model: str) -> bool:
        """Whether it is for a model of this name."""
        pattern, name = self.model.lower(), model.lower()
        return name.startswith(pattern[:-1]) if pattern.endswith(ANY) else name == pattern

    def at(self, moment_us: int) -> Range | None:
        """The range in force."""
        for each in self.ranges:
            if each.start_us <= moment_us and (each.end_us is None or moment_us < each.end_us):
                return each
        return None


def _weight(selector: str) -> int:
    if selector == ANY:
        return 0
    return len(selector) if selector.endswith(ANY) else _WHOLE_NAME


def parse_overrides(text: str, path: str) -> list[Override]:
    """The `[[price]]` tables of a TOML text; ValueError lists every mistake with field, value and rule."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from error
    tables = document.pop("price", [])
    mistakes = [f"{name}: unknown; allowed: [[price]]" for name in document]
    overrides: list[Override] = []
    for place, table in enumerate(tables if isinstance(tables, list) else [tables], 1):
        try:
            overrides.append(Override.model_validate(table))
        except ValidationError as error:
            name = table.get("id", f"number {place}") if isinstance(table, dict) else f"number {place}"
            mistakes += [f"price {name}: {line}" for line in explain(error).split("; ")]
    mistakes += conflicts(overrides)
    if mistakes:
        raise ValueError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return overrides


def conflicts(overrides: Iterable[Override]) -> Iterator[str]:
    """What cannot be in force together: an id twice, or the same events priced twice at the same time."""
    for one, other in combinations(overrides, 2):
        if one.id == other.id:
            yield f"price {one.id}: id = {one.id!r}: used twice; each price needs its own"
        elif one.selectors == other.selectors:
            for mine, theirs in ((a, b) for a in one.ranges for b in other.ranges if _overlap(a, b)):
                yield (
                    f"price {one.id}, range {mine.text()} and price {other.id}, range {theirs.text()} overlap: "
                    "they are for the same events; which one holds?"
                )


def _overlap(one: Range, other: Range) -> bool:
    return (one.end is None or other.start < one.end) and (other.end is None or one.start < other.end)


def instant_us(moment: datetime) -> int:
    """Microseconds UTC."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
