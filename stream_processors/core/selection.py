"""Which usage a budget counts: a scope kind, and conditions that narrow it (only this model, only that feature).

Without conditions, the *standing* scope kinds are windows of the stream anyway. Everything else is a *track*: windows
of one kind that exist because a budget in force needs them. Its name stands where a scope kind stands elsewhere.
"""

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import SCOPE_KINDS, SCOPES

#: What a condition may be about: any scope, and what else was used.
CONDITION_FIELDS = (*SCOPES, "provider", "operation", "service_tier", "region", "task_type", "status")
Conditions = tuple[tuple[str, tuple[str, ...]], ...]  # (field, values of which it must be one), both in order


@dataclass(frozen=True, slots=True)
class Selection:
    """The usage whose totals are kept by the members of a scope kind."""

    scope_kind: str
    conditions: Conditions = ()

    @property
    def is_standing(self) -> bool:
        """Whether the stream keeps these totals with or without a budget."""
        return not self.conditions and self.scope_kind in SCOPE_KINDS

    @property
    def text(self) -> str:
        """`user`, or `user[feature=search&model=gpt-4o|o3]`: what window entries have for a scope kind."""
        return f"{self.scope_kind}[{conditions_text(self.conditions)}]" if self.conditions else self.scope_kind

    @property
    def key(self) -> str:
        """'' for all the standing ones, which are kept together, else the text."""
        return "" if self.is_standing else self.text


class Track(NamedTuple):
    """A selection and the kind of window (of `WINDOW_KINDS`) in which it is kept."""

    selection: Selection
    window_kind: str

    @property
    def family(self) -> str:
        return family_of(self.selection.key, self.window_kind)


STANDING = tuple(Selection(kind) for kind in SCOPE_KINDS)


def family_of(key: str, window_kind: str) -> str:
    """Windows that come and go together: a kind of the standing ones (`day`), or of one track (`day team`)."""
    return f"{window_kind} {key}" if key else window_kind


def conditions_text(conditions: Conditions) -> str:
    """`feature=search&model=gpt-4o|o3`, quoted as in a URL; '' for none."""
    return "&".join(f"{name}={'|'.join(quote(value, safe='') for value in values)}" for name, values in conditions)


def parse_selection(text: str) -> Selection:
    """Reverse of `Selection.text`. Raises ValueError for what it never writes."""
    kind, _, rest = text.partition("[")
    pairs = [pair.partition("=") for pair in rest.removesuffix("]").split("&") if pair]
    conditions = tuple((name, tuple(unquote(value) for value in values.split("|"))) for name, _, values in pairs)
    selection = Selection(kind, conditions)
    if kind not in SCOPES or any(name not in CONDITION_FIELDS for name, _ in conditions) or selection.text != text:
        raise ValueError(f"selection {text!r}: KIND or KIND[FIELD=VALUE|VALUE&...]")
    return selection


def condition_sql(conditions: Conditions) -> str:
    """The same conditions over the columns of `usage`; 1 for none."""
    literals = ((name, ", ".join(map(_literal, values))) for name, values in conditions)
    return " AND ".join(f"`{name}` IN ({values})" for name, values in literals) or "1"


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def chosen_rows(rows: pa.RecordBatch, conditions: Conditions) -> npt.NDArray[np.bool_]:
    """Which rows meet every condition."""
    chosen = np.ones(rows.num_rows, np.bool_)
    for name, values in conditions:
        column = rows.column(name)
        wanted = pa.array(values, pa.string())
        if pa.types.is_dictionary(column.type):  # decided once per distinct value
            meets = pc.is_in(column.dictionary, wanted).to_numpy(zero_copy_only=False)
            chosen &= meets[column.indices.to_numpy()]
        else:
            chosen &= pc.is_in(column, wanted).to_numpy(zero_copy_only=False)
    return chosen
