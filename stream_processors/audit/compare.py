"""Comparing what is expected with what was found, measure by measure. Pure; integers, text and Decimal only."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from schemas.arrow import MEASURES
from schemas.money import PICO, to_pico
from stream_processors.audit.model import Difference, Value

#: What every sum of usage rows consists of, in this order (see `queries.py`).
SUMS = (*MEASURES, "cost_usd")


def value_of(measure: str, number: int | Decimal) -> Value:
    """A sum as it is shown: dollars as text with 12 decimals, counts as integers."""
    return f"{number:.12f}" if isinstance(number, Decimal) or measure == "cost_usd" else number


def unequal(expected: Sequence[int | Decimal], found: Sequence[int | Decimal]) -> Iterator[tuple[str, Value, Value]]:
    """(measure, expected, found) of each of `SUMS` that differs."""
    for measure, want, have in zip(SUMS, expected, found, strict=True):
        if want != have:
            yield measure, value_of(measure, want), value_of(measure, have)


def differences(
    table: str,
    scope: str,
    window: str,
    expected: Sequence[int | Decimal],
    found: Sequence[int | Decimal],
    position: Mapping[str, Value] | None = None,
) -> list[Difference]:
    """One difference for each of `SUMS` that is not equal."""
    return [
        Difference(table, scope, window, measure, want, have, position or {})
        for measure, want, have in unequal(expected, found)
    ]


def amount_of(unit: str, sums: Sequence[int | Decimal]) -> int:
    """What counts against a budget in `unit`, of `SUMS`: pico-dollars for cost, else a count.

    Raises ValueError for a unit that no budget can have.
    """
    by_name = dict(zip(SUMS, sums, strict=True))
    if unit == "cost":
        return to_pico(Decimal(by_name["cost_usd"]))
    if unit == "tokens":  # both are inclusive totals, the other classes are parts of them
        return int(by_name["input_tokens"] + by_name["output_tokens"])
    if unit not in MEASURES:
        raise ValueError(f"unit = {unit!r}: cost, tokens, requests or a token class")
    return int(by_name[unit])


def parse_amount(unit: str, text: str) -> int | None:
    """The amount a record states, None when it is not one."""
    try:
        return to_pico(text) if unit == "cost" else int(text)
    except (ValueError, InvalidOperation):
        return None


def amount_text(unit: str, amount: int) -> str:
    """An amount as it is shown beside what a record states."""
    if unit != "cost":
        return str(amount)
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{amount // PICO}.{amount % PICO:012d}"


def scope_text(organization: str, kind: str, name: str) -> str:
    """A scope for people and scripts: `acme department:engineering`."""
    return f"{organization} {kind}:{name}"


def instant_text(micros: int) -> str:
    """An instant, microseconds UTC, as ISO 8601."""
    seconds, rest = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest).isoformat()


def window_text(kind: str, start_micros: int) -> str:
    """A window by its kind and start: `day 2026-03-01T00:00:00+00:00`."""
    return f"{kind} {instant_text(start_micros)}"
