"""Content encodings, in chunks of any size and in several frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.clickhouse.compression import Decoder, chosen_encoding, encoder
from local.clickhouse.errors import ClickHouseError

ENCODINGS = ["lz4", "zstd", "gzip", "deflate"]


def encoded(encoding: str, data: bytes) -> bytes:
    encode = encoder(encoding)
    return encode.compress(data[:7]) + encode.compress(data[7:]) + encode.flush()


@given(
    frames=st.lists(st.binary(max_size=300), min_size=1, max_size=3),
    encoding=st.sampled_from(ENCODINGS),
    size=st.integers(1, 64),
)
def test_what_was_encoded_comes_back(frames: list[bytes], encoding: str, size: int) -> None:
    body = b"".join(encoded(encoding, frame) for frame in frames)
    decoder = Decoder(encoding)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    assert b"".join(map(decoder.decode, chunks)) == b"".join(frames)
    decoder.finish()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_cut_body_is_refused(encoding: str) -> None:
    decoder = Decoder(encoding)
    decoder.decode(encoded(encoding, b"rows" * 100)[:-2])
    with pytest.raises(ClickHouseError, match="ends inside"):
        decoder.finish()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_body_of_another_kind_is_refused(encoding: str) -> None:
    with pytest.raises(ClickHouseError, match="271"):
        Decoder(encoding).decode(b"this is plain text, and not a little of it")


def test_an_unknown_encoding_names_the_known() -> None:
    with pytest.raises(ClickHouseError, match="zstd"):
        Decoder("rot13")


@pytest.mark.parametrize(
    ("accept", "chosen"), [("br, lz4, gzip", "lz4"), ("gzip;q=1.0, zstd", "gzip"), ("identity", None), ("", None)]
)
def test_the_first_known_encoding_is_chosen(accept: str, chosen: str | None) -> None:
    assert chosen_encoding(accept) == chosen
