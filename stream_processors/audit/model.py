"""What an audit finds: differences, and what it could not decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OK, DIFFERENT, UNDECIDED = 0, 1, 3

#: What a difference compares: integers, or text where exactness needs it (dollars with 12 decimals, names).
Value = int | str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """`found` in `table`, where `expected` follows from what it is derived from."""

    table: str
    scope: str
    window: str
    measure: str
    expected: Value
    found: Value
    position: Mapping[str, Value] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(slots=True)
class Check:
    """The result of one check: `checked` things were compared, `ahead` more are counted beyond what has landed."""

    name: str
    checked: int = 0
    ahead: int = 0
    differences: list[Difference] = field(default_factory=list)
    differing: int = 0  # all of them: the list is cut at `LISTED`
    undecided: str = ""
    notes: list[str] = field(default_factory=list)

    def add(self, found: Sequence[Difference], differing: int | None = None) -> None:
        """Takes in differences; `differing` when there are more than are named."""
        room = max(0, LISTED - len(self.differences))
        self.differences += found[:room]
        self.differing += len(found) if differing is None else differing


#: Differences named for one check; the others are only counted.
LISTED = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit says; `watermarks` are positions and lag, one entry a source partition."""

    checks: Sequence[Check]
    watermarks: Sequence[Mapping[str, Value]]

    @property
    def exit_code(self) -> int:
        """A difference outweighs what could not be decided."""
        if any(check.differing for check in self.checks):
            return DIFFERENT
        return UNDECIDED if any(check.undecided for check in self.checks) else OK

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.exit_code == OK,
            "checked": {check.name: check.checked for check in self.checks},
            "differing": sum(check.differing for check in self.checks),
            "differences": [difference.to_json() for check in self.checks for difference in check.differences],
            "undecided": {check.name: check.undecided for check in self.checks if check.undecided},
            "ahead": {check.name: check.ahead for check in self.checks if check.ahead},
            "notes": {check.name: check.notes for check in self.checks if check.notes},
            "watermarks": list(self.watermarks),
        }
