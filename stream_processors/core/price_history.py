"""The dated history of prices and the like as `usage.prices` keeps it, and what a file would change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from stream_processors.core.currencies import USD, Currency
from stream_processors.core.dated import Dated, Some
from stream_processors.core.overages import OverageRange
from stream_processors.core.overrides import Override, Range
from stream_processors.core.price_file import Entry, subject_of
from stream_processors.core.running_totals import CreditRange, VolumeRange
from stream_processors.core.taxes import TaxRange


class Revision(BaseModel):
    """A price, a currency or the like as version `version` of the prices has it, until the next of the same id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1)]
    applied_at: AwareDatetime
    price: Entry  # without a range: removed

    def text(self) -> str:
        """`version 3 of 2026-11-25 16:00`."""
        return f"version {self.version} of {self.applied_at.astimezone(UTC):%Y-%m-%d %H:%M}"


class History(BaseModel):
    """The value of a record of `usage.prices`: all that an id ever said, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    revisions: Annotated[tuple[Revision, ...], Field(min_length=1)]

    def at(self, version: int) -> Entry | None:
        """What it says in a version of the prices; None when it says nothing."""
        held = [revision.price for revision in self.revisions if revision.version <= version]
        return held[-1] if held and held[-1].ranges else None


Histories = Mapping[str, History]


def latest_version(histories: Histories) -> int:
    """The newest version of the prices; 0 when none were ever applied."""
    return max((history.revisions[-1].version for history in histories.values()), default=0)


def entries_at(histories: Histories, version: int) -> list[Entry]:
    """The prices, currencies, taxes and the like of a version, by id."""
    held = (history.at(version) for _, history in sorted(histories.items()))
    return [entry for entry in held if entry is not None]


@dataclass(frozen=True, slots=True)
class Change:
    """One id, before and after; None: not there."""

    old: Entry | None
    new: Entry | None

    @property
    def id(self) -> str:
        """Of what changes."""
        either = self.new or self.old
        assert either is not None
        return either.id

    @property
    def what(self) -> str:
        """In a word."""
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed"

    def stretches(self, overrides: Iterable[Override]) -> list[tuple[Override, Range]]:
        """Where another price holds than before; when a rate changes, of those `overrides` that are in its currency.

        Of a tax and the like none: they are in no price.
        """
        found: list[tuple[Override, Range]] = []
        for entry, other in ((self.old, self.new), (self.new, self.old)):
            same = other.ranges if entry and other and _about(entry) == _about(other) else ()
            if isinstance(entry, Override):
                found += [(entry, dated) for dated in _not_in(entry.ranges, same)]
            elif isinstance(entry, Currency):
                priced = [
                    (price, dated) for price in overrides if price.currency == entry.code for dated in price.ranges
                ]
                rates = _not_in(entry.ranges, same)
                found += [(p, dated.within(rate)) for p, dated in priced for rate in rates if dated.overlaps(rate)]
        return found


def _about(entry: Entry) -> tuple[str, ...]:
    return (*subject_of(entry), entry.currency) if isinstance(entry, Override) else subject_of(entry)


def _not_in(ranges: Iterable[Some], others: Iterable[Dated]) -> list[Some]:
    texts = {dated.model_dump_json() for dated in others}
    return [dated for dated in ranges if dated.model_dump_json() not in texts]


def changes_between(old: Iterable[Entry], new: Iterable[Entry]) -> list[Change]:
    """By id, what is not the same."""
    before = {entry.id: entry for entry in old}
    after = {entry.id: entry for entry in new}
    return [
        Change(before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def histories_after(
    histories: Histories, changes: Iterable[Change], version: int, applied_at: datetime
) -> list[History]:
    """What to write: each history that grows. A removed price is one without ranges, so that its past stays known."""
    grown = []
    for change in changes:
        removed = change.old and change.old.model_copy(update={"ranges": ()})
        said = change.new or removed
        assert said is not None
        revision = Revision(version=version, applied_at=applied_at, price=said)
        earlier = histories[change.id].revisions if change.id in histories else ()
        grown.append(History(id=change.id, revisions=(*earlier, revision)))
    return grown


def differences(change: Change) -> list[str]:
    """One line each of what is said no more (-) and what is said now (+)."""
    old, new = _lines(change.old), _lines(change.new)
    return [f"- {line}" for line in old if line not in new] + [f"+ {line}" for line in new if line not in old]


def _lines(entry: Entry | None) -> list[str]:
    if entry is None:
        return []
    if isinstance(entry, Currency):
        return [f"{rate.text()}: 1 {entry.code} at {rate.usd} US dollars" for rate in entry.ranges]
    if not isinstance(entry, Override):
        whose = f"for organization {entry.organization}, provider {entry.provider}"
        return [whose, *(f"{dated.text()}: {_terms(dated)}" for dated in entry.ranges)]
    names = ("organization", "tool", "model", "provider", "tier")
    which = ", ".join(f"{name} {value}" for name, value in zip(names, entry.selectors, strict=True) if value != "*")
    money = "" if entry.currency == USD else f", in {entry.currency}"
    return [f"for {which or 'all usage'}{money}", *(f"{dated.text()}: {_prices(dated)}" for dated in entry.ranges)]


def _terms(dated: TaxRange | CreditRange | VolumeRange | OverageRange) -> str:
    if isinstance(dated, TaxRange):
        return f"{dated.percent} % on top"
    if isinstance(dated, CreditRange):
        return f"{dated.amount} US dollars to be used up"
    if isinstance(dated, OverageRange):
        return f"{dated.per_million} US dollars a million above {dated.included_tokens:,} tokens a month"
    return ", ".join(f"{tier.discount_percent} % off above {tier.above} US dollars a month" for tier in dated.tier)


def _prices(dated: Range) -> str:
    record = dated.model_dump(mode="json", exclude={"start", "end"}, exclude_none=True, exclude_defaults=True)
    stated = [
        f"{count} {price} {name}" for name in ("per_million", "each") for count, price in record.pop(name, {}).items()
    ]
    return ", ".join([*stated, *(f"{name} {value}" for name, value in record.items())])
