"""The price book: every model and provider of `genai-prices`, applied to whole batches.

Where it differs from `genai_prices.calc_price`, it says "unpriced" instead of a number that is not the price:

- a provider or model it does not know (there: an error); a provider is never guessed from the model's name;
- a service tier other than `default` without a published price for that tier, provider and date (there: the standard
  price);
- a count for which the model has no price, were it of web searches or seconds, and a model priced only by what an
  event does not say (there: 0);
- an event with both of two counts that are priced apart where they meet, such as cached and audio tokens, that does
  not state how far they meet, and one whose parts do not fit into each other (there: an error).

What has no price of its own costs what the whole does that it is a part of, there as here: reasoning, audio and image
tokens what plain input or output costs.
"""

import hashlib
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from genai_prices.data import providers as PROVIDERS  # noqa: N812 - a constant of that package
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import Provider

from stream_processors.core.counts import Counts, Mask, Numbers, counts_of, integers, is_covered, is_part
from stream_processors.core.list_prices import TIER_CONTEXT
from stream_processors.core.rate_card import SCALE, Card, Era, Rates, compile_card

#: Changes whenever the same data would give another price.
_RULES = "2"
_DAY_US = 86_400_000_000
#: Names come from outside: what is remembered about them is bounded.
_REMEMBERED = 50_000
_LONGEST_NAME = 512  # no model has a longer one, and 2 000 patterns would be searched in it
_INT64_MAX = 2**63 - 1
#: SCALE is split in two, so that products with a count fit 64 bits.
_LOW = np.int64(10**6)
_HIGH = np.int64(SCALE // 10**6)

Rows = npt.NDArray[np.intp]


class PriceBook:
    """Prices in force at an event's time. `version` names the data and the rules that were used."""

    def __init__(self, providers: list[Provider], version: str) -> None:
        self.version = version
        self._providers = providers
        self._forget()

    @classmethod
    def compiled(cls) -> "PriceBook":
        """From the installed `genai-prices` data."""
        content = repr(
            [(p.id, p.provider_match, p.model_match, p.fallback_model_providers, p.models) for p in PROVIDERS]
        )
        digest = hashlib.sha256(f"{_RULES}{content}".encode()).hexdigest()[:12]
        return cls(PROVIDERS, f"genai-prices {version('genai-prices')} {digest}")

    def cards(self) -> Iterator[tuple[str, str, str, Card]]:
        """Provider, model, service tier and prices of everything that has some."""
        for provider in self._providers:
            for model in provider.models:
                for tier in TIER_CONTEXT:
                    card = compile_card(model, provider, tier)
                    if card is not None:
                        yield provider.id, model.id, tier, card

    def price(self, rows: pa.RecordBatch) -> tuple[Numbers, Mask]:
        """Cost in pico-dollars and whether there is one; -1 where a cost is known but exceeds int64.

        `rows`: columns of `schemas.arrow.EVENT_COLUMNS`; counts valid (0 to 1e9, parts within their whole).
        """
        counts = counts_of(rows)
        forms, form_of = self._forms(rows, counts)
        cost, fits = _evaluate(forms, form_of, counts)
        return np.where(fits, cost, -1), form_of > 0

    def _forms(self, rows: pa.RecordBatch, counts: Counts) -> tuple[list[Rates], Rows]:
        """The distinct linear forms of a batch and, per row, which one; 0 is "no price"."""
        at = integers(rows.column("occurred_at"))
        forms: list[Rates] = [{}]
        form_of = np.zeros(rows.num_rows, np.intp)
        for card, members in self._cards_of(rows):
            for era, part in _eras_of(card, at, members):
                covered = part[_covered(era, counts, part)]
                if len(era.rates) == 1:
                    form_of[covered] = len(forms)
                else:
                    context = counts.values["input_tokens"][covered]
                    form_of[covered] = len(forms) + np.searchsorted(era.bounds, context, side="left")
                forms.extend(era.rates)
            for name, least in card.least.items():
                counts.raised(name, least, members)
        return forms, form_of

    def _cards_of(self, rows: pa.RecordBatch) -> list[tuple[Card, Rows]]:
        """Each distinct (provider, model, service tier) that has a card, with its rows."""
        columns = [rows.column(name) for name in ("provider", "model", "service_tier")]
        names = [column.dictionary.to_pylist() for column in columns]
        key = np.zeros(rows.num_rows, np.int64)
        for column, values in zip(columns, names, strict=True):
            key = key * len(values) + column.indices.to_numpy(zero_copy_only=False)
        distinct, member_of = np.unique(key, return_inverse=True)
        order = np.argsort(member_of, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(member_of))[:-1]) if len(distinct) else []
        found = []
        for code, members in zip(distinct.tolist(), groups, strict=True):
            rest, tier = divmod(code, len(names[2]))
            provider, model = divmod(rest, len(names[1]))
            card = self._card(names[0][provider], names[1][model], names[2][tier])
            if card is not None:
                found.append((card, members))
        return found

    def _card(self, provider: str, model: str, tier: str) -> Card | None:
        key = (provider, model, tier)
        if key not in self._cards:
            if len(self._cards) >= _REMEMBERED:
                self._forget()
            self._cards[key] = self._look_up(provider, model, tier)
        return self._cards[key]

    def _look_up(self, provider: str, model: str, tier: str) -> Card | None:
        if tier not in TIER_CONTEXT or len(model) > _LONGEST_NAME:
            return None
        try:
            seller, sold = self._names.find_provider_model(model, None, provider, None)
        except LookupError:
            return None
        return compile_card(sold, seller, tier)

    def _forget(self) -> None:
        self._cards: dict[tuple[str, str, str], Card | None] = {}
        self._names = DataSnapshot(self._providers, from_auto_update=False)  # it remembers names too


def _eras_of(card: Card, at: Numbers, members: Rows) -> list[tuple[Era, Rows]]:
    """Each era of the card that has a price, with those of the `members` that fall in it."""
    if len(card.days) == len(card.times) == 0:
        era = card.eras[0][0]
        return [] if era is None else [(era, members)]
    moment = at[members]
    day = np.searchsorted(card.days, moment, side="right")
    of_day = np.searchsorted(card.times, moment % _DAY_US, side="right")
    code = day * (len(card.times) + 1) + of_day
    found = []
    for which in np.unique(code).tolist():
        era = card.eras[which // (len(card.times) + 1)][which % (len(card.times) + 1)]
        if era is not None:
            found.append((era, members[code == which]))
    return found


def _covered(era: Era, counts: Counts, part: Rows) -> Mask:
    """Which of the rows say all that their price depends on, and count nothing that has none."""
    covered = np.ones(len(part), bool)
    for name in era.uncovered:
        covered &= counts.values[name][part] == 0
    for first, second, join in era.meetings:
        if first in counts.values and second in counts.values:
            both = (counts.values[first][part] > 0) & (counts.values[second][part] > 0)
            if join in era.priced and join in counts.stated:
                both &= ~counts.stated[join][part]
            covered &= ~both
    if era.needs_unit:
        stated = [counts.stated[name][part] for name in era.priced if name in counts.stated]
        covered &= np.logical_or.reduce(stated) if stated else False
    for name in counts.stated:
        if not is_covered(name, era.priced):
            covered &= counts.values[name][part] == 0
    if counts.stated:
        covered &= _fit(era, counts, part)
    return covered


def _fit(era: Era, counts: Counts, part: Rows) -> Mask:
    """Whether something, be it nothing, is left of each whole when its priced parts are taken out."""
    fit = np.ones(len(part), bool)
    left: dict[str, Numbers] = {}
    for whole in era.priced:
        if whole in counts.values:
            taken = [left[name] for name in left if is_part(name, whole)]
            left[whole] = counts.values[whole][part] - sum(taken)
            fit &= left[whole] >= 0
        elif any(left[name].any() for name in left if is_part(name, whole)):
            fit &= ~np.logical_or.reduce([left[name] > 0 for name in left if is_part(name, whole)])
    return fit


def _evaluate(forms: list[Rates], form_of: Rows, counts: Counts) -> tuple[Numbers, Mask]:
    """The dot products, exact, rounded half-even once; and whether each fits int64."""
    names = dict.fromkeys(name for form in forms for name in form if name in counts.values)
    factors = [counts.values[name] for name in names]
    rates = [[form.get(name, 0) for name in names] for form in forms]
    whole = np.array([[rate // SCALE for rate in row] for row in rates], np.int64)
    rest = np.array([[rate % SCALE for rate in row] for row in rates], np.int64)
    cost = _dot(whole, form_of, factors)
    fits = np.abs(_dot(whole.astype(np.float64), form_of, factors)) < _INT64_MAX * 0.99
    if rest.any():
        high = _dot(rest // _LOW, form_of, factors)
        low = _dot(rest % _LOW, form_of, factors)
        high += low // _LOW
        cost = cost + high // _HIGH
        fraction = high % _HIGH * _LOW + low % _LOW
        up = (fraction > SCALE // 2) | ((fraction == SCALE // 2) & (cost % 2 == 1))
        cost = cost + up
    return cost, fits


def _dot(table: npt.NDArray, form_of: Rows, factors: list[Numbers]) -> npt.NDArray:  # type: ignore[type-arg]
    total = np.zeros(len(form_of), table.dtype)
    for column, factor in zip(table.T, factors, strict=True):
        if column.any():
            total += column[form_of] * factor
    return total
