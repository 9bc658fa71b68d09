"""Re-rating: whatever was booked, killed or crossed on the way, each use ends at what the wanted prices say."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from booked_ledger import OLD, Ledger, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_events import framed

from schemas.arrow import ROW_KEYS
from schemas.event import UsageEvent
from stream_processors.audit.rerated import judge_statement, last_version
from stream_processors.core.corrections import PRICE_TAG
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_file import parse_prices
from stream_processors.core.price_history import changes_between, histories_after
from stream_processors.core.seen import Seen
from stream_processors.core.statements import PRICE_TYPES
from stream_processors.core.undo import undo
from stream_processors.reference_prices import overrides_of
from stream_processors.versioned_log import to_bytes

FILE = """
[[price]]
id = "off"
provider = "anthropic"
service_tier = "*"
[[price.range]]
from = 2020-01-01T00:00:00Z
discount_percent = 50

[[price]]
id = "house"
model = "unheard-of"
service_tier = "*"
[[price.range]]
from = 2020-01-01T00:00:00Z
per_million = { input_tokens = 7, output_tokens = 9 }
each = { image = "0.04" }
"""
NEW = PriceBook.compiled(parse_prices(FILE, "test"), 1)
BOOKS = {1: OLD, 2: NEW}
HISTORIES = histories_after({}, changes_between([], NEW.overrides), 1, datetime(2026, 1, 1, tzinfo=UTC))
OVERRIDES = overrides_of([to_bytes(history) for history in HISTORIES], 1)


def afresh(book: PriceBook, *values: bytes) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """As if all had been rated by these prices from the first."""
    ledger = Ledger(book)
    ledger.take(*values)
    return ledger.costs()


def reversal(ledger: Ledger, event_id: str, number: int) -> bytes:
    rows = [row for row in ledger.rows() if event_id in (row["event_id"], row["corrects"])]
    [entry] = undo(rows, rows[0]["source"], event_id, "twice", "mia", lambda n: f"undo {number} {n}")
    return framed(**entry.to_avro())


def test_the_difference_is_booked_under_the_event_and_says_to_which_prices() -> None:
    ledger = Ledger()
    ledger.take(framed(event_id="a", department="eng", user="u1", units={"image": 0}))
    found = ledger.rerate(NEW)
    [entry] = found.entries.to_pylist(maps_as_pydicts="strict")
    # 1 000 x 3.00 and 300 x 15.00 a million; half of it
    assert entry["amount_pico"] == -(1000 * 3_000_000 + 300 * 15_000_000) // 2
    said = {name: entry[name] for name in ("kind", "adjustment_type", "corrects", "source", "reason", "author")}
    assert said == {
        "kind": "adjustment",
        "adjustment_type": "re-rating",
        "corrects": "a",
        "source": "svc/chat",
        "reason": "new prices",
        "author": "mia",
    }
    assert entry["tags"] == {PRICE_TAG: NEW.version}
    assert {name: entry[name] for name in ROW_KEYS} == {name: ledger.rows()[0][name] for name in ROW_KEYS}
    UsageEvent(**entry)  # keeps every rule
    assert found.tally.rows == Counter({("claude-sonnet-4-5", OLD.version): 1})
    assert found.tally.cost_pico[("claude-sonnet-4-5", OLD.version)] == entry["amount_pico"]


def test_unpriced_usage_gets_a_price_and_loses_it_again() -> None:
    ledger = Ledger()
    ledger.take(framed(model="unheard-of", provider="house", units={"image": 2}))
    assert [row[1:] for row in ledger.costs().values()] == [(1, 0)]
    assert ledger.settle(NEW) == 1
    assert list(ledger.costs().values()) == [(1, 0, 1000 * 7_000_000 + 300 * 9_000_000 + 80_000_000_000)]
    assert ledger.settle(OLD) == 1
    assert list(ledger.costs().values()) == [(1, 1, 0)]
    assert [row["adjustment_type"] for row in ledger.rows()] == ["", "pricing", "unpricing"]


def test_entered_twice_it_counts_once() -> None:
    ledger = Ledger()
    ledger.take(framed())
    entries = values_of(ledger.rerate(NEW))
    ledger.take(*entries)
    assert ledger.take(*entries).rejects.column("reason").to_pylist() == ["duplicate"]
    assert ledger.rerate(NEW).entries.num_rows == 0


def test_of_two_runs_to_other_prices_one_wins_and_the_other_looks_again() -> None:
    """Both read the same rows, so their entries have the same id."""
    ledger = Ledger()
    ledger.take(framed(event_id="a"), framed(event_id="b", model="unheard-of"))
    third = PriceBook.compiled(parse_prices(FILE.replace("50", "25"), "test"), 2)
    mine, theirs = ledger.rerate(NEW), ledger.rerate(third)
    ledger.take(*values_of(theirs))
    assert ledger.take(*values_of(mine)).rows.num_rows == 0
    ledger.settle(NEW)
    assert ledger.costs() == afresh(NEW, framed(event_id="a"), framed(event_id="b", model="unheard-of"))


def test_what_moves_money_alone_stands() -> None:
    ledger = Ledger()
    ledger.take(framed(event_id="a"))
    credit = UsageEvent(
        **{name: ledger.rows()[0][name] for name in ("source", *ROW_KEYS)},
        event_id="c",
        kind="adjustment",
        adjustment_type="credit",
        corrects="a",
        amount_pico=-5,
        reason="goodwill",
        author="mia",
    )
    ledger.take(framed(**credit.to_avro()))
    ledger.settle(NEW)
    [(_, _, cost)] = ledger.costs().values()
    assert cost == (1000 * 3_000_000 + 300 * 15_000_000) // 2 - 5


def test_what_was_taken_back_costs_nothing_also_when_an_entry_crossed_the_reversal() -> None:
    for crossed in (False, True):
        ledger = Ledger()
        ledger.take(framed(event_id="a"), framed(event_id="b", model="unheard-of"))
        found = ledger.rerate(NEW)
        reversals = [reversal(ledger, "a", 1), reversal(ledger, "b", 2)]
        ledger.take(*reversals)
        assert ledger.costs() == {}
        ledger.settle(NEW, found if crossed else None)
        assert ledger.costs() == {}


def test_a_copy_that_was_booked_too_is_left_and_told() -> None:
    ledger = Ledger()
    ledger.take(framed(event_id="a"))
    ledger.seen = Seen()  # as after the horizon
    ledger.take(framed(event_id="a"))
    found = ledger.rerate(NEW)
    assert (found.entries.num_rows, found.tally.repeated) == (0, 1)


def test_nothing_at_all() -> None:
    found = Ledger().rerate(NEW)
    assert (found.entries.num_rows, found.tally.entries) == (0, 0)


def revision(number: int, tokens: int, **fields: Any) -> bytes:
    kind = fields.pop("kind", "provisional")
    return framed(**{"revision": number, "kind": kind, "input_tokens": tokens, "event_id": "r"} | fields)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize(
    "last",
    [
        revision(1, 2000, kind="final"),
        revision(1, 500, kind="final", department="ops"),
        revision(1, 2000, kind="final", model="unheard-of"),
        revision(1, 2000, kind="final", model="unheard-of", units={"other": 1}),
    ],
    ids=["more", "elsewhere", "priced by the new prices", "unpriced"],
)
@pytest.mark.parametrize("first", [revision(0, 1000), revision(0, 1000, model="unheard-of")], ids=["priced", "not"])
def test_usage_that_is_revised_after_or_while_it_is_rerated_ends_right(
    first: bytes, last: bytes, crossed: bool, restart: bool
) -> None:
    ledger = Ledger()
    ledger.take(first)
    found = ledger.rerate(NEW)
    ledger.book = NEW
    if not crossed:
        ledger.take(*values_of(found))
    if restart:
        ledger.restart()
    ledger.take(last)
    if crossed:
        ledger.settle(NEW, found)
    assert ledger.costs() == afresh(NEW, first, last)
    assert ledger.rerate(NEW).entries.num_rows == 0


#: Under an id that was `usage` a revision is taken for a new event, and what is booked twice is left: so ids are apart.
identities = st.one_of(
    st.fixed_dictionaries({"kind": st.just("usage"), "event_id": st.sampled_from(["u0", "u1"])}),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["provisional", "final"]),
            "event_id": st.sampled_from(["r0", "r1"]),
            "revision": st.integers(0, 2),
        }
    ),
)
uses = st.builds(
    lambda identity, **fields: framed(**identity | fields),
    identities,
    department=st.sampled_from(["", "eng"]),
    model=st.sampled_from(["claude-sonnet-4-5", "unheard-of"]),
    input_tokens=st.sampled_from([0, 1, 1000, 200_001]),
    units=st.dictionaries(st.sampled_from(["image", "other"]), st.integers(0, 2), max_size=2),
    latency_ms=st.sampled_from([None, 5]),
)


@settings(deadline=None, max_examples=15)
@given(st.lists(uses, max_size=8), st.lists(st.sampled_from([1, 2]), min_size=1, max_size=4), st.data())
def test_killed_half_way_and_run_again_back_and_forth_ends_as_if_rated_so_at_first(
    values: list[bytes], versions: list[int], data: st.DataObject
) -> None:
    ledger = Ledger()
    ledger.take(*values)
    for version in versions:
        killed = values_of(ledger.rerate(BOOKS[version]))
        ledger.take(*killed[: data.draw(st.integers(0, len(killed)))])
        if data.draw(st.booleans()):
            ledger.restart()
        ledger.settle(BOOKS[version])
        assert ledger.costs() == afresh(BOOKS[version], *values)


@settings(deadline=None, max_examples=15)
@given(st.lists(uses, min_size=1, max_size=8), st.data())
def test_what_is_booked_between_look_and_entry_changes_nothing(values: list[bytes], data: st.DataObject) -> None:
    """Workers have the new prices already when the first look is taken."""
    cut = data.draw(st.integers(0, len(values)))
    ledger = Ledger()
    ledger.take(*values[:cut])
    ledger.book = NEW
    found = ledger.rerate(NEW)
    entries = values_of(found)
    for value in values[cut:]:
        ledger.take(value)
        sent = data.draw(st.integers(0, len(entries)))
        ledger.take(*entries[:sent])
        entries = entries[sent:]
    ledger.take(*entries)
    ledger.settle(NEW)
    assert ledger.costs() == afresh(NEW, *values)
    assert all(row["adjustment_type"] in ("", *PRICE_TYPES) for row in ledger.rows())


def as_audited(ledger: Ledger) -> list[list[dict[str, Any]]]:
    """The rows as the audit asks for them, a list a statement."""
    by_statement: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in ledger.rows():
        event = row["corrects"] or row["event_id"]
        cost = None if row["cost_pico"] is None else Decimal(row["cost_pico"]).scaleb(-12)
        at = {"occurred_at": int(row["occurred_at"].timestamp()) * 1_000_000}
        version = {"price_version": row["tags"].get(PRICE_TAG, ""), "reassigned": ""}
        key = (row["source"], event, *(row[name] for name in ROW_KEYS))
        by_statement[key].append(row | at | version | {"event": event, "cost_usd": cost})
    return list(by_statement.values())


@settings(deadline=None, max_examples=15)
@given(st.lists(uses, min_size=1, max_size=8), st.booleans())
def test_the_second_opinion_agrees_and_finds_a_wrong_entry(values: list[bytes], back: bool) -> None:
    ledger = Ledger()
    ledger.take(*values)
    ledger.settle(NEW)
    if back:
        ledger.settle(OLD)
    differing = []
    for rows in as_audited(ledger):
        by = last_version(rows)
        if by:
            overrides = OVERRIDES if by == NEW.version else ()
            assert judge_statement(rows, overrides) == []
            wrong = [*rows[:-1], rows[-1] | {"cost_usd": rows[-1]["cost_usd"] + Decimal("0.000000000001")}]
            differing += judge_statement(wrong, overrides)
            assert [each.measure for each in differing[-1:]] == ["cost_pico"]
    if any(row["kind"] == "adjustment" for row in ledger.rows()):
        assert differing


@settings(deadline=None, max_examples=15)
@given(st.lists(uses, max_size=12))
def test_the_tally_is_what_the_entries_say(values: list[bytes]) -> None:
    ledger = Ledger()
    ledger.take(*values)
    found = ledger.rerate(NEW)
    entries = found.entries.to_pylist()
    assert found.tally.types == Counter(entry["adjustment_type"] for entry in entries)
    assert found.tally.rows.total() == len(entries) == len(found.partitions)
    assert sum(found.tally.cost_pico.values()) == sum(entry["amount_pico"] for entry in entries)
    assert Decimal(found.tally.statements) == len(
        {
            tuple(key)
            for key in zip(*(ledger.landed().column(name).to_pylist() for name in ("group_a", "group_b")), strict=True)
        }
    )
