"""Prices of one's own, over the list: contracts, discounts, markups, self-hosted models, tool price lines.

An override says for which events it is (organization, provider, model, tool, service tier; `*` is any) and holds dated
ranges, half-open and without gaps. It is written in `prices.toml`, and kept whole in `usage.prices`.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.counts import LATENCY, UNITS, canonical
from stream_processors.core.currencies import USD, Code, decimals
from stream_processors.core.dated import Dated, Form, in_force, require_consecutive

ANY = "*"
MOST_USD = 100_000  # a million tokens: ten cents a token
_WHOLE_NAME = 1_000  # weighs more than any beginning of one
_DECIMALS = 6  # of any price as it is written; with two percents over it, an integer rate still holds it


def _price(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 <= value <= MOST_USD and decimals(value) <= _DECIMALS):
        raise ValueError(f"a price a million, or a second, is 0 to {MOST_USD} with at most {_DECIMALS} decimals")
    return value


def _price_of_one(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 <= value <= MOST_USD and decimals(value) <= 2 * _DECIMALS):
        raise ValueError(f"a price of one is 0 to {MOST_USD} with at most {2 * _DECIMALS} decimals")
    return value


def _percent(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 <= value <= 1_000 and decimals(value) <= 2):
        raise ValueError("a percentage is 0 to 1000 with at most 2 decimals")
    return value


def _discount(value: Decimal) -> Decimal:
    if value > 100:
        raise ValueError("a discount is at most 100 percent")
    return value


def _tokens(name: str) -> str:
    if name not in UNITS or UNITS[name].dimensions["family"] != "tokens":
        raise ValueError("not a class of tokens; one of " + ", ".join(TOKEN_CLASSES))
    return name


def _counted(name: str) -> str:
    if name in TOKEN_CLASSES:
        raise ValueError("tokens are priced in per_million")
    return canonical(name)


class Range(Dated):
    """Prices from `start` to before `end`. What it does not name stays as it was."""

    per_million: dict[Annotated[str, AfterValidator(_tokens)], Annotated[Decimal, AfterValidator(_price)]] = Field({})
    each: dict[Annotated[str, AfterValidator(_counted)], Annotated[Decimal, AfterValidator(_price_of_one)]] = Field({})
    per_second: Annotated[Decimal, AfterValidator(_price)] | None = None
    discount_percent: Annotated[Decimal, AfterValidator(_percent), AfterValidator(_discount)] | None = None
    markup_percent: Annotated[Decimal, AfterValidator(_percent)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.per_million or self.each) and all(
            value is None for value in (self.per_second, self.discount_percent, self.markup_percent)
        ):
            raise ValueError("a range has a price: per_million, each, per_second, discount_percent or markup_percent")
        return self

    def amounts(self) -> Iterator[tuple[str, Decimal]]:
        """Every amount that it states, with its field."""
        for name in ("per_million", "each"):
            yield from ((f"{name}.{count}", price) for count, price in getattr(self, name).items())
        if self.per_second is not None:
            yield "per_second", self.per_second

    def prices(self) -> dict[str, Fraction]:
        """The price of one of each count that it names, in the price's currency. One a second covers the tokens."""
        free = {} if self.per_second is None else {"input_tokens": Fraction(0), "output_tokens": Fraction(0)}
        timed = {} if self.per_second is None else {LATENCY: Fraction(self.per_second) / 1_000}
        tokens = {name: Fraction(price) / 1_000_000 for name, price in self.per_million.items()}
        return free | timed | tokens | {name: Fraction(price) for name, price in self.each.items()}


class Override(Form):
    """For which events, and what from when to when. No range at all: it was removed."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    organization: Annotated[str, Field(min_length=1)] = ANY
    provider: Annotated[str, Field(min_length=1)] = ANY
    model: Annotated[str, Field(min_length=1)] = ANY
    tool: Annotated[str, Field(min_length=1)] = ANY
    service_tier: Literal["default", "batch", "flex", "priority", "*"]
    currency: Code = USD  # of all its amounts
    ranges: Annotated[tuple[Range, ...], Field(alias="range")] = ()

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        require_consecutive(self.ranges)
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
        return in_force(self.ranges, moment_us)


def _weight(selector: str) -> int:
    if selector == ANY:
        return 0
    return len(selector) if selector.endswith(ANY) else _WHOLE_NAME
