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
tokens what plain input or output costs. Over the list stand overrides (`price_rules.py`).
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from genai_prices.data import providers as PROVIDERS  # noqa: N812 - a constant of that package
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import ModelInfo, Provider

from stream_processors.core.counts import LATENCY, Counts, Mask, Numbers, counts_of, integers, is_covered, is_part
from stream_processors.core.currencies import USD, Currency
from stream_processors.core.list_prices import TIER_CONTEXT
from stream_processors.core.overrides import ANY, Override
from stream_processors.core.price_file import Entry, only
from stream_processors.core.rate_card import SCALE, Card, Era, Offer, Rates, compile_card

#: Changes whenever the same data would give another price.
_RULES = "2"
_KEY = ("provider", "model", "service_tier")
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
    """Prices in force at an event's time.

    `version` names all that decides them: the list's data, the rules of this code, and which version of the overrides.
    """

    def __init__(self, providers: list[Provider], version: str, entries: Sequence[Entry] = ()) -> None:
        self.version = version
        self._providers = providers
        self.overrides = overrides = only(Override, entries)
        self._currencies = {currency.code: currency for currency in only(Currency, entries)}
        # What an override may ask for besides provider, model and tier; looked at only when one does.
        asked = {
            "organization": any(override.organization != ANY for override in overrides),
            "tool": any(override.tool != ANY for override in overrides),
        }
        self._key_columns = (*_KEY, *(name for name, is_asked in asked.items() if is_asked))
        self._timed = any(dated.per_second is not None for override in overrides for dated in override.ranges)
        self._forget()

    @classmethod
    def compiled(cls, entries: Sequence[Entry] = (), number: int = 0) -> "PriceBook":
        """From the installed `genai-prices` data and the prices of a version (0: none were ever applied).

        `entries`: free of conflicts (`price_file.conflicts`).
        """
        return cls(PROVIDERS, f"{_list_version()} + overrides {number}" if number else _list_version(), entries)

    def cards(self) -> Iterator[tuple[str, str, str, Card]]:
        """Provider, model, service tier and prices of all that the list has, overrides for one's own left out."""
        for provider in self._providers:
            for model in provider.models:
                for tier in TIER_CONTEXT:
                    card = compile_card(Offer((provider, model), tier))
                    if card is not None:
                        yield provider.id, model.id, tier, card

    def sellers(self, model: str) -> list[str]:
        """Providers that list a model of this name, in the list's order."""
        return [provider.id for provider in self._providers if self._listed(provider.id, model) is not None]

    def lists(self, override: Override) -> bool:
        """Whether the list has a model that an override is for."""
        return any(
            self._listed(provider.id, override.model) is not None or any(override.names(m.id) for m in provider.models)
            for provider in self._providers
            if override.sells(provider.id)
        )

    def names(self, provider: str, model: str) -> set[str]:
        """What a model is called: by the event, and by the list."""
        listed = self._listed(provider, model)
        return {model} if listed is None else {model, listed[1].id}

    def offer(self, provider: str, model: str, tier: str, organization: str = "", tool: str = "") -> Offer:
        """What decides the price of such an event."""
        names = self.names(provider, model) if self.overrides else set()
        matching = tuple(each for each in self.overrides if each.matches(organization, provider, names, tool, tier))
        rates = {each.currency: self._currencies[each.currency] for each in matching if each.currency != USD}
        return Offer(self._listed(provider, model), tier, matching, rates)

    def price(self, rows: pa.RecordBatch) -> tuple[Numbers, Mask]:
        """Cost in pico-dollars and whether there is one; -1 where a cost is known but exceeds int64.

        `rows`: columns of `schemas.arrow.EVENT_COLUMNS`; counts valid (0 to 1e9, parts within their whole).
        """
        counts = counts_of(rows, self._timed)
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
        """Each distinct key that has a card, with its rows."""
        columns = [rows.column(name) for name in self._key_columns]
        names = [column.dictionary.to_pylist() for column in columns]
        key = np.zeros(rows.num_rows, np.int64)
        for column, values in zip(columns, names, strict=True):
            key = key * len(values) + column.indices.to_numpy(zero_copy_only=False)
        distinct, member_of = np.unique(key, return_inverse=True)
        order = np.argsort(member_of, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(member_of))[:-1]) if len(distinct) else []
        found = []
        for code, members in zip(distinct.tolist(), groups, strict=True):
            chosen: list[str] = []
            for values in reversed(names):
                code, place = divmod(code, len(values))
                chosen.append(values[place])
            card = self._card(tuple(reversed(chosen)))
            if card is not None:
                found.append((card, members))
        return found

    def _card(self, key: tuple[str, ...]) -> Card | None:
        if key not in self._cards:
            if len(self._cards) >= _REMEMBERED:
                self._forget()
            self._cards[key] = self._look_up(**dict(zip(self._key_columns, key, strict=True)))
        return self._cards[key]

    def _look_up(
        self, provider: str, model: str, service_tier: str, organization: str = "", tool: str = ""
    ) -> Card | None:
        if service_tier not in TIER_CONTEXT or len(model) > _LONGEST_NAME:
            return None
        return compile_card(self.offer(provider, model, service_tier, organization, tool))

    def _listed(self, provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
        try:
            return self._names.find_provider_model(model, None, provider, None)
        except LookupError:
            return None

    def _forget(self) -> None:
        self._cards: dict[tuple[str, ...], Card | None] = {}
        self._names = DataSnapshot(self._providers, from_auto_update=False)  # it remembers names too


@cache
def _list_version() -> str:
    content = repr([(p.id, p.provider_match, p.model_match, p.fallback_model_providers, p.models) for p in PROVIDERS])
    return f"genai-prices {version('genai-prices')} {hashlib.sha256(f'{_RULES}{content}'.encode()).hexdigest()[:12]}"


def _eras_of(card: Card, at: Numbers, members: Rows) -> list[tuple[Era, Rows]]:
    """Each era of the card that has a price, with those of the `members` that fall in it."""
    if len(card.starts) == len(card.times) == 0:
        era = card.eras[0][0]
        return [] if era is None else [(era, members)]
    moment = at[members]
    day = np.searchsorted(card.starts, moment, side="right")
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
    for name in (name for name in era.uncovered if name in counts.values):
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
    if LATENCY in era.priced:
        covered &= counts.stated[LATENCY][part]
    for name in counts.stated:
        if name != LATENCY and not is_covered(name, era.priced):
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
