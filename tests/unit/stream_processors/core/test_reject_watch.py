"""Where rating halts: at the same event however events are fetched, and not again once it was accepted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_events import batch, framed, schema_of

from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import rate
from stream_processors.core.reject_watch import WINDOW, RejectWatch, judged
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen

GOOD, BAD = False, True


def verdicts(*runs: tuple[bool, int]) -> np.ndarray:
    return np.array([verdict for verdict, count in runs for _ in range(count)], bool)


def plain(history: np.ndarray, events: np.ndarray) -> int | None:
    """The definition, event by event."""
    joined = np.concatenate((history, events))

    def above(end: int) -> bool:
        return end >= WINDOW and int(joined[end - WINDOW : end].sum()) * 2 > WINDOW

    for place in range(len(events)):
        end = len(history) + place + 1
        if above(end) and not above(end - 1):
            return place
    return None


@pytest.mark.parametrize(
    ("history", "events", "at"),
    [
        (verdicts(), verdicts((BAD, 999)), None),  # fewer than 1 000 events say nothing
        (verdicts(), verdicts((BAD, 1000)), 999),
        (verdicts((GOOD, 500)), verdicts((BAD, 500)), None),  # half is not above half
        (verdicts((GOOD, 499)), verdicts((BAD, 501)), 500),
        (verdicts((GOOD, 5000)), verdicts((BAD, 500)), None),
        (verdicts((GOOD, 5000)), verdicts((GOOD, 10), (BAD, 501)), 510),
        (verdicts((GOOD, 5000)), verdicts((BAD, 501), (GOOD, 9000)), 500),  # a run of poison in a large batch
        (verdicts((BAD, 1000)), verdicts((BAD, 9000)), None),  # accepted already
        (verdicts((BAD, 1000)), verdicts((GOOD, 500), (BAD, 1)), None),  # 500 of 1 000 and then 500 again
        (verdicts((BAD, 1000)), verdicts((GOOD, 1000), (BAD, 501)), 1500),  # back under the limit: armed again
    ],
)
def test_where_it_halts(history: np.ndarray, events: np.ndarray, at: int | None) -> None:
    watch = RejectWatch()
    watch.take(history)
    assert watch.crossing(events) == at
    assert plain(history, events) == at


RUNS = st.lists(st.tuples(st.booleans(), st.integers(1, 700)), min_size=1, max_size=8)


@settings(deadline=None)
@given(RUNS, st.lists(st.integers(1, 900), max_size=6))
def test_it_is_the_definition_however_events_are_fetched(runs: list[tuple[bool, int]], cuts: list[int]) -> None:
    events = verdicts(*runs)
    expected = plain(verdicts(), events)
    bounds = sorted({0, len(events), *(cut for cut in np.cumsum(cuts).tolist() if cut < len(events))})
    watch = RejectWatch()
    for start, end in itertools.pairwise(bounds):
        at = watch.crossing(events[start:end])
        if at is not None:
            assert start + at == expected
            return
        watch.take(events[start:end])
    assert expected is None


def test_verdicts_follow_the_offsets_and_leave_duplicates_out() -> None:
    values = [framed(event_id="a"), b"", framed(event_id="a"), framed(event_id="b"), framed(event_id="a", region="x")]
    offsets, rejected = judged(
        rate(batch(values, first_offset=10), schema_of, PriceBook.compiled(), Seen(), Revisions())
    )
    assert offsets.tolist() == [10, 11, 13, 14]
    assert rejected.tolist() == [GOOD, BAD, GOOD, BAD]  # 14 is a conflict


def test_verdicts_of_a_batch_without_rejects() -> None:
    offsets, rejected = judged(
        rate(batch([framed()], first_offset=3), schema_of, PriceBook.compiled(), Seen(), Revisions())
    )
    assert (offsets.tolist(), rejected.tolist()) == ([3], [GOOD])
