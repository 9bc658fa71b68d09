"""Rating as a whole: every offset of a batch is in exactly one place, however the batch is cut."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_events import BOOKED_MS, HOUR_MS, OCCURRED_US, batch, framed, schema_of

from schemas.arrow import REJECT_ROWS, USAGE_ROWS
from schemas.block import BlockHeader, decode_block, encode_block
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import Rated, rate
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen

BOOK = PriceBook.compiled()
DAY_US = 86_400_000_000


def rated(
    values: list[bytes],
    seen: Seen | None = None,
    first_offset: int = 0,
    booked_ms: int = BOOKED_MS,
    revisions: Revisions | None = None,
) -> Rated:
    """`seen` and `revisions`: what rating remembers, by default nothing."""
    memory = (Seen() if seen is None else seen, Revisions() if revisions is None else revisions)
    return rate(batch(values, first_offset, booked_ms), schema_of, BOOK, *memory)


POISON = {
    "tombstone": (b"", "decode", "value: 0 bytes, a framed record has at least 5"),
    "short": (b"\0\0\0", "decode", "value: 3 bytes, a framed record has at least 5"),
    "magic": (b"\1" + framed()[1:], "decode", "value: first byte is 1, Confluent framing starts with 0"),
    "unknown id": (b"\0\0\0\0\x07" + framed()[5:], "schema", "schema id = 7: the registry does not know it"),
    "truncated": (framed()[:-3], "decode", "not a record of its schema"),
    "no body": (framed()[:5], "decode", "not a record of its schema"),
    "trailing": (framed() + b"\0\0", "decode", "value: 2 bytes after the end of the record"),
    "not UTF-8": (framed(team="team").replace(b"team", b"\xff\xfeam"), "decode", "not a record of its schema"),
    "noise": (framed()[:5] + b"\xff" * 90, "decode", "value: not a record"),
    "big record": (framed(task_title="x" * 1_000_001), "too_large", "at most 1000000"),
    "negative": (framed(output_tokens=-1), "invalid", "output_tokens = -1: not negative"),
    "empty event_id": (framed(event_id=""), "invalid", "length of event_id = 0: 1 to 128 characters"),
    "empty source": (framed(source=""), "invalid", "length of source = 0: 1 to 128 characters"),
    "empty organization": (framed(organization=""), "invalid", "length of organization = 0: 1 to 128 characters"),
    "adjustment": (framed(kind="adjustment"), "invalid", "adjustment_type = '': one of reversal, reinstatement, "),
    "parts": (
        framed(cache_read_tokens=600, cache_write_tokens=401),
        "parts_exceed_whole",
        "cache_read_tokens = 600, cache_write_tokens = 401, input_tokens = 1000: "
        "cache_read_tokens + cache_write_tokens is part of input_tokens",
    ),
    "future": (
        framed(occurred_at=OCCURRED_US + DAY_US),
        "future",
        "occurred_at = 2026-09-22T14:13:20.000000Z: at most 5",
    ),
    "1970": (framed(occurred_at=0), "out_of_range", "occurred_at = 1970-01-01T00:00:00.000000Z: from 2015-01-01"),
    "huge": (framed(input_tokens=10**9 + 1), "too_large", "input_tokens = 1000000001: at most 1000000000"),
    "wrapping": (framed(input_tokens=2**62), "too_large", "input_tokens = 4611686018427387904: at most 1000000000"),
}


@pytest.mark.parametrize("name", POISON)
@pytest.mark.parametrize("neighbours", [1, 200])
def test_poison_is_rejected_with_its_bytes_and_its_neighbours_are_counted(name: str, neighbours: int) -> None:
    value, reason, detail = POISON[name]
    before = [framed(event_id=f"a{i}") for i in range(neighbours)]
    after = [framed(event_id=f"b{i}") for i in range(neighbours)]
    result = rated([*before, value, *after], first_offset=70)
    assert result.rows.column("event_id").to_pylist() == [f"{side}{i}" for side in "ab" for i in range(neighbours)]
    (reject,) = result.rejects.to_pylist()
    assert reject["reason"] == reason
    assert detail in reject["detail"]
    assert reject["value"] == value
    assert reject["key"] == f"key-{70 + neighbours}".encode()
    assert reject["src_offset"] == 70 + neighbours
    assert result.rejects.column("booked_at").cast(pa.int64()).to_pylist() == [BOOKED_MS * 1000]


def test_a_row_is_the_event_and_what_rating_decided() -> None:
    # per million: 3.00 in, 15.00 out, 0.30 cache read, 3.75 cache write, 6.00 cache write for an hour
    result = rated(
        [framed(input_tokens=1000, cache_read_tokens=500, cache_write_tokens=300, cache_write_1h_tokens=100)]
    )
    assert result.rows.schema.equals(USAGE_ROWS)
    assert result.rejects.schema.equals(REJECT_ROWS)
    (row,) = result.rows.to_pylist()
    plain, read, short, hour, output = (
        200 * 3_000_000,
        500 * 300_000,
        200 * 3_750_000,
        100 * 6_000_000,
        300 * 15_000_000,
    )
    assert row["cost_pico"] == plain + read + short + hour + output == 6_600_000_000
    assert (row["requests"], row["unpriced_requests"], row["src_entry"], row["src_offset"]) == (1, 0, 0, 0)
    assert int(row["booked_at"].timestamp() * 1000) == BOOKED_MS
    assert (row["organization"], row["user"], row["kind"], row["status"]) == ("acme", "", "usage", "ok")


def test_an_unknown_model_is_unpriced_and_not_free() -> None:
    (row,) = rated([framed(model="house-blend-9", provider="anthropic")]).rows.to_pylist()
    assert row["cost_pico"] is None
    assert (row["requests"], row["unpriced_requests"], row["input_tokens"]) == (1, 1, 1000)


def test_a_repeat_is_a_duplicate_other_content_a_conflict_another_revision_a_row() -> None:
    values = [framed(), framed(), framed(output_tokens=301), framed(revision=1), framed(source="svc/other")]
    result = rated(values)
    assert result.rows.column("src_offset").to_pylist() == [0, 3, 4]
    assert result.rejects.column("reason").to_pylist() == ["duplicate", "conflict"]
    assert result.rejects.column("detail").to_pylist() == [
        "event_id = 'e1' of source = 'svc/chat', revision = 0: booked already, with the same content",
        "event_id = 'e1' of source = 'svc/chat', revision = 0: booked already, with other content",
    ]
    assert result.rejects.column("event_id").to_pylist() == ["e1", "e1"]


def test_a_rejected_event_does_not_stand_in_the_way_of_its_repair() -> None:
    seen = Seen()
    assert rated([framed(output_tokens=-300)], seen).rejects.num_rows == 1
    assert rated([framed(output_tokens=300)], seen).rows.num_rows == 1


def test_a_cost_beyond_64_bits_is_rejected() -> None:
    class Dear(PriceBook):
        def price(self, rows: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
            cost, priced = super().price(rows)
            return np.where(np.arange(len(cost)) == 1, -1, cost), priced

    values = [framed(event_id=name) for name in "abc"]
    result = rate(batch(values), schema_of, Dear.compiled(), Seen(), Revisions())
    assert result.rows.column("event_id").to_pylist() == ["a", "c"]
    assert result.rejects.column("reason").to_pylist() == ["too_large"]
    assert result.rejects.column("event_id").to_pylist() == ["b"]


def test_when_the_registry_is_away_nothing_is_remembered() -> None:
    seen = Seen()

    def away(schema_id: int) -> str | None:
        raise ConnectionError("registry is away")

    with pytest.raises(ConnectionError):
        rate(batch([framed()]), away, BOOK, seen, Revisions())
    assert len(seen) == 0
    assert rated([framed()], seen).rows.num_rows == 1


def test_an_empty_batch_and_one_of_nothing_but_rejects() -> None:
    for values in ([], [b"", b"\1"]):
        result = rated(values)
        assert (result.rows.num_rows, result.rejects.num_rows) == (0, len(values))
        assert result.rows.schema.equals(USAGE_ROWS)


def test_rows_and_rejects_survive_a_block() -> None:
    result = rated([framed(event_id=str(i), tags={"a": str(i)}) for i in range(20)] + [b"", framed(event_id="1")])
    header = BlockHeader.from_headers([("block", _header(result))])
    rows, rejects = decode_block(encode_block(result.rows, result.rejects), header)
    assert rows.equals(result.rows)
    assert rejects.equals(result.rejects)


def _header(result: Rated) -> bytes:
    counts = {"row_count": result.rows.num_rows, "reject_count": result.rejects.num_rows}
    texts = {"src_epoch": "t", "price_version": BOOK.version}
    fields = dict.fromkeys(BlockHeader.__dataclass_fields__, 0)
    return BlockHeader(**(fields | counts | texts)).to_bytes()


def test_a_replay_after_a_rebuild_is_nothing_but_duplicates() -> None:
    values = [framed(event_id=str(i), source=f"s{i % 3}", revision=i % 2) for i in range(50)]
    rows = rated(values).rows
    rebuilt = Seen()
    rebuilt.remember(rows.slice(0, 20))
    rebuilt.remember(rows.slice(20))
    replay = rated(values, rebuilt, first_offset=1000)
    assert replay.rows.num_rows == 0
    assert set(replay.rejects.column("reason").to_pylist()) == {"duplicate"}


def test_an_id_is_forgotten_after_the_horizon_by_append_time() -> None:
    seen = Seen(horizon_hours=24)
    assert rated([framed()], seen).rows.num_rows == 1
    assert rated([framed()], seen, booked_ms=BOOKED_MS + 24 * HOUR_MS).rows.num_rows == 0
    assert rated([framed()], seen, booked_ms=BOOKED_MS + 25 * HOUR_MS).rows.num_rows == 1


some_events = st.builds(
    framed,
    event_id=st.sampled_from(["1", "2", "3", "4", "5"]),
    revision=st.integers(-1, 1),
    input_tokens=st.sampled_from([0, 1, 700, 10**9, 2**40]),
    cache_read_tokens=st.sampled_from([0, 1, 500]),
    model=st.sampled_from(["claude-sonnet-4-5", "gpt-4o", "unheard-of"]),
    tags=st.dictionaries(st.sampled_from("ab"), st.text(max_size=70), max_size=2),
    occurred_at=st.sampled_from([OCCURRED_US, 0, OCCURRED_US + DAY_US]),
)
damaged = st.tuples(some_events, st.integers(0, 60), st.integers(0, 255)).map(
    lambda made: made[0][: made[1]] + bytes([made[2]]) + made[0][made[1] + 1 :]
)
some_values = st.lists(st.one_of(some_events, damaged, st.binary(max_size=12)), max_size=80)


@settings(deadline=None, max_examples=150)
@given(some_values, st.integers(0, 10**12))
def test_every_offset_is_in_exactly_one_place_in_order(values: list[bytes], first_offset: int) -> None:
    result = rated(values, first_offset=first_offset)
    rows, rejects = result.rows.column("src_offset").to_pylist(), result.rejects.column("src_offset").to_pylist()
    assert rows == sorted(rows)
    assert rejects == sorted(rejects)
    assert sorted(rows + rejects) == list(range(first_offset, first_offset + len(values)))


def test_the_same_bytes_are_refused_in_the_same_words() -> None:
    [reject] = rated([framed()[:30]]).rejects.to_pylist()
    assert reject["detail"].startswith("value: not a record of its schema (EOFError")
    assert "0x" not in reject["detail"]


@settings(deadline=None, max_examples=150)
@given(some_values, st.data())
def test_where_a_batch_is_cut_changes_nothing(values: list[bytes], data: st.DataObject) -> None:
    whole, seen, revisions = rated(values), Seen(), Revisions()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    pieces = [
        rated(values[start:end], seen, first_offset=start, revisions=revisions)
        for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True)
    ]
    assert [row for piece in pieces for row in piece.rows.to_pylist()] == whole.rows.to_pylist()
    assert [row for piece in pieces for row in piece.rejects.to_pylist()] == whole.rejects.to_pylist()
