"""A replay keeps what the trace says, adds a seeded overlay, and repeats exactly."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from producers.batches import encode_batch
from producers.replay import HOUR_US, load, replayed
from schemas.arrow import EVENT_COLUMNS

DATA = Path(__file__).parents[4] / "shared" / "data"
AZURE = [DATA / "AzureLLMInferenceTrace_code.csv", DATA / "AzureLLMInferenceTrace_conv.csv"]
NOW = 1_767_700_000_000_000
MOONCAKE = '{"timestamp": 27, "input_length": 700, "output_length": 1, "hash_ids": [1, 2]}\n'


def events(files: list[Path], seed: int = 0, now: int | None = NOW) -> pa.Table:
    batches = replayed(load(files, None, seed, now))
    return pa.Table.from_batches(batches, schema=EVENT_COLUMNS).unify_dictionaries()


def test_both_azure_traces_have_their_sums_after_the_overlay() -> None:
    table = events(AZURE)
    assert table.num_rows == 28_185
    assert pc.sum(table["input_tokens"]).as_py() == 18_059_974 + 22_361_870
    assert pc.sum(table["output_tokens"]).as_py() == 245_896 + 4_088_665
    for name in ("organization", "department", "user", "project", "model", "provider"):
        assert "" not in table[name].cast(pa.string()).to_pylist()


def test_events_come_by_time_and_the_last_is_in_the_hour_before_now() -> None:
    at = events(AZURE)["occurred_at"].cast(pa.int64()).to_numpy()
    assert (at[1:] >= at[:-1]).all()
    assert NOW - HOUR_US < at[-1] <= NOW


def test_original_times_are_kept() -> None:
    at = events(AZURE, now=None)["occurred_at"]
    assert pc.min(at).as_py().isoformat() == "2023-11-16T18:15:46.680590+00:00"


def test_the_same_seed_in_the_same_hour_has_the_same_bytes() -> None:
    def values(now: int) -> list[bytes]:
        return [v for batch in replayed(load(AZURE[:1], None, 3, now)) for v in encode_batch(batch, 1)]

    assert values(NOW) == values(NOW + 1_000_000)


def test_ids_hang_on_seed_and_content_alone(tmp_path: Path) -> None:
    copy = tmp_path / "renamed.csv"
    copy.write_bytes(AZURE[0].read_bytes())
    one = set(events([copy])["event_id"].to_pylist())
    assert one == set(events(AZURE[:1], now=None)["event_id"].to_pylist())
    assert not one & set(events(AZURE[:1], seed=1)["event_id"].to_pylist())
    assert not one & set(events(AZURE[1:])["event_id"].to_pylist())


def test_a_trace_without_dates_has_no_original_times(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(MOONCAKE)
    with pytest.raises(ValueError, match="format mooncake has times since its start"):
        events([path], now=None)
    at = events([path])["occurred_at"].cast(pa.int64())[0].as_py()
    assert at % HOUR_US == 27_000
    assert NOW - HOUR_US < at <= NOW


def test_files_of_two_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(MOONCAKE)
    with pytest.raises(ValueError, match="one format at a time"):
        events([*AZURE, path])


def test_an_event_that_says_who_and_what_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"event_id": "e-1", "source": "gw", "organization": "umbrella", "occurred_at": "2026-01-01T00:00:00Z",'
        ' "provider": "openai", "model": "gpt-4o", "tags": {"a": "b"}, "units": {"web_search": 1}}\n'
        '{"occurred_at": "2026-01-01T00:00:01Z", "input_tokens": 5, "user": "nobody"}\n'
    )
    kept, filled = events([path], now=None).to_pylist(maps_as_pydicts="strict")
    names = ("event_id", "source", "organization", "department", "user", "project", "provider", "model")
    assert [kept[name] for name in names] == ["e-1", "gw", "umbrella", "", "", "", "openai", "gpt-4o"]
    assert (kept["tags"], kept["units"]) == ({"a": "b"}, {"web_search": 1})
    assert filled["source"] == "replay-jsonl"
    assert filled["user"] == "nobody"
    assert all(filled[name] for name in names)
    # Moved in time, it is another event.
    moved = events([path])["event_id"].to_pylist()
    assert "e-1" not in moved
    assert filled["event_id"] in moved


def test_burstgpt_files_with_and_without_sessions_go_together(tmp_path: Path) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,10,20,30,API log\n")
    new.write_text(
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "6,s-1,1.5,GPT-4,7,0,7,Conversation log\n"
    )
    first, second = events([new, old]).to_pylist()
    assert (first["model"], first["latency_ms"], first["integration"]) == ("gpt-3.5-turbo", None, "API log")
    assert (second["session"], second["status"], second["latency_ms"]) == ("s-1", "error", 1500)
    assert first["session"].startswith("session-")
