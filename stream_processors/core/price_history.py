"""The dated history of overrides as `usage.prices` keeps it, and what applying a file would change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from stream_processors.core.overrides import Override, Range


class Revision(BaseModel):
    """An override as version `version` of the prices has it, until the next revision of the same id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1)]
    applied_at: AwareDatetime
    price: Override  # without a range: removed

    def text(self) -> str:
        """`version 3 of 2026-11-25 16:00`."""
        return f"version {self.version} of {self.applied_at.astimezone(UTC):%Y-%m-%d %H:%M}"


class History(BaseModel):
    """The value of a record of `usage.prices`: all that an id ever said, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    revisions: Annotated[tuple[Revision, ...], Field(min_length=1)]

    def at(self, version: int) -> Override | None:
        """What it says in a version of the prices; None when it says nothing."""
        held = [revision.price for revision in self.revisions if revision.version <= version]
        return held[-1] if held and held[-1].ranges else None


Histories = Mapping[str, History]


def latest_version(histories: Histories) -> int:
    """The newest version of the prices; 0 when none were ever applied."""
    return max((history.revisions[-1].version for history in histories.values()), default=0)


def overrides_at(histories: Histories, version: int) -> list[Override]:
    """The overrides of a version, by id."""
    held = (history.at(version) for _, history in sorted(histories.items()))
    return [override for override in held if override is not None]


@dataclass(frozen=True, slots=True)
class Change:
    """One id, before and after; None: not there."""

    old: Override | None
    new: Override | None

    @property
    def id(self) -> str:
        """Of the price that changes."""
        either = self.new or self.old
        assert either is not None
        return either.id

    @property
    def what(self) -> str:
        """In a word."""
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed"

    def stretches(self) -> list[tuple[Override, Range]]:
        """Where another price holds than before: ranges of only one of the two, or all when the events are others."""
        old = {} if self.old is None else {dated.model_dump_json(): dated for dated in self.old.ranges}
        new = {} if self.new is None else {dated.model_dump_json(): dated for dated in self.new.ranges}
        same = old.keys() & new.keys() if self.old and self.new and self.old.selectors == self.new.selectors else set()
        gone = [(self.old, dated) for text, dated in old.items() if text not in same and self.old is not None]
        come = [(self.new, dated) for text, dated in new.items() if text not in same and self.new is not None]
        return [*gone, *come]


def changes_between(old: Iterable[Override], new: Iterable[Override]) -> list[Change]:
    """By id, what is not the same."""
    before = {override.id: override for override in old}
    after = {override.id: override for override in new}
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


def _lines(override: Override | None) -> list[str]:
    if override is None:
        return []
    names = ("organization", "tool", "model", "provider", "tier")
    which = ", ".join(f"{name} {value}" for name, value in zip(names, override.selectors, strict=True) if value != "*")
    return [f"for {which or 'all usage'}", *(f"{dated.text()}: {_prices(dated)}" for dated in override.ranges)]


def _prices(dated: Range) -> str:
    record = dated.model_dump(mode="json", exclude={"start", "end"}, exclude_none=True, exclude_defaults=True)
    stated = [
        f"{count} {price} {name}" for name in ("per_million", "each") for count, price in record.pop(name, {}).items()
    ]
    return ", ".join([*stated, *(f"{name} {value}" for name, value in record.items())])
