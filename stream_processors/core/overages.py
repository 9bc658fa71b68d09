"""What a plan's usage costs beyond the tokens that are included: a function of a month's total, settled by entries.

What the included tokens cost is said by prices: 0 where a fee covers them. An overage is on top of these.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.money import PICO
from stream_processors.core.currencies import decimals
from stream_processors.core.dated import Dated, Form, in_force, require_consecutive
from stream_processors.core.overrides import MOST_USD
from stream_processors.core.running_totals import ANY, Cell, Name, Place

_MOST_TOKENS = 10**15
_MILLION = 10**6


def _price(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 < value <= MOST_USD and decimals(value) <= 12):
        raise ValueError(f"a price a million is more than 0 and at most {MOST_USD}, with at most 12 decimals")
    return value


class OverageRange(Dated):
    """The terms of months that begin from `start` to before `end`: tokens (input and output), dollars a million."""

    included_tokens: Annotated[int, Field(ge=0, le=_MOST_TOKENS, strict=True)]
    per_million: Annotated[Decimal, AfterValidator(_price)]


class Overage(Form):
    """For each organization, over all its usage or that of one provider. No range at all: it was removed."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    organization: Name = ANY
    provider: Name = ANY
    ranges: Annotated[tuple[OverageRange, ...], Field(alias="range")] = ()

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        require_consecutive(self.ranges)
        return self

    @property
    def selectors(self) -> tuple[str, ...]:
        """Whose usage of which provider."""
        return self.organization, self.provider.lower()


def overages_due(cells: Iterable[Cell], rules: Sequence[Overage]) -> dict[Place, int]:
    """What each rule comes to, 0 or more. Exact, rounded half-even once a month.

    Of rules for the same provider, or for all of them, the one that names the organization holds.
    """
    tokens: dict[tuple[str, str, int], int] = defaultdict(int)
    for cell in cells:
        for provider in {ANY, cell.provider.lower()}:
            tokens[cell.organization, provider, cell.month_us] += cell.tokens
    due = {}
    for (organization, provider, month_us), total in tokens.items():
        near = [each for each in rules if each.selectors in ((organization, provider), (ANY, provider))]
        for rule in sorted(near, key=lambda each: each.organization == ANY):
            held = in_force(rule.ranges, month_us)
            if held is not None:
                whose = "" if provider == ANY else provider
                due[Place(rule.id, organization, whose, month_us)] = overage_pico(held, total)
                break
    return due


def overage_pico(terms: OverageRange, tokens: int) -> int:
    """What the tokens beyond the included ones cost."""
    beyond = max(0, tokens - terms.included_tokens)
    return round(Fraction(terms.per_million) * beyond * PICO / _MILLION)
