"""The plan fits into Kafka's metadata, survives the round trip, and the missing rows are found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.sink.plan import Place, Plan, Position, decode, encode, missing

offsets = st.integers(0, 2**62)


@given(
    st.builds(
        Place,
        head=offsets,
        epoch=st.none() | st.text(min_size=22, max_size=22),
        next_offset=st.none() | offsets,
        plan=st.none() | st.builds(Plan, offsets, offsets, offsets, offsets, offsets, offsets),
    )
)
def test_a_place_survives_the_commit_metadata(place: Place) -> None:
    text = encode(place)
    assert decode(text) == place
    assert len(text.encode()) < 1024


@pytest.mark.parametrize("metadata", ["", None])
def test_no_metadata_is_no_place(metadata: str | None) -> None:
    assert decode(metadata) is None


@pytest.mark.parametrize("metadata", ["x", "7", '{"head": 1}', '{"plan": null, "tail": 1}'])
def test_metadata_of_others_is_refused(metadata: str) -> None:
    with pytest.raises(ValueError, match="not written by the sink"):
        decode(metadata)


EXPECTED: list[Position] = [(0, 5, 10, 0), (0, 5, 11, 0), (0, 5, 11, 1), (1, 9, 10, 0)]


@given(st.sets(st.sampled_from(EXPECTED)))
def test_missing_are_those_expected_and_not_found(there: set[Position]) -> None:
    found = missing(EXPECTED, sorted(there))
    assert {EXPECTED[index] for index in found} == set(EXPECTED) - there


def test_a_doubled_position_is_named() -> None:
    with pytest.raises(ValueError, match=r"twice, such as \(0, 5, 11, 0\)"):
        missing(EXPECTED, [EXPECTED[1], EXPECTED[0], EXPECTED[1]])


def test_a_position_that_no_block_explains_is_named() -> None:
    with pytest.raises(ValueError, match=r"no block explains, such as \(0, 6, 12, 0\)"):
        missing(EXPECTED, [EXPECTED[0], (0, 6, 12, 0)])
