"""Tax on usage: rules that are dated and kept like prices, applied to what a month comes to.

Tax never enters a cost: rows, windows, budgets and alerts are net. It is worked out on sums, once per organization,
provider and rule, in exact fractions, and rounded half-even to the pico-dollar there.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from stream_processors.core.currencies import decimals
from stream_processors.core.dated import Dated, Form, in_force, require_consecutive

ANY = "*"


def _rate(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 <= value <= 100 and decimals(value) <= 4):
        raise ValueError("a tax is 0 to 100 percent with at most 4 decimals")
    return value


class TaxRange(Dated):
    """What is added to the net cost from `start` to before `end`."""

    percent: Annotated[Decimal, AfterValidator(_rate)]


class Tax(Form):
    """For whose usage of which provider, and what from when to when. No range at all: it was removed."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    organization: Annotated[str, Field(min_length=1)] = ANY
    provider: Annotated[str, Field(min_length=1)] = ANY
    ranges: Annotated[tuple[TaxRange, ...], Field(alias="range")] = ()

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        require_consecutive(self.ranges)
        return self

    @property
    def selectors(self) -> tuple[str, ...]:
        """For whose usage of which provider."""
        return self.organization, self.provider.lower()

    @property
    def weight(self) -> tuple[bool, ...]:
        """Of two rules for the same usage, the one with the higher weight is the more specific."""
        return self.organization != ANY, self.provider != ANY

    def matches(self, organization: str, provider: str) -> bool:
        """Whether it is for such usage."""
        return self.organization in (ANY, organization) and self.selectors[1] in (ANY, provider.lower())


def tax_at(taxes: Iterable[Tax], organization: str, provider: str, moment_us: int) -> tuple[str, Decimal] | None:
    """The most specific rule in force, and its percentage; None: no rule says anything, which is not 0 percent."""
    held = [
        (tax.weight, tax.id, dated.percent)
        for tax in taxes
        if tax.matches(organization, provider) and (dated := in_force(tax.ranges, moment_us)) is not None
    ]
    return max(held)[1:] if held else None


@dataclass(frozen=True, slots=True)
class Net:
    """What an organization's usage of a provider cost in a stretch of time in which no rule changes."""

    organization: str
    provider: str
    start_us: int
    cost_pico: int
    unpriced_requests: int


@dataclass(frozen=True, slots=True)
class TaxLine:
    """A line of a statement; `rule`, `percent` and `tax_pico` are None where no rule says anything."""

    organization: str
    provider: str
    rule: str | None
    percent: Decimal | None
    net_pico: int
    tax_pico: int | None
    unpriced_requests: int


def stretches(taxes: Iterable[Tax], start_us: int, end_us: int) -> list[tuple[int, int]]:
    """A time cut where a rule begins or ends."""
    bounds = {bound for tax in taxes for dated in tax.ranges for bound in (dated.start_us, dated.end_us)}
    inside = {bound for bound in bounds if bound is not None and start_us < bound < end_us}
    return list(pairwise([start_us, *sorted(inside), end_us]))


def tax_lines(nets: Iterable[Net], taxes: Sequence[Tax]) -> list[TaxLine]:
    """One line per organization, provider, rule and percentage, in this order."""
    net_pico: dict[tuple[str, str, str, Decimal | None], int] = defaultdict(int)
    unpriced: dict[tuple[str, str, str, Decimal | None], int] = defaultdict(int)
    for net in nets:
        rule, percent = tax_at(taxes, net.organization, net.provider, net.start_us) or ("", None)
        key = (net.organization, net.provider, rule, percent)
        net_pico[key] += net.cost_pico
        unpriced[key] += net.unpriced_requests
    return [
        TaxLine(
            organization,
            provider,
            rule or None,
            percent,
            pico,
            None if percent is None else round(Fraction(percent) * pico / 100),
            unpriced[organization, provider, rule, percent],
        )
        for (organization, provider, rule, percent), pico in sorted(
            net_pico.items(), key=lambda item: (*item[0][:3], item[0][3] or 0)
        )
    ]
