"""Hashes over whole columns: Kafka's partitioner and event ids, vectorised because they run once an event."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

UInt64s = npt.NDArray[np.uint64]
_M = np.uint32(0x5BD1E995)
_SEED = np.uint32(0x9747B28C)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


def murmur2_partitions(keys: pa.Array, partition_count: int) -> npt.NDArray[np.int32]:
    """The partition of each key, as Java's default partitioner and librdkafka's `murmur2_random` choose it.

    `keys`: a binary or string array without nulls.
    """
    keys = keys.cast(pa.binary())
    data = np.frombuffer(keys.buffers()[2] or b"", np.uint8)
    offsets = np.frombuffer(keys.buffers()[1], np.int32)[keys.offset : keys.offset + len(keys) + 1]
    lengths = np.diff(offsets)
    hashes = np.empty(len(keys), np.uint32)
    for length in np.unique(lengths):  # keys of one length are one matrix
        rows = np.flatnonzero(lengths == length)
        hashes[rows] = _murmur2(data[offsets[rows][:, None] + np.arange(length)])
    return ((hashes & np.uint32(0x7FFFFFFF)) % np.uint32(partition_count)).astype(np.int32)


def _murmur2(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """32-bit MurmurHash2 with Kafka's seed; `keys` is a matrix, one key a row. Wraps around on purpose."""
    count, length = keys.shape
    whole = length // 4 * 4
    words = np.ascontiguousarray(keys[:, :whole]).view("<u4")
    result = np.full(count, _SEED ^ np.uint32(length), np.uint32)
    for word in words.T:
        mixed = word * _M
        mixed = (mixed ^ (mixed >> np.uint32(24))) * _M
        result = (result * _M) ^ mixed
    if whole < length:
        for shift, byte in enumerate(keys[:, whole:].T):
            result ^= byte.astype(np.uint32) << np.uint32(8 * shift)
        result = result * _M
    result = (result ^ (result >> np.uint32(13))) * _M
    return np.asarray(result ^ (result >> np.uint32(15)))


def uuids(namespace: str, numbers: npt.NDArray[np.integer]) -> pa.Array:
    """One UUID (version 8) for each number: the same in every run, and another one in another namespace."""
    seed = xxhash.xxh3_128_intdigest(namespace.encode())
    halves = [_mix(numbers, seed >> 64), _mix(numbers, seed & (2**64 - 1))]
    digits = _hex(np.stack(halves, axis=1).astype(">u8").view(np.uint8).reshape(len(numbers), 16))
    digits[:, 12] = ord("8")  # version: the rest is the maker's business
    digits[:, 16] = _HEX[8 + (halves[1] >> np.uint64(62)).astype(np.intp)]  # variant
    return fixed_width_strings(np.insert(digits, (8, 12, 16, 20), ord("-"), axis=1))


def short_ids(prefix: str, namespace: str, numbers: npt.NDArray[np.integer]) -> pa.Array:
    """`prefix` and 12 hexadecimal digits for each number, repeatable like `uuids`."""
    seed = xxhash.xxh3_64_intdigest(namespace.encode())
    digits = _hex(_mix(numbers, seed).astype(">u8").view(np.uint8).reshape(len(numbers), 8)[:, :6])
    head = np.broadcast_to(np.frombuffer(prefix.encode(), np.uint8), (len(numbers), len(prefix)))
    return fixed_width_strings(np.concatenate([head, digits], axis=1))


def fixed_width_strings(characters: npt.NDArray[np.uint8]) -> pa.Array:
    """An Arrow string array from a matrix of ASCII, one string a row."""
    count, width = characters.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(characters))]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def _mix(numbers: npt.NDArray[np.integer], seed: int) -> UInt64s:
    """SplitMix64 over `numbers`: a bijection, so distinct numbers never collide. Wraps around on purpose."""
    state = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))


def _hex(octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    nibbles = np.stack([octets >> 4, octets & 15], axis=2).reshape(len(octets), -1)
    return np.asarray(_HEX[nibbles])
