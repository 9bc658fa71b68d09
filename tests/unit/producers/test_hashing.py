"""Hashes over columns: the same as Kafka's, and ids that repeat when they should and only then."""

import uuid

import numpy as np
import pyarrow as pa
import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from producers.hashing import murmur2_partitions, short_ids, uuids

# Published with Kafka's own tests of its murmur2 (UtilsTest): hash as a signed int.
KAFKA_HASHES = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), list(KAFKA_HASHES.items()))
def test_partitions_are_kafkas(key: bytes, signed: int) -> None:
    positive = signed & 0x7FFFFFFF
    for count in (1, 4, 12, 2**31 - 1):
        assert murmur2_partitions(pa.array([key]), count)[0] == positive % count


@given(st.lists(st.binary(max_size=40)), st.integers(1, 100))
def test_partitions_are_those_of_another_client(keys: list[bytes], count: int) -> None:
    found = murmur2_partitions(pa.array(keys, pa.binary()), count)
    assert found.tolist() == [(murmur2(key) & 0x7FFFFFFF) % count for key in keys]


def test_a_slice_of_a_column_is_hashed_as_itself() -> None:
    keys = pa.array(["acme/a", "globex/bb", "acme/ccc", "x"])
    whole = murmur2_partitions(keys, 1000).tolist()
    assert murmur2_partitions(keys.slice(1, 2), 1000).tolist() == whole[1:3]


def test_ids_are_uuids_and_all_different() -> None:
    found = uuids("namespace", np.arange(50_000)).to_pylist()
    assert len(set(found)) == 50_000
    parsed = [uuid.UUID(text) for text in found[:1000]]
    assert {each.version for each in parsed} == {8}
    assert {each.variant for each in parsed} == {uuid.RFC_4122}
    assert [str(each) for each in parsed] == found[:1000]


def test_an_id_depends_on_its_namespace_and_number_alone() -> None:
    everything = uuids("a", np.arange(100)).to_pylist()
    assert uuids("a", np.array([7, 3])).to_pylist() == [everything[7], everything[3]]
    assert not set(everything) & set(uuids("b", np.arange(100)).to_pylist())


def test_ids_do_not_change_between_versions() -> None:
    # An id that changes makes every event of a replay count twice.
    assert uuids("tollbook", np.arange(2)).to_pylist() == [
        "65578cb3-d0bb-889e-a464-1ed9c0b19e37",
        "5231b365-d019-83c3-a3eb-da1e8c614e50",
    ]


def test_short_ids_carry_their_prefix() -> None:
    first, second, again = short_ids("task-", "n", np.array([1, 2, 1])).to_pylist()
    assert first == again != second
    assert first.startswith("task-")
    assert len(first) == 17
