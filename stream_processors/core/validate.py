"""What makes an event impossible to book: a closed set of reasons, checked by columns."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import TOKEN_CLASSES
from schemas.event import ADJUSTMENT_RULES, PARTS
from stream_processors.core.counts import UNITS, canonical, counts_of, is_part

Mask = npt.NDArray[np.bool_]
_MAX_NAME = 128
_MAX_TOKENS = 10**9  # a class
_MAX_AHEAD_US = 5 * 60 * 1_000_000
_FIRST_US = int(np.datetime64("2015-01-01", "us").astype(np.int64))
_END_US = int(np.datetime64("2100-01-01", "us").astype(np.int64))
_SYMBOLS = {
    "kind": ("usage", "provisional", "final", "adjustment"),
    "service_tier": ("default", "batch", "flex", "priority"),
    "status": ("ok", "error", "cancelled"),
}
_OPTIONAL = ("latency_ms", "time_to_first_token_ms", "max_output_tokens")  # an event may not say


class Breach(NamedTuple):
    """A broken rule; `mask` tells the rows that break it, `detail(row)` names field, value and rule."""

    reason: str
    mask: Mask
    detail: Callable[[int], str]


def breaches(events: pa.RecordBatch, booked_us: npt.NDArray[np.int64]) -> dict[int, tuple[str, str]]:
    """Reason and detail for each row of `events` that cannot be booked: the first rule it breaks, in this order."""
    found: dict[int, tuple[str, str]] = {}
    for reason, mask, detail in _rules(events, booked_us):
        if mask.any():
            for row in np.flatnonzero(mask).tolist():
                if row not in found:
                    found[row] = (reason, detail(row))
    return found


def _rules(events: pa.RecordBatch, booked_us: npt.NDArray[np.int64]) -> Iterator[Breach]:
    counts = {name: events.column(name).to_numpy() for name in TOKEN_CLASSES}
    adjusts = of_kind(events, "adjustment")
    yield from _names(events)
    yield from _enums(events)
    yield from _never_negative(events)
    uses = chain(_providers(events), _counts(events, counts), _parts(events, counts))
    if not adjusts.any():
        yield from uses
    else:
        yield from _only(~adjusts, uses)
        yield from _only(adjusts, _adjustments(events))
    yield from _times(events, booked_us)
    yield _any_count("too_large", counts, np.maximum, lambda values: values > _MAX_TOKENS, f"at most {_MAX_TOKENS}")
    units = events.column("units")
    most = _per_row(units.offsets, units.items, np.maximum)
    yield Breach("too_large", most > _MAX_TOKENS, _says("most of units", most, f"at most {_MAX_TOKENS}"))
    if adjusts.any():
        rule = f"at least {-_MAX_TOKENS}"
        yield _any_count("too_large", counts, np.minimum, lambda values: values < -_MAX_TOKENS, rule)
        least = _per_row(units.offsets, units.items, np.minimum)
        yield Breach("too_large", least < -_MAX_TOKENS, _says("least of units", least, rule))


def of_kind(events: pa.RecordBatch, *kinds: str) -> Mask:
    """Which rows are of one of these kinds."""
    return ~_outside(events.column("kind"), kinds)


def _only(members: Mask, rules: Iterable[Breach]) -> Iterator[Breach]:
    for reason, mask, detail in rules:
        yield Breach(reason, mask & members, detail)


def _says(name: str, values: npt.NDArray[np.int64], rule: str) -> Callable[[int], str]:
    return lambda row: f"{name} = {values[row]}: {rule}"


def _names(events: pa.RecordBatch) -> Iterator[Breach]:
    for name, limit in (("source", _MAX_NAME), ("event_id", _MAX_NAME), ("organization", _MAX_NAME)):
        lengths = _lengths(events.column(name))
        mask = (lengths == 0) | (lengths > limit)
        yield Breach("invalid", mask, _says(f"length of {name}", lengths, f"1 to {limit} characters"))


def _providers(events: pa.RecordBatch) -> Iterator[Breach]:
    for name in ("provider", "model"):
        lengths = _lengths(events.column(name))
        yield Breach("invalid", lengths == 0, _says(f"length of {name}", lengths, "at least 1 character"))


def _lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    named = isinstance(column, pa.DictionaryArray)
    lengths: npt.NDArray[np.int64] = pc.utf8_length(column.dictionary if named else column).to_numpy()
    return lengths[column.indices.to_numpy()] if named else lengths


def _enums(events: pa.RecordBatch) -> Iterator[Breach]:
    for name, symbols in _SYMBOLS.items():
        yield Breach(
            "invalid", _outside(events.column(name), symbols), _symbol_detail(events.column(name), name, symbols)
        )


def _outside(column: pa.DictionaryArray, symbols: tuple[str, ...]) -> Mask:
    known = np.array([value in symbols for value in column.dictionary.to_pylist()], bool)
    return np.zeros(len(column), bool) if known.all() else ~known[column.indices.to_numpy()]


def _symbol_detail(column: pa.DictionaryArray, name: str, symbols: tuple[str, ...]) -> Callable[[int], str]:
    return lambda row: f"{name} = {column[row].as_py()!r}: one of {', '.join(symbols)}"


def _never_negative(events: pa.RecordBatch) -> Iterator[Breach]:
    revision = events.column("revision").to_numpy()
    yield Breach("invalid", revision < 0, _says("revision", revision, "not negative"))
    for name in _OPTIONAL:
        values = events.column(name).fill_null(0).to_numpy()
        yield Breach("invalid", values < 0, _says(name, values, "not negative"))
    yield from (_no_negative_item(events, name) for name in ("input_parts", "output_parts"))
    files = events.column("attachments")
    for name in ("bytes", "tokens"):
        least = _per_row(files.offsets, files.values.field(name), np.minimum)
        yield Breach("invalid", least < 0, _says(f"least {name} of attachments", least, "not negative"))


def _counts(events: pa.RecordBatch, counts: dict[str, npt.NDArray[np.int64]]) -> Iterator[Breach]:
    yield _any_count("invalid", counts, np.minimum, lambda values: values < 0, "not negative")
    yield _no_negative_item(events, "units")


def _no_negative_item(events: pa.RecordBatch, name: str) -> Breach:
    column = events.column(name)
    least = _per_row(column.offsets, column.items, np.minimum)
    return Breach("invalid", least < 0, _says(f"least of {name}", least, "not negative"))


def _adjustments(events: pa.RecordBatch) -> Iterator[Breach]:
    kinds = events.column("adjustment_type")
    yield Breach(
        "invalid",
        _outside(kinds, tuple(ADJUSTMENT_RULES)),
        _symbol_detail(kinds, "adjustment_type", tuple(ADJUSTMENT_RULES)),
    )
    revision = events.column("revision").to_numpy()
    yield Breach("invalid", revision != 0, _says("revision", revision, "an adjustment has none"))
    for name in ("reason", "author"):
        lengths = _lengths(events.column(name))
        yield Breach("invalid", lengths == 0, _says(f"length of {name}", lengths, "at least 1 character"))
    corrects = _lengths(events.column("corrects"))
    yield Breach("invalid", corrects > _MAX_NAME, _says("length of corrects", corrects, f"at most {_MAX_NAME}"))
    correcting = ~_outside(kinds, tuple(name for name, rule in ADJUSTMENT_RULES.items() if rule.corrects))
    yield Breach("invalid", correcting & (corrects == 0), _needs(kinds, "corrects = ''", "names an event_id"))
    moving = ~_outside(kinds, tuple(name for name, rule in ADJUSTMENT_RULES.items() if rule.amount))
    silent = events.column("amount_pico").is_null().to_numpy(zero_copy_only=False)
    yield Breach("invalid", moving & silent, _needs(kinds, "amount_pico = null", "states an amount"))


def _needs(kinds: pa.DictionaryArray, found: str, rule: str) -> Callable[[int], str]:
    return lambda row: f"{found}: adjustment_type = {kinds[row].as_py()!r} {rule}"


def _any_count(
    reason: str,
    counts: dict[str, npt.NDArray[np.int64]],
    extreme: np.ufunc,
    breaks: Callable[[npt.NDArray[np.int64]], Mask],
    rule: str,
) -> Breach:
    """The rule for every count at once; the detail names the first that breaks it."""

    def detail(row: int) -> str:
        name = next(name for name, values in counts.items() if breaks(values[row : row + 1]).any())
        return f"{name} = {counts[name][row]}: {rule}"

    return Breach(reason, breaks(extreme.reduce(list(counts.values()))), detail)


def _per_row(offsets: pa.Array, values: pa.Array, fold: np.ufunc) -> npt.NDArray[np.int64]:
    """The values of each row's map or list folded; 0 for an empty one."""
    bounds = offsets.to_numpy()
    folded = np.zeros(len(bounds) - 1, np.int64)
    filled = np.flatnonzero(np.diff(bounds))
    if len(filled):
        # Nothing that passes is above the limit, so capping changes no verdict and sums cannot wrap.
        capped = np.minimum(values.to_numpy(zero_copy_only=False)[: bounds[-1]], 2 * _MAX_TOKENS)
        folded[filled] = fold.reduceat(capped, bounds[filled])
    return folded


def _parts(events: pa.RecordBatch, counts: dict[str, npt.NDArray[np.int64]]) -> Iterator[Breach]:
    for parts, whole in PARTS:
        left = counts[whole].copy()
        for part in parts:
            left -= counts[part]  # counts are not negative here, so this cannot wrap
        detail = _parts_detail({name: counts[name] for name in (*parts, whole)}, parts, whole)
        yield Breach("parts_exceed_whole", left < 0, detail)
    for name, whole in (("input_parts", "input_tokens"), ("output_parts", "output_tokens")):
        column = events.column(name)
        total = _per_row(column.offsets, column.items, np.add)
        detail = _parts_detail({f"sum of {name}": total, whole: counts[whole]}, (f"sum of {name}",), whole)
        yield Breach("parts_exceed_whole", total > counts[whole], detail)
    files = events.column("attachments")
    total = _per_row(files.offsets, files.values.field("tokens"), np.add)
    name, whole = "sum of attachments' tokens", "input_tokens"
    detail = _parts_detail({name: total, whole: counts[whole]}, (name,), whole)
    yield Breach("parts_exceed_whole", total > counts[whole], detail)
    yield from _token_units(events)


def _token_units(events: pa.RecordBatch) -> Iterator[Breach]:
    """Tokens among the `units`, as cached audio, are parts of classes, and of one another."""
    names = {canonical(name) for name in pc.unique(events.column("units").keys).to_pylist()}
    if not any(_is_token_unit(name) for name in names):
        return
    counts = counts_of(events)
    parts = [name for name in counts.stated if _is_token_unit(name)]
    for part in parts:
        for whole in (name for name in (*TOKEN_CLASSES, *parts) if is_part(part, name)):
            more = counts.stated[part] & (counts.values[part] > counts.values[whole])
            if whole in counts.stated:
                more &= counts.stated[whole]
            values = {f"units.{part}": counts.values[part], whole: counts.values[whole]}
            yield Breach("parts_exceed_whole", more, _parts_detail(values, (f"units.{part}",), whole))


def _is_token_unit(name: str) -> bool:
    return name in UNITS and UNITS[name].dimensions["family"] == "tokens"


def _parts_detail(values: dict[str, npt.NDArray[np.int64]], parts: tuple[str, ...], whole: str) -> Callable[[int], str]:
    def detail(row: int) -> str:
        stated = ", ".join(f"{name} = {column[row]}" for name, column in values.items())
        return f"{stated}: {' + '.join(parts)} is part of {whole}"

    return detail


def _times(events: pa.RecordBatch, booked_us: npt.NDArray[np.int64]) -> Iterator[Breach]:
    occurred = events.column("occurred_at").view(pa.int64()).to_numpy()
    limit = booked_us + _MAX_AHEAD_US
    yield Breach(
        "future",
        occurred > limit,
        lambda row: (
            f"occurred_at = {_iso(occurred[row])}: at most 5 minutes after it was booked ({_iso(booked_us[row])})"
        ),
    )
    yield Breach(
        "out_of_range",
        (occurred < _FIRST_US) | (occurred >= _END_US),
        lambda row: f"occurred_at = {_iso(occurred[row])}: from 2015-01-01 to before 2100-01-01",
    )


def _iso(micros: np.int64) -> str:
    return f"{np.datetime64(int(micros), 'us')}Z"
