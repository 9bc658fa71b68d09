"""Currencies that prices of one's own may be stated in, and what one was worth in US dollars when."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from stream_processors.core.dated import Dated, Form, in_force, require_consecutive

USD = "USD"
MOST_USD = 1_000  # no currency's unit is worth more
_DECIMALS = 12  # times a price of twelve: exact in the integers of a rate card
Code = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


def decimals(value: Decimal) -> int:
    """How many a finite number has."""
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _worth(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 < value <= MOST_USD and decimals(value) <= _DECIMALS):
        raise ValueError(
            f"US dollars for one are more than 0 and at most {MOST_USD}, with at most {_DECIMALS} decimals"
        )
    return value


class Rate(Dated):
    """What one of a currency is worth from `start` to before `end`."""

    usd: Annotated[Decimal, AfterValidator(_worth)]


class Currency(Form):
    """Its ISO 4217 code and its rates, half-open and without gaps. No rate at all: it was removed."""

    code: Code
    ranges: Annotated[tuple[Rate, ...], Field(alias="range")] = ()

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        if self.code == USD:
            raise ValueError(f"code = {USD!r}: amounts are in US dollars; it has no rate")
        require_consecutive(self.ranges)
        return self

    @property
    def id(self) -> str:
        """Its name among prices."""
        return self.code

    @property
    def selectors(self) -> tuple[str, ...]:
        """What it is about."""
        return (self.code,)

    def at(self, moment_us: int) -> Rate | None:
        """The rate in force; None: before the first one, or after the last."""
        return in_force(self.ranges, moment_us)
