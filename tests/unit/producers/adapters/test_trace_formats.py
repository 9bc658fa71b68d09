"""Readers of traces: the figures of real files, and errors that name file, line, field, value and rule."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from producers.adapters import FORMATS, guess_format
from producers.adapters.trace import TraceError

DATA = Path(__file__).parents[5] / "shared" / "data"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
BURST_V1 = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
JSONL = '{"event_id": "e-1", "organization": "acme", "occurred_at": "2026-01-01T00:00:00Z", "input_tokens": 5}\n'


@pytest.fixture
def trace(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Writes a trace file and reads it in the format that its first line shows."""

    def read(text: str) -> pa.Table:
        path = tmp_path / "trace"
        path.write_text(text)
        return FORMATS[guess_format(path)].read(path)

    return read


@pytest.mark.parametrize(
    ("name", "requests", "given", "made"),
    [("code", 8_819, 18_059_974, 245_896), ("conv", 19_366, 22_361_870, 4_088_665)],
)
def test_azure_traces_have_their_published_sums(name: str, requests: int, given: int, made: int) -> None:
    path = DATA / f"AzureLLMInferenceTrace_{name}.csv"
    assert guess_format(path) == "azure"
    table = FORMATS["azure"].read(path)
    assert table.num_rows == requests
    assert pc.sum(table["input_tokens"]).as_py() == given
    assert pc.sum(table["output_tokens"]).as_py() == made
    at = table["occurred_at"].cast(pa.int64())
    span = {"code": 3_435.9, "conv": 3_501.7}[name]
    assert (pc.max(at).as_py() - pc.min(at).as_py()) / 1e6 == pytest.approx(span, abs=0.1)


def test_azure_times_keep_their_microseconds(trace) -> None:  # type: ignore[no-untyped-def]
    table = trace(AZURE + "2023-11-16 18:17:03.9799609,4808,10\n2023-11-16 18:17:04,1,2")
    assert table["occurred_at"].cast(pa.int64()).to_pylist() == [1700158623979960, 1700158624000000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (AZURE + "2023-11-16 18:17:03,1,2\n2023-11-16 18:17:04,-3,2\n",
         r"trace: line 3: ContextTokens = '-3': a whole number"),
        (AZURE + "2023-11-16 18:17:03,1000000001,2\n", r"line 2: ContextTokens = '1000000001': a whole number, 0 to"),
        (AZURE + "2023-11-16 18:17:03,1,2.5\n", r"line 2: GeneratedTokens = '2.5': a whole number"),
        (AZURE + "2023-11-16 18:17:03,1,\n", r"line 2: GeneratedTokens = '': a whole number"),
        (AZURE + "2023-13-16 18:17:03,1,2\n", r"line 2: TIMESTAMP = '2023-13-16 18:17:03': a time"),
        (AZURE + "2023-11-16 18:17:03,1,2\nyesterday,1,2\n", r"line 3: TIMESTAMP = 'yesterday': a time"),
        (AZURE + "2023-11-16 18:17:03,1\n", r"line 2: line = .*: 3 fields, not 2"),
        (AZURE + "2023-11-16 18:17:03,1,2\n\n2023-11-16 18:17:03,1,2\n", r"line 3: TIMESTAMP = '': a time"),
        (BURST_V1 + "5,ChatGPT,10,20,30,API log\n6,ChatGPT,10,20,31,API log\n",
         r"line 3: Total tokens = '31': Request tokens \+ Response tokens = 30"),
        (BURST_V1 + "-5,ChatGPT,10,20,30,API log\n", r"line 2: Timestamp = '-5': seconds"),
        (BURST + "5,,x,ChatGPT,10,20,30,API log\n", r"line 2: Elapsed time = 'x': seconds"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}\n{"hash_ids": [1]}\n',
         r"line 2: timestamp = 'None': a whole number"),
        ('{"timestamp": 0, "input_length": "5", "output_length": 1, "hash_ids": [1]}\n',
         r"line 1: input_length = '5': a whole number"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}\n[]\n', r"line 2: .*a JSON object"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": ["a"]}\n',
         r"line 1: hash_ids = .*a list of whole numbers"),
        (JSONL + "{broken\n", r"line 2: line = .*a JSON object"),
        (JSONL + JSONL.replace('5}', '"5"}'), r"line 2: event = 'e-1': input_tokens = '5': Input should be"),
        (JSONL + JSONL.replace("00Z", "00"), r"line 2: event = 'e-1': occurred_at = .*a time has a zone"),
        (JSONL.replace('5}', '5, "cache_read_tokens": 6}'), r"cache_read_tokens \+ cache_write_tokens = 6: at most"),
    ],
)  # fmt: skip
def test_a_malformed_line_is_named(trace, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TraceError, match=message):
        trace(text)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP,ContextTokens\n")
    with pytest.raises(TraceError, match=r"line 1: header = .*a column 'GeneratedTokens'"):
        FORMATS["azure"].read(path)


def test_a_file_of_no_known_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello\n")
    with pytest.raises(ValueError, match="not the start of any of azure, burstgpt, mooncake, jsonl"):
        guess_format(path)


def test_burstgpt_names_models_and_failures(trace) -> None:  # type: ignore[no-untyped-def]
    table = trace(BURST + "5.25,s-1,1.5,ChatGPT,10,20,30,Conversation log\n45,,0,GPT-4,7,0,7,API log\n")
    assert table["occurred_at"].cast(pa.int64()).to_pylist() == [5_250_000, 45_000_000]
    assert table["model"].to_pylist() == ["gpt-3.5-turbo", "gpt-4"]
    assert table["status"].to_pylist() == ["ok", "error"]
    assert table["session"].to_pylist() == ["s-1", ""]
    assert table["latency_ms"].to_pylist() == [1500, 0]


def test_mooncake_counts_the_leading_run_of_known_blocks_as_cached(trace) -> None:  # type: ignore[no-untyped-def]
    line = '{{"timestamp": {}, "input_length": {}, "output_length": 9, "hash_ids": {}}}\n'
    table = trace(
        line.format(0, 1500, [1, 2, 3])  # nothing known
        + line.format(27, 2000, [1, 2, 7, 3])  # 3 is known, but behind a block that is not
        + line.format(30, 1100, [1, 2, 3])  # the last block is not full
        + line.format(31, 100, [])
    )
    assert table["cache_read_tokens"].to_pylist() == [0, 1024, 1100, 0]
    assert table["occurred_at"].cast(pa.int64()).to_pylist() == [0, 27_000, 30_000, 31_000]


def test_jsonl_leaves_to_the_replay_what_a_line_leaves_out(trace) -> None:  # type: ignore[no-untyped-def]
    table = trace(JSONL)
    assert table.select(["event_id", "organization", "model", "source"]).to_pylist() == [
        {"event_id": "e-1", "organization": "acme", "model": "", "source": ""}
    ]


@pytest.mark.parametrize("header", [AZURE, BURST, BURST_V1])
def test_a_trace_without_requests_is_empty(trace, header: str) -> None:  # type: ignore[no-untyped-def]
    assert trace(header).num_rows == 0
