"""The price book: every model and provider of `genai-prices`, applied to whole batches.

Where it differs from `genai_prices.calc_price`, it says "unpriced" instead of a number that is not the price:

- a provider or model it does not know (there: an error); a provider is never guessed from the model's name;
- a service tier other than `default` without a published price for that tier, provider and date (there: the standard
  price);
- tokens for which the model has no price, and models priced only by what an event does not say, such as seconds of
  audio (there: 0);
- an event with both of two classes that are priced apart where they meet, such as cached audio (there: an error);
- an event with `units` (web searches, images): their prices are not compiled yet.

Reasoning, audio and image tokens without an own price cost what plain input or output costs, there as here.
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

from schemas.arrow import TOKEN_CLASSES
from stream_processors.core.rate_card import SCALE, TIER_CONTEXT, Card, Era, Rates, compile_card

#: Changes whenever the same data would give another price.
_RULES = "1"
_DAY_US = 86_400_000_000
#: Names come from outside: what is remembered about them is bounded.
_REMEMBERED = 50_000
_LONGEST_NAME = 512  # no model has a longer one, and 2 000 patterns would be searched in it
_INT64_MAX = 2**63 - 1
_HALF = np.int64(10**6)  # SCALE is split in two, so that products with a count fit 64 bits

Counts = npt.NDArray[np.int64]


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

    def price(self, rows: pa.RecordBatch) -> tuple[Counts, npt.NDArray[np.bool_]]:
        """Cost in pico-dollars and whether there is one; -1 where a cost is known but exceeds int64.

        `rows`: columns of `schemas.arrow.EVENT_COLUMNS`; counts valid (0 to 1e9, parts within their whole).
        """
        counts = [_int64(rows.column(name)) for name in TOKEN_CLASSES]
        forms, form_of = self._forms(rows, counts)
        cost, fits = _evaluate(forms, form_of, counts)
        priced = (form_of > 0) & ~_has_units(rows.column("units"))
        return np.where(fits, cost, -1), priced

    def _forms(self, rows: pa.RecordBatch, counts: list[Counts]) -> tuple[list[Rates], npt.NDArray[np.intp]]:
        """The distinct linear forms of a batch and, per row, which one; 0 is "no price"."""
        at = _int64(rows.column("occurred_at"))
        forms = [Rates((0,) * len(TOKEN_CLASSES), 0)]
        form_of = np.zeros(rows.num_rows, np.intp)
        for card, members in self._cards_of(rows):
            for era, part in _eras_of(card, at, members):
                covered = part[_covered(era, counts, part)]
                if len(era.rates) == 1:
                    form_of[covered] = len(forms)
                else:
                    form_of[covered] = len(forms) + np.searchsorted(era.bounds, counts[0][covered], side="left")
                forms.extend(era.rates)
        return forms, form_of

    def _cards_of(self, rows: pa.RecordBatch) -> list[tuple[Card, npt.NDArray[np.intp]]]:
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


def _int64(column: pa.Array) -> Counts:
    return column.view(pa.int64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _has_units(units: pa.MapArray) -> npt.NDArray[np.bool_]:
    offsets = units.offsets.to_numpy()
    if offsets[0] == offsets[-1]:
        return np.zeros(len(units), bool)
    before = np.concatenate(([0], np.cumsum(units.items.to_numpy() > 0)))
    return np.diff(before[offsets]) > 0  # type: ignore[no-any-return]


def _eras_of(card: Card, at: Counts, members: npt.NDArray[np.intp]) -> list[tuple[Era, npt.NDArray[np.intp]]]:
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


def _covered(era: Era, counts: list[Counts], part: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    covered = np.ones(len(part), bool)
    for i in era.uncovered:
        covered &= counts[i][part] == 0
    for i, j in era.ambiguous:
        covered &= (counts[i][part] == 0) | (counts[j][part] == 0)
    return covered


def _evaluate(
    forms: list[Rates], form_of: npt.NDArray[np.intp], counts: list[Counts]
) -> tuple[Counts, npt.NDArray[np.bool_]]:
    """The dot products, exact, rounded half-even once; and whether each fits int64."""
    rates = [[*form.per_token, form.per_request] for form in forms]
    factors = [*counts, np.ones(len(form_of), np.int64)]
    whole = np.array([[rate // SCALE for rate in row] for row in rates], np.int64)
    rest = np.array([[rate % SCALE for rate in row] for row in rates], np.int64)
    cost = _dot(whole, form_of, factors)
    fits = np.abs(_dot(whole.astype(np.float64), form_of, factors)) < _INT64_MAX * 0.99
    if rest.any():
        high = _dot(rest // _HALF, form_of, factors)
        low = _dot(rest % _HALF, form_of, factors)
        high += low // _HALF
        cost = cost + high // _HALF
        fraction = high % _HALF * _HALF + low % _HALF
        up = (fraction > SCALE // 2) | ((fraction == SCALE // 2) & (cost % 2 == 1))
        cost = cost + up
    return cost, fits


def _dot(table: npt.NDArray, form_of: npt.NDArray[np.intp], factors: list[Counts]) -> npt.NDArray:  # type: ignore[type-arg]
    total = np.zeros(len(form_of), table.dtype)
    for column, factor in zip(table.T, factors, strict=True):
        if column.any():
            total += column[form_of] * factor
    return total
