"""Re-rated usage, priced again by `stream_processors.reference_prices` with the version that its entries name."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import Any

from schemas.arrow import TOKEN_CLASSES
from schemas.money import to_pico
from stream_processors.audit.compare import scope_text
from stream_processors.audit.model import Check, Difference
from stream_processors.audit.queries import Ledger
from stream_processors.reference import KEYS
from stream_processors.reference_prices import Overrides, price_pico

PART = 50_000  # events asked for at a time
PRICES = ("re-rating", "pricing", "unpricing")
_STATEMENT = ("source", "event", *KEYS)

#: A row of the question `repriced_rows`.
Row = Mapping[str, Any]


def check_rerated(ledger: Ledger, overrides_at: Callable[[int], Overrides], progress: Callable[[int], None]) -> Check:
    """Every event with an entry that re-rates it; `overrides_at(version)` as `usage.prices` has them."""
    check = Check("rerated")
    installed = f"genai-prices {version('genai-prices')} "
    parts = ledger.ask_one("repriced")["events"] // PART + 1
    names = {"keys": ", ".join(("source", *KEYS)), "tokens": ", ".join(TOKEN_CLASSES)}
    for part in range(parts):
        rows = ledger.ask("repriced_rows", {"part": part, "parts": parts}, **names)
        before = check.checked
        for statement in _statements(rows):
            by = last_version(statement)
            if not by.startswith(installed):
                if by:
                    check.undecided = f"usage was re-rated by {by}, installed is {installed.strip()}"
                continue
            check.checked += 1
            check.add(judge_statement(statement, overrides_at(int(by.partition(" + overrides ")[2] or 0))))
        progress(check.checked - before)
    return check


def judge_statement(rows: Sequence[Row], overrides: Overrides) -> list[Difference]:
    """What the rows of a statement, the last of which re-rated it, come to against what they are to cost. Pure."""
    requests = sum(row["requests"] for row in rows)
    if requests == 1:
        counted = [row for row in rows if not _moves_money_alone(row)]
        expected = price_pico(_net(counted), overrides)
    elif requests == 0:
        counted = list(_last_prices(rows))
        expected = 0
    else:
        return []  # a copy was booked too: not re-rated before that is put right
    cost = sum(to_pico(row["cost_usd"]) for row in counted if row["cost_usd"] is not None)
    unpriced = sum(row["unpriced_requests"] for row in counted)
    last = rows[-1]
    scope = scope_text(last["organization"], "department", last["department"])

    def differ(measure: str, want: int, have: int) -> Difference:
        return Difference("usage", scope, f"event {last['event']}", measure, want, have, {"source": last["source"]})

    found = [("unpriced_requests", int(expected is None), unpriced), ("cost_pico", expected or 0, cost)]
    return [differ(*measure) for measure in found if measure[1] != measure[2]]


def _statements(rows: Iterable[Row]) -> Iterator[list[Row]]:
    for _, group in groupby(rows, key=lambda row: [row[name] for name in _STATEMENT]):
        yield list(group)


def last_version(rows: Sequence[Row]) -> str:
    """Of the prices that a statement was last re-rated by; '' when something else came after that."""
    last = [row for row in rows if not _moves_money_alone(row)][-1:]
    return next((str(row["price_version"]) for row in last if row["adjustment_type"] in PRICES), "")


def _moves_money_alone(row: Row) -> bool:
    counts = (row["requests"], *row["units"].values(), *(row[name] for name in TOKEN_CLASSES))
    return row["kind"] == "adjustment" and row["adjustment_type"] not in PRICES and not any(counts)


def _last_prices(rows: Sequence[Row]) -> Iterator[Row]:
    for row in reversed(rows):
        if row["adjustment_type"] not in PRICES:
            return
        yield row


def _net(rows: Sequence[Row]) -> dict[str, Any]:
    """The event that a statement comes to: counts added up, the rest as its highest revision has it."""
    own = [row for row in rows if (row["kind"] != "adjustment" and not row["src_entry"]) or _is_moved_here(row)]
    event = dict(max(own, key=lambda row: row["revision"]))
    units: dict[str, int] = {}
    for row in rows:
        for name, count in row["units"].items():
            units[name] = units.get(name, 0) + count
    return event | {name: sum(row[name] for row in rows) for name in TOKEN_CLASSES} | {"units": units}


def _is_moved_here(row: Row) -> bool:
    return (row["adjustment_type"], row["reassigned"]) == ("reinstatement", "in")
