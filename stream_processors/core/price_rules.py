"""Which price holds: the list's, and the overrides over it, the most specific last."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from stream_processors.core.currencies import USD, Currency
from stream_processors.core.overrides import Override, Range

#: (more input tokens than this, dollars for one), ascending; the first holds from -1, for all. None at all: not known.
Steps = tuple[tuple[int, Fraction], ...]
LIST = "list"


@dataclass(frozen=True, slots=True)
class Price:
    """What one of a count costs, and who says so."""

    steps: Steps
    origin: str  # LIST, or the id of an override
    changes: tuple[str, ...] = ()  # the exchange rate and percentages that were applied, in this order

    def times(self, factor: Fraction, change: str) -> "Price":
        """The price with a percentage applied."""
        steps = tuple((above, price * factor) for above, price in self.steps)
        return replace(self, steps=steps, changes=(*self.changes, change))


def resolve(
    listed: Mapping[str, Steps], overrides: Iterable[Override], currencies: Mapping[str, Currency], moment_us: int
) -> dict[str, Price]:
    """The price of each count at a moment, of overrides that match the event.

    A count takes its price from the most specific override that names it, else from the list. The most specific
    discount is off list prices alone, for a contract's price is net; the most specific markup is on everything. A
    price in a currency that has no rate then has no steps: it is not known, and the list's does not stand in for it.
    """
    in_force = [
        (override, dated)
        for override in sorted(overrides, key=lambda override: override.weight)
        if (dated := override.at(moment_us)) is not None
    ]
    prices = {name: Price(steps, LIST) for name, steps in listed.items()}
    for override, dated in in_force:
        prices |= _own(override, dated, currencies, moment_us)
    prices = _discounted(prices, in_force)
    return _marked_up(prices, in_force)


def _own(override: Override, dated: Range, currencies: Mapping[str, Currency], moment_us: int) -> dict[str, Price]:
    """In dollars, what an override says."""
    stated = dated.prices()
    if override.currency == USD:
        return {name: Price(((-1, price),), override.id) for name, price in stated.items()}
    rate = currencies[override.currency].at(moment_us)
    if rate is None:
        return {name: Price((), override.id) for name in stated}
    change = f"1 {override.currency} at {rate.usd} US dollars from {rate.text()}"
    worth = Fraction(rate.usd)
    return {name: Price(((-1, price * worth),), override.id, (change,)) for name, price in stated.items()}


def _discounted(prices: dict[str, Price], in_force: Sequence[tuple[Override, Range]]) -> dict[str, Price]:
    for override, dated in reversed(in_force):
        if dated.discount_percent is not None:
            factor = 1 - Fraction(dated.discount_percent) / 100
            change = f"{dated.discount_percent} % discount of {override.id}"
            return {
                name: price.times(factor, change) if price.origin == LIST else price for name, price in prices.items()
            }
    return prices


def _marked_up(prices: dict[str, Price], in_force: Sequence[tuple[Override, Range]]) -> dict[str, Price]:
    for override, dated in reversed(in_force):
        if dated.markup_percent is not None:
            factor = 1 + Fraction(dated.markup_percent) / 100
            change = f"{dated.markup_percent} % markup of {override.id}"
            return {name: price.times(factor, change) for name, price in prices.items()}
    return prices
