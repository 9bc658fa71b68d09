"""Ids seen, against a dict that does the same one by one."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_events import HOUR_MS, columns

from stream_processors.core.seen import CONFLICT, DUPLICATE, NEW, Seen, identities


class Model:
    """The rules of `Seen`, spelt out: a dict, and for each id the group (hour, part) it was booked in."""

    def __init__(self, horizon_hours: int, capacity: int) -> None:
        self.horizon_hours, self.capacity, self.part_size = horizon_hours, capacity, max(1, capacity // 8)
        self.booked: dict[tuple[int, int], tuple[int, int]] = {}
        self.groups: list[list[int]] = []  # hour, size

    def check(self, identity: tuple[int, int], content: int, booked_ms: int) -> int:
        hour = max([booked_ms // HOUR_MS, *(group[0] for group in self.groups[-1:])])
        if not self.groups or self.groups[-1][0] < hour or self.groups[-1][1] >= self.part_size:
            self.groups.append([hour, 0])
            self.opened = getattr(self, "opened", -1) + 1
            self._forget(hour)
        if identity in self.booked:
            return DUPLICATE if self.booked[identity][0] == content else CONFLICT
        self.booked[identity] = (content, self.opened)
        self.groups[-1][1] += 1
        return NEW

    def _forget(self, hour: int) -> None:
        while len(self.groups) > 1 and (
            self.groups[0][0] < hour - self.horizon_hours or len(self.booked) + self.part_size > self.capacity
        ):
            gone = self.opened - len(self.groups) + 1
            self.groups.pop(0)
            self.booked = {key: entry for key, entry in self.booked.items() if entry[1] != gone}


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), max_size=120),
    st.integers(1, 60),
    st.sampled_from([1, 8, 20, 64, 1000]),
)
def test_verdicts_are_those_of_a_dict(
    arrivals: list[tuple[int, int, int, int]], batch_size: int, capacity: int
) -> None:
    seen, model = Seen(horizon_hours=3, capacity=capacity), Model(3, capacity)
    hour, expected, got = 0, [], []
    booked = []
    for high, low, content, step in arrivals:
        hour += max(0, step - 1) - (step == 0)  # now and then an append time steps back
        booked.append(max(0, hour) * HOUR_MS)
        expected.append(model.check((high, low), content, booked[-1]))
    ids = np.array([arrival[:2] for arrival in arrivals], np.uint64).reshape(-1, 2)
    contents = np.array([arrival[2] for arrival in arrivals], np.uint64)
    for start in range(0, len(arrivals), batch_size):
        part = slice(start, start + batch_size)
        got += seen.check(ids[part], contents[part], np.array(booked[part], np.int64)).tolist()
    assert got == expected
    assert len(seen) == len(model.booked)


def test_ids_with_the_same_upper_half_are_told_apart() -> None:
    seen, zero = Seen(), np.zeros(3, np.int64)
    ids, content = np.array([[3, 0], [3, 1], [3, 2]], np.uint64), np.array([7, 8, 9], np.uint64)
    assert seen.check(ids, content, zero).tolist() == [NEW, NEW, NEW]
    assert seen.check(ids, content, zero).tolist() == [DUPLICATE, DUPLICATE, DUPLICATE]
    others = np.array([[3, 3], [3, 1], [2, 1]], np.uint64)
    assert seen.check(others, content[::-1].copy(), zero).tolist() == [NEW, DUPLICATE, NEW]


def test_many_ids_in_random_batches() -> None:
    random = np.random.default_rng(7)
    seen, known, offset = Seen(), {}, 0
    ids = random.integers(0, 2**63, (30_000, 2)).astype(np.uint64)
    order = np.concatenate((random.permutation(30_000), random.integers(0, 30_000, 5_000)))
    while offset < len(order):
        take = order[offset : offset + int(random.integers(1, 3_000))]
        offset += len(take)
        verdict = seen.check(ids[take], take.astype(np.uint64) % 7, np.zeros(len(take), np.int64))
        expected = []
        for which in take.tolist():
            expected.append(DUPLICATE if which in known else NEW)
            known[which] = True
        assert verdict.tolist() == expected
    assert len(seen) == 30_000


def test_an_id_takes_24_bytes() -> None:
    seen = Seen()
    ids = np.random.default_rng(1).integers(0, 2**63, (50_000, 2)).astype(np.uint64)
    seen.check(ids, ids[:, 0], np.zeros(len(ids), np.int64))
    assert sum(run.nbytes for group in seen._groups for run in group.runs) == 24 * len(seen) == 24 * 50_000


def test_memory_is_bounded_within_one_hour() -> None:
    seen = Seen(capacity=800)
    ids = np.arange(20_000, dtype=np.uint64).reshape(-1, 2)
    seen.check(ids, ids[:, 0], np.zeros(len(ids), np.int64))
    assert 700 <= len(seen) <= 800
    assert seen.check(ids[-1:], ids[-1:, 0], np.zeros(1, np.int64)).tolist() == [DUPLICATE]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"source": "a", "event_id": "bc"}, {"source": "ab", "event_id": "c"}),
        ({"source": "a:0", "event_id": "b"}, {"source": "a", "event_id": "0:b"}),
        ({"source": "1", "revision": 1, "event_id": "1:1"}, {"source": "1:1", "revision": 1, "event_id": "1"}),
        ({"revision": 1}, {"revision": 11}),
    ],
)
def test_no_two_identities_are_written_alike(one: dict[str, object], other: dict[str, object]) -> None:
    first, second, again = identities(columns([one, other, one])).tolist()
    assert first != second
    assert first == again


def test_identities_do_not_depend_on_the_dictionary() -> None:
    rows = columns([{"source": name, "event_id": name} for name in "abcabc"])
    kept = rows.filter(pa.array([False, False, True, True, False, False]))
    assert identities(kept).tolist() == identities(rows)[2:4].tolist()
