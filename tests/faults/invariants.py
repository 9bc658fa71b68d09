"""What must hold after any fault, checked against the book of what was sent and never against the ledger's counts."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from schemas.arrow import TOKEN_CLASSES
from schemas.settings import Settings
from stream_processors import warehouse

from .load import EPOCH, HOUR_US, micros_of
from .sent import USAGE, Book, Sent

ROOT = Path(__file__).parents[2]
DAY_US = 24 * HOUR_US
DUPLICATE = "duplicate"
MEASURES = (*TOKEN_CLASSES, "requests", "unpriced_requests", "cost_usd")
KINDS = ("organization", "department", "user", "project", "model")
SUMS = ", ".join(f"sum({name}) AS sum_{name}" for name in MEASURES)
#: A record of the load is one row; the second of a pair belongs to the first, and re-rating's entries nobody sent.
IDENTITY = "if(revision > 0, concat(event_id, '#', toString(revision)), event_id)"
SENT = "src_entry = 0 AND adjustment_type NOT IN ('re-rating', 'pricing', 'unpricing')"
Cell = tuple[str, str, str, int]  # scope kind, organization, scope, start of the window
Amounts = tuple[int | Decimal, ...]  # by MEASURES
Cells = Mapping[Cell, Amounts]


@cache
def _month_of(day: int) -> int:
    return micros_of((EPOCH + timedelta(microseconds=day)).replace(day=1))


#: By kind of window: the start of the one that an hour lies in (microseconds UTC).
STARTS: dict[str, Callable[[int], int]] = {
    "hour": lambda hour: hour,
    "day": lambda hour: hour // DAY_US * DAY_US,
    "month": lambda hour: _month_of(hour // DAY_US * DAY_US),
}


@dataclass(frozen=True, slots=True)
class Accounts:
    """How the books stand to what was sent."""

    lost: list[str]  # identities of acknowledged records that are neither booked nor rejected
    doubled: list[str]  # booked more than once, or accounted for more often than sent
    unknown: list[str]  # in the books, and nobody sent it
    misjudged: list[str]  # booked or rejected otherwise than it had to be


def accounts(book: Book, booked: Counter[str], rejected: Iterable[tuple[str, str]]) -> Accounts:
    """I1. `booked` counts identities of the usage table, `rejected` holds (sha256 of the bytes, reason). Pure."""
    identity_of = {one.digest: one.identity for one in book.sent}
    sent = Counter(one.identity for one in book.sent)
    acknowledged = Counter(one.identity for one in book.sent if one.number in book.positions)
    fates: dict[str, set[str]] = defaultdict(set)
    for one in book.sent:
        fates[one.identity].add(one.fate)
    refused: Counter[str] = Counter()
    unknown, misjudged = sorted(booked.keys() - sent.keys()), []
    for digest, reason in rejected:
        identity = identity_of.get(digest)
        if identity is None:
            unknown.append(digest)
            continue
        refused[identity] += 1
        if reason not in fates[identity] and (reason != DUPLICATE or USAGE not in fates[identity]):
            misjudged.append(f"{identity}: rejected as {reason}, fates {fates[identity]}")
    lost, doubled = [], []
    for identity, copies in sent.items():
        rows, accounted = booked[identity], booked[identity] + refused[identity]
        if accounted < acknowledged[identity]:
            lost.append(identity)
        if rows > 1 or accounted > copies:
            doubled.append(identity)
        if (rows > 0) != (USAGE in fates[identity]) and accounted >= acknowledged[identity] > 0:
            misjudged.append(f"{identity}: {rows} rows, fates {fates[identity]}")
    return Accounts(lost, doubled, unknown, misjudged)


def read_accounts(book: Book, settings: Settings, since: datetime) -> Accounts:
    """I1 of all that was booked since an instant."""
    at = {"since": since.strftime("%Y-%m-%d %H:%M:%S")}
    booked = "booked_at >= {since:DateTime('UTC')}"
    digests = f"SELECT lower(hex(SHA256(value))) AS digest, reason FROM rejected WHERE {booked}"
    with warehouse.connect(settings) as client:
        rows = client.query_arrow(
            f"SELECT {IDENTITY} AS identity FROM usage WHERE {booked} AND {SENT}", at, use_strings=True
        )
        refused = client.query_arrow(digests, at, use_strings=True)
    rejected = zip(refused.column("digest").to_pylist(), refused.column("reason").to_pylist(), strict=True)
    return accounts(book, Counter(rows.column("identity").to_pylist()), rejected)


# ---- amounts


def events_of(book: Book) -> list[Sent]:
    """Each event that must be booked, once: its highest revision."""
    return list(
        {one.event: one for one in sorted(book.sent, key=lambda one: one.revision) if one.fate == USAGE}.values()
    )


def cells(events: Iterable[Sent], start_of: Callable[[int], int]) -> dict[Cell, Amounts]:
    """What windows that begin so must hold, per organization, department, user, project and model. Pure."""
    sums: dict[Cell, list[Any]] = defaultdict(lambda: [0] * len(MEASURES))
    for one in events:
        organization, department, user, model = one.scopes
        amounts = (*one.tokens, one.requests, int(one.cost_usd is None), one.cost_usd or Decimal(0))
        for kind, scope in zip(KINDS, (organization, department, user, one.project, model), strict=True):
            held = sums[kind, organization, scope, start_of(one.hour)]
            for index, amount in enumerate(amounts):
                held[index] += amount
    return {cell: tuple(held) for cell, held in sums.items()}


def assert_amounts(book: Book, run: str, settings: Settings) -> None:
    """I2 and I3: table, rollups, windows and the dashboard's dataset have what was sent, in every scope and window."""
    events = events_of(book)
    mine = f"endsWith(organization, '-{run}')"
    wanted_of = {window: cells(events, start_of) for window, start_of in STARTS.items()}
    hours, days = wanted_of["hour"], wanted_of["day"]
    for table, start, kinds, wanted in (
        ("usage", "toStartOfHour(occurred_at)", KINDS, hours),
        ("usage_hourly", "hour", ("organization", "department", "model"), hours),
        ("usage_daily", "toDateTime(day, 'UTC')", KINDS, days),
    ):
        for kind in kinds:
            found = _read_cells(settings, kind, kind, start, f"{table} WHERE {mine}")
            _same({cell: amounts for cell, amounts in wanted.items() if cell[0] == kind}, found, table)
    for window, wanted in wanted_of.items():
        for kind in KINDS:
            where = f"window_kind = '{window}' AND scope_kind = '{kind}' AND {mine}"
            found = _read_cells(settings, kind, "scope", "window_start", f"windows WHERE {where}")
            _same({cell: amounts for cell, amounts in wanted.items() if cell[0] == kind}, found, "windows")
    assert _dataset(settings, mine) == _totals(events), "the dashboard's dataset"


def _read_cells(settings: Settings, kind: str, scope: str, start: str, source: str) -> dict[Cell, Amounts]:
    """Sums of a table per cell; `scope` and `start` are its columns, `source` what stands behind FROM."""
    rows = warehouse.ask(
        settings,
        f"SELECT organization, {scope} AS cell_scope, toUnixTimestamp({start}) AS cell_start, {SUMS} FROM {source} "
        "GROUP BY organization, cell_scope, cell_start",
    )
    return {
        (kind, row["organization"], row["cell_scope"], row["cell_start"] * 1_000_000): tuple(
            row[f"sum_{name}"] or 0 for name in MEASURES
        )
        for row in rows
    }


def _same(wanted: Cells, found: Cells, place: str) -> None:
    nothing = (0,) * len(MEASURES)  # what adds up to nothing may be there or not
    differing = [cell for cell in wanted.keys() | found.keys() if wanted.get(cell, nothing) != found.get(cell, nothing)]
    shown = [(cell, wanted.get(cell), found.get(cell)) for cell in sorted(differing)[:3]]
    assert not differing, f"{place}: {len(differing)} of {len(wanted)} cells differ (cell, sent, found): {shown}"


def _totals(events: list[Sent]) -> tuple[int, int, int, Decimal]:
    first, second = TOKEN_CLASSES.index("input_tokens"), TOKEN_CLASSES.index("output_tokens")
    return (
        sum(one.requests for one in events),
        sum(one.tokens[first] for one in events),
        sum(one.tokens[second] for one in events),
        sum((one.cost_usd or Decimal(0) for one in events), Decimal(0)),
    )


def _dataset(settings: Settings, where: str) -> tuple[int, int, int, Decimal]:
    """What the dashboard asks: SQL and metrics as they stand in the dataset's file."""
    [path] = (ROOT / "superset" / "assets" / "datasets").rglob("usage.yaml")
    dataset = yaml.safe_load(path.read_text())
    expressions = {metric["metric_name"]: metric["expression"] for metric in dataset["metrics"]}
    names = ("requests", "input_tokens", "output_tokens", "cost_usd")
    metrics = ", ".join(f"{expressions[name]} AS metric_{name}" for name in names)
    [row] = warehouse.ask(
        settings, f"SELECT {metrics} FROM ({dataset['sql'].replace('{zone}', 'UTC')}) AS dataset WHERE {where}"
    )
    requests, given, made, cost = (row[f"metric_{name}"] or 0 for name in names)
    return int(requests), int(given), int(made), Decimal(cost)


# ---- logs

UNHANDLED = re.compile(r"Traceback \(most recent call last\)|never retrieved|Unhandled|panicked at|Exception in thread")


def unhandled(text: str) -> list[str]:
    """I5: what a log says of errors that nobody expected, a few lines each."""
    lines = text.splitlines()
    places = [number for number, line in enumerate(lines) if UNHANDLED.search(line)]
    return ["\n".join(lines[max(0, number - 2) : number + 40]) for number in places]


def instant() -> datetime:
    """Now, to the second below, as the warehouse compares it."""
    return datetime.now(UTC).replace(microsecond=0)
