"""A scope has one number here and one hash everywhere."""

import zlib

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import SCOPE_KINDS
from stream_processors.core.scopes import ScopeIndex, scope_ids

NAMES = st.sampled_from(["", "a", "b", "ab", "é", "a\0"])


def coded(names: list[str], unused: list[str]) -> pa.DictionaryArray:
    """Dictionary-encoded, with values before and behind those in use that no row has."""
    dictionary = [f"-{name}" for name in unused] + sorted(set(names)) + [f"+{name}" for name in unused]
    return pa.DictionaryArray.from_arrays(
        pa.array([dictionary.index(n) for n in names], pa.int32()), pa.array(dictionary)
    )


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=20), st.lists(NAMES, unique=True, max_size=3))
def test_rows_find_their_scope_by_their_codes(rows: list[tuple[str, str]], unused: list[str]) -> None:
    organizations, users = (list(column) for column in zip(*rows, strict=True))
    batch = pa.RecordBatch.from_arrays([coded(organizations, unused), coded(users, unused)], ["organization", "user"])
    index = ScopeIndex()
    kind = SCOPE_KINDS.index("user")
    codes, ids = scope_ids(batch, kind, "user", index)
    found = [(index.organizations[ids[code]], index.names[ids[code]]) for code in codes.tolist()]
    assert found == rows
    assert len(set(ids.tolist())) == len(ids) == len(index) == len(set(rows))  # unused values are no scopes
    assert {index.kinds[scope] for scope in ids.tolist()} == {kind}


@given(st.lists(st.tuples(st.integers(0, len(SCOPE_KINDS) - 1), NAMES, st.integers(0, 3000)), max_size=50))
def test_numbers_are_stable_and_hashes_do_not_depend_on_the_order(scopes: list[tuple[int, str, int]]) -> None:
    index, other = ScopeIndex(), ScopeIndex()
    numbers = [index.id_of(kind, organization, str(name)) for kind, organization, name in scopes]
    assert numbers == [index.id_of(kind, organization, str(name)) for kind, organization, name in scopes]
    for kind, organization, name in reversed(scopes):
        number = other.id_of(kind, organization, str(name))
        expected = zlib.crc32("\0".join((SCOPE_KINDS[kind], organization, str(name))).encode())
        assert other.hashes[number] == index.hashes[index.id_of(kind, organization, str(name))] == expected


def test_names_that_are_not_dictionaries_are_scopes_too() -> None:
    index = ScopeIndex()
    tasks = pa.array(["t1", "t2", "t1"])
    batch = pa.RecordBatch.from_arrays([coded(["acme"] * 3, []), tasks], ["organization", "task"])
    codes, ids = scope_ids(batch, index.kind_of("task"), "task", index)
    assert [index.names[ids[code]] for code in codes.tolist()] == ["t1", "t2", "t1"]
    assert {index.kind_names[index.kinds[scope]] for scope in ids.tolist()} == {"task"}


def test_there_is_room_for_many() -> None:
    index = ScopeIndex()
    for number in range(3000):
        assert index.id_of(2, "acme", str(number)) == number
    assert (index.hashes[:3000] != 0).all()
