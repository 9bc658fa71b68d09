"""What depends on a running total, and so is in no event's price: volume tiers, and credits that use themselves up.

Both are functions of totals alone, so the order of events does not matter. What they come to is settled by entries:
of each rule, organization, provider and month, the difference to what is booked for it already (`settlement.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.money import to_pico
from stream_processors.core.currencies import decimals
from stream_processors.core.dated import Dated, Form, in_force, require_consecutive

ANY = "*"
_MOST_USD = 10**9
_FAR_US = 1 << 62


def _usd(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 < value <= _MOST_USD and decimals(value) <= 12):
        raise ValueError(f"an amount is more than 0 and at most {_MOST_USD} US dollars, with at most 12 decimals")
    return value


def _percent(value: Decimal) -> Decimal:
    if not (value.is_finite() and 0 < value <= 100 and decimals(value) <= 4):
        raise ValueError("a discount is more than 0 and at most 100 percent, with at most 4 decimals")
    return value


Usd = Annotated[Decimal, AfterValidator(_usd)]
Name = Annotated[str, Field(min_length=1)]


class CreditRange(Dated):
    """So many dollars for usage from `start` to before `end`; what is left then lapses."""

    amount: Usd


class Credit(Form):
    """Dollars that an organization's usage uses up. No range at all: it was removed."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    organization: Name
    provider: Name = ANY
    ranges: Annotated[tuple[CreditRange, ...], Field(alias="range")] = ()

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        if self.organization == ANY:
            raise ValueError("organization = '*': a credit is somebody's")
        require_consecutive(self.ranges)
        return self

    @property
    def selectors(self) -> tuple[str, ...]:
        """A credit stands beside any other: each has its own."""
        return (self.id,)


class Tier(Form):
    """Off what a month's cost has above so many dollars, up to the next tier."""

    above: Usd
    discount_percent: Annotated[Decimal, AfterValidator(_percent)]


class VolumeRange(Dated):
    """The tiers of months that begin from `start` to before `end`."""

    tier: Annotated[tuple[Tier, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for before, after in pairwise(self.tier):
            if before.above >= after.above:
                raise ValueError(f"tier above = {after.above}: must be more than {before.above}, the one before it")
        return self


class Volume(Form):
    """Discounts on what each organization's usage of a provider costs in a month. No range at all: it was removed."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    organization: Name = ANY
    provider: Name
    ranges: Annotated[tuple[VolumeRange, ...], Field(alias="range")] = ()

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        if self.provider == ANY:
            raise ValueError("provider = '*': a volume discount is one provider's")
        require_consecutive(self.ranges)
        return self

    @property
    def selectors(self) -> tuple[str, ...]:
        """Whose usage of which provider."""
        return self.organization, self.provider.lower()


class Cell(NamedTuple):
    """What an organization used of a provider in a stretch of a month, and what it cost, in pico-dollars."""

    start_us: int
    month_us: int  # where the month begins
    organization: str
    provider: str
    cost_pico: int
    tokens: int = 0  # input and output


class Place(NamedTuple):
    """What entries are booked for."""

    rule: str
    organization: str
    provider: str
    month_us: int


def volumes_due(cells: Iterable[Cell], rules: Sequence[Volume]) -> dict[Place, int]:
    """What each volume rule comes to, negative. Exact, rounded half-even once a month.

    Of rules that match, the one that names the organization holds.
    """
    totals: dict[tuple[str, str, int], int] = defaultdict(int)
    for cell in cells:
        totals[cell.organization, cell.provider, cell.month_us] += cell.cost_pico
    due = {}
    for (organization, provider, month_us), total in totals.items():
        near = [each for each in rules if _is_for(each.organization, each.provider, organization, provider)]
        for volume in sorted(near, key=lambda each: each.organization == ANY):
            held = in_force(volume.ranges, month_us)
            if held is not None:
                due[Place(volume.id, organization, provider, month_us)] = -discount_pico(held.tier, total)
                break
    return due


def discount_pico(tiers: Sequence[Tier], total_pico: int) -> int:
    """Each tier's percentage of what lies between it and the next."""
    ends = [*(to_pico(tier.above) for tier in tiers[1:]), max(total_pico, 0)]
    shares = [max(0, min(total_pico, end) - to_pico(tier.above)) for tier, end in zip(tiers, ends, strict=True)]
    return round(sum(Fraction(t.discount_percent) * share / 100 for t, share in zip(tiers, shares, strict=True)))


def credits_due(cells: Iterable[Cell], rules: Iterable[Credit]) -> dict[Place, int]:
    """What is used of each credit by month and provider, negative.

    Each is used up by the usage of its time, the earliest first, and what is of no provider (an overage) after the
    usage itself; of several credits the one that lapses first is used first. No credit exceeds what the usage it is
    for has cost.
    """
    ordered = sorted(cells, key=lambda cell: (cell.start_us, cell.organization, cell.provider == "", cell.provider))
    left = [max(0, cell.cost_pico) for cell in ordered]
    due: dict[Place, int] = defaultdict(int)
    ranges = ((credit, dated) for credit in rules for dated in credit.ranges)
    for credit, dated in sorted(ranges, key=lambda pair: (_end(pair[1]), pair[1].start_us, pair[0].id)):
        remaining = to_pico(dated.amount)
        for number, cell in enumerate(ordered):
            within = dated.start_us <= cell.start_us < _end(dated)
            if within and _is_for(credit.organization, credit.provider, cell.organization, cell.provider):
                used = min(remaining, left[number])
                remaining -= used
                left[number] -= used
                due[Place(credit.id, cell.organization, cell.provider, cell.month_us)] -= used
    return dict(due)


def bounds_of(rules: Iterable[Credit]) -> list[int]:
    """Where a credit begins or lapses (microseconds UTC), ascending: no cell lies on both sides."""
    bounds = {bound for credit in rules for dated in credit.ranges for bound in (dated.start_us, dated.end_us)}
    return sorted(bound for bound in bounds if bound is not None)


def _end(dated: Dated) -> int:
    return _FAR_US if dated.end_us is None else dated.end_us


def _is_for(organization: str, provider: str, its_organization: str, its_provider: str) -> bool:
    return organization in (ANY, its_organization) and provider.lower() in (ANY, its_provider.lower())
