"""Usage in revisions: whatever the order, cut or restart, the books end at what the highest revision says."""

from collections import Counter
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_events import BOOKED_MS, HOUR_MS, OCCURRED_US, batch, framed, schema_of

from schemas.arrow import MEASURES, ROW_KEYS
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import Rated, rate
from stream_processors.core.revisions import LIFETIME_US, Revisions
from stream_processors.core.seen import Seen
from stream_processors.reference import Partition

BOOK = PriceBook.compiled()
LIFETIME_MS = LIFETIME_US // 1000
TIERED = {"provider": "google", "model": "gemini-2.5-pro"}  # dearer above 200 000 input tokens


class Rater:
    """A partition being rated, batch after batch; `restart` forgets and rebuilds from the blocks."""

    def __init__(self) -> None:
        self.seen, self.revisions = Seen(), Revisions()
        self.blocks: list[Rated] = []
        self.offset = 0

    def take(self, *values: bytes, booked_ms: int = BOOKED_MS) -> Rated:
        rated = rate(batch(values, self.offset, booked_ms), schema_of, BOOK, self.seen, self.revisions)
        self.offset += len(values)
        self.blocks.append(rated)
        return rated

    def restart(self) -> None:
        self.seen, self.revisions = Seen(), Revisions()
        for block in self.blocks:
            self.seen.remember(block.rows)
            self.revisions.remember(block.rows)

    def rows(self) -> list[dict[str, Any]]:
        return [row for block in self.blocks for row in block.rows.to_pylist()]

    def net(self) -> Counter[tuple[Any, ...]]:
        """What is booked, by key and measure, without what adds up to nothing."""
        total: Counter[tuple[Any, ...]] = Counter()
        for row in self.rows():
            key = (row["event_id"], *(row[name] for name in ROW_KEYS))
            for name in MEASURES:
                total[(*key, name)] += row[name]
            total[(*key, "cost_pico")] += row["cost_pico"] or 0
            for name, count in row["units"]:
                total[(*key, name)] += count
        return Counter({key: count for key, count in total.items() if count})


def revision(number: int, tokens: int, **fields: Any) -> bytes:
    kind = fields.pop("kind", "provisional")
    return framed(**{"revision": number, "kind": kind, "input_tokens": tokens, "output_tokens": 0} | fields)


def booked(*values: bytes) -> list[dict[str, Any]]:
    rater = Rater()
    rater.take(*values)
    return rater.rows()


def test_a_revision_books_the_difference_of_tokens_and_of_price() -> None:
    rows = booked(revision(0, 1000), revision(1, 1800), revision(2, 1500, kind="final"))
    assert [row["input_tokens"] for row in rows] == [1000, 800, -300]
    # 3.00 dollars a million
    assert [row["cost_pico"] for row in rows] == [3_000_000_000, 2_400_000_000, -900_000_000]
    assert [row["requests"] for row in rows] == [1, 0, 0]


def test_across_a_price_tier_the_whole_is_priced_anew() -> None:
    rows = booked(revision(0, 200_000, **TIERED), revision(1, 300_000, **TIERED))
    # 200 000 x 1.25, then 300 000 x 2.50 in all
    assert [row["cost_pico"] for row in rows] == [250_000_000_000, 750_000_000_000 - 250_000_000_000]


def test_a_changed_scope_books_a_pair() -> None:
    (first, new, back) = booked(revision(0, 1000, project="a"), revision(1, 1200, project="b"))
    assert [(row["project"], row["input_tokens"], row["requests"]) for row in (first, new, back)] == [
        ("a", 1000, 1),
        ("b", 1200, 1),
        ("a", -1000, -1),
    ]
    assert (new["src_offset"], new["src_entry"], back["src_offset"], back["src_entry"]) == (1, 0, 1, 1)
    assert (back["cost_pico"], back["unpriced_requests"]) == (-first["cost_pico"], 0)


def test_a_model_that_becomes_known_is_priced_from_then_on() -> None:
    rows = booked(revision(0, 1000, model="unheard-of"), revision(1, 1000))
    assert [row["cost_pico"] for row in rows] == [None, 3_000_000_000, None]
    assert [row["unpriced_requests"] for row in rows] == [1, 0, -1]


def test_a_late_lower_revision_is_a_row_of_nothing() -> None:
    rows = booked(revision(2, 1500, kind="final"), revision(1, 1000))
    assert [(row["revision"], row["input_tokens"], row["cost_pico"], row["requests"]) for row in rows] == [
        (2, 1500, 4_500_000_000, 1),
        (1, 0, 0, 0),
    ]


def test_the_same_revision_again_is_a_duplicate_or_a_conflict() -> None:
    rater = Rater()
    result = rater.take(revision(0, 1000), revision(0, 1000), revision(0, 1001))
    assert result.rejects.column("reason").to_pylist() == ["duplicate", "conflict"]
    # The ids are forgotten after a day, what is booked is not.
    later = rater.take(revision(0, 1000), revision(0, 1001), booked_ms=BOOKED_MS + 30 * HOUR_MS)
    assert later.rejects.column("reason").to_pylist() == ["duplicate", "conflict"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_final_after_30_hours_books_the_difference(restart: bool) -> None:
    rater = Rater()
    rater.take(revision(0, 1000))
    if restart:
        rater.restart()
    (row,) = rater.take(revision(1, 1700, kind="final"), booked_ms=BOOKED_MS + 30 * HOUR_MS).rows.to_pylist()
    assert (row["input_tokens"], row["requests"]) == (700, 0)


def test_after_its_lifetime_it_is_taken_for_a_new_event() -> None:
    rater = Rater()
    rater.take(revision(0, 1000))
    (last,) = rater.take(revision(1, 1100), booked_ms=BOOKED_MS + LIFETIME_MS).rows.to_pylist()
    (new,) = rater.take(revision(2, 1700), booked_ms=BOOKED_MS + LIFETIME_MS + 1).rows.to_pylist()
    assert [(row["input_tokens"], row["requests"]) for row in (last, new)] == [(100, 0), (1700, 1)]


def test_what_is_over_is_forgotten_and_says_from_where_to_rebuild() -> None:
    rater = Rater()
    assert rater.revisions.since_us == 0
    rater.take(revision(0, 1))
    rater.take(revision(0, 1, event_id="e2"), booked_ms=BOOKED_MS + HOUR_MS)
    assert rater.revisions.since_us == BOOKED_MS * 1000
    rater.take(revision(0, 1, event_id="e3"), booked_ms=BOOKED_MS + LIFETIME_MS + HOUR_MS + 1)
    assert (rater.revisions.since_us, len(rater.revisions)) == ((BOOKED_MS + HOUR_MS) * 1000, 2)


def test_usage_beside_revisions_keeps_its_place() -> None:
    rater = Rater()
    values = [framed(event_id="a"), revision(0, 10, project="p"), framed(event_id="b"), revision(1, 9, project="q")]
    rows = rater.take(*values, framed(event_id="c")).rows.to_pylist()
    places = [(row["src_offset"], row["src_entry"]) for row in rows]
    assert places == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (4, 0)]


REVISIONS = [
    revision(0, 1000, output_tokens=10, units={"web_search": 1}),
    revision(1, 900, output_tokens=700, department="eng"),
    revision(2, 250_000, **TIERED),
    revision(3, 260_000, **TIERED, occurred_at=OCCURRED_US - 3_600_000_000, status="cancelled"),
    revision(4, 5, model="unheard-of", kind="final"),
]


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_any_order_of_arrival_ends_alike(count: int) -> None:
    """All permutations: as if only the last revision had been stated."""
    only = Rater()
    only.take(REVISIONS[count - 1])
    for order in permutations(REVISIONS[:count]):
        rater = Rater()
        rater.take(*order)
        assert rater.net() == only.net()
        assert [row for row in rater.rows() if row["requests"] > 0]


statements = st.builds(
    revision,
    st.integers(0, 4),
    st.sampled_from([0, 1, 1000, 200_000, 200_001]),
    event_id=st.sampled_from(["1", "2"]),
    kind=st.sampled_from(["provisional", "final", "usage"]),
    model=st.sampled_from(["claude-sonnet-4-5", "unheard-of"]),
    project=st.sampled_from(["", "a", "b"]),
    units=st.dictionaries(st.just("image"), st.integers(0, 2), max_size=1),
    input_parts=st.dictionaries(st.just("text"), st.integers(0, 1), max_size=1),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(statements, max_size=8), st.data())
def test_where_batches_end_and_restarts_fall_changes_nothing(values: list[bytes], data: st.DataObject) -> None:
    """Within the lifetime; what comes later is taken for a new event."""
    hours = sorted(data.draw(st.lists(st.integers(0, 48), min_size=len(values), max_size=len(values))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(values)))))
    one_by_one, in_pieces = Rater(), Rater()
    for value, hour in zip(values, hours, strict=True):
        one_by_one.take(value, booked_ms=BOOKED_MS + hour * HOUR_MS)
    for start, end in pairwise([0, *cuts, len(values)]):
        times = [BOOKED_MS + hour * HOUR_MS for hour in hours[start:end]]
        raw = batch(values[start:end], in_pieces.offset, times or BOOKED_MS)
        in_pieces.blocks.append(rate(raw, schema_of, BOOK, in_pieces.seen, in_pieces.revisions))
        in_pieces.offset = end
        if data.draw(st.booleans()):
            in_pieces.restart()
    assert in_pieces.rows() == one_by_one.rows()


@settings(deadline=None, max_examples=50)
@given(st.lists(statements, max_size=8), st.data())
def test_the_second_opinion_comes_to_the_same_rows(values: list[bytes], data: st.DataObject) -> None:
    hours = sorted(data.draw(st.lists(st.integers(0, 70), min_size=len(values), max_size=len(values))))
    rater, judge = Rater(), Partition(schema_of)
    for value, hour in zip(values, hours, strict=True):
        booked_ms = BOOKED_MS + hour * HOUR_MS
        result = rater.take(value, booked_ms=booked_ms)
        verdict = judge.judge(value, booked_ms * 1000)
        reason = (result.rejects.column("reason").to_pylist() or [""])[0]
        assert (reason == verdict.reason) or verdict.doubtful
        if verdict.reason or reason:
            continue
        expected = [part for part in (verdict.values, verdict.pair) if part is not None]
        rows = result.rows.to_pylist()
        assert len(rows) == len(expected)
        for row, values_of in zip(rows, expected, strict=True):
            names = values_of.keys() - {"occurred_at"}
            assert {n: row[n] for n in names} == {n: values_of[n] for n in names}
