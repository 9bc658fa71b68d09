"""Which events cannot be booked, and what their senders are told."""

from typing import Any

import numpy as np
import pytest
from rating_events import OCCURRED_US, columns

from stream_processors.core.validate import breaches

TOKENS = {"input_tokens": 1000, "output_tokens": 300}
MINUTE_US = 60_000_000
YEAR_2100_US = 4_102_444_800_000_000


def found(*events: dict[str, Any], booked_us: int = OCCURRED_US) -> dict[int, tuple[str, str]]:
    return breaches(columns([TOKENS | event for event in events]), np.full(len(events), booked_us, np.int64))


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"source": "s" * 129}, "invalid", "length of source = 129: 1 to 128 characters"),
        ({"event_id": "é" * 129}, "invalid", "length of event_id = 129: 1 to 128 characters"),
        ({"organization": ""}, "invalid", "length of organization = 0: 1 to 128 characters"),
        ({"provider": ""}, "invalid", "length of provider = 0: at least 1 character"),
        ({"model": ""}, "invalid", "length of model = 0: at least 1 character"),
        ({"kind": "refund"}, "invalid", "kind = 'refund': one of usage, provisional, final, adjustment"),
        ({"service_tier": "turbo"}, "invalid", "service_tier = 'turbo': one of default, batch, flex, priority"),
        ({"status": "odd"}, "invalid", "status = 'odd': one of ok, error, cancelled"),
        ({"revision": -1}, "invalid", "revision = -1: not negative"),
        ({"reasoning_tokens": -5}, "invalid", "reasoning_tokens = -5: not negative"),
        ({"latency_ms": -1}, "invalid", "latency_ms = -1: not negative"),
        ({"time_to_first_token_ms": -1}, "invalid", "time_to_first_token_ms = -1: not negative"),
        ({"max_output_tokens": -1}, "invalid", "max_output_tokens = -1: not negative"),
        ({"units": [("a", 1), ("b", -1)]}, "invalid", "least of units = -1: not negative"),
        ({"input_parts": [("a", -1)]}, "invalid", "least of input_parts = -1: not negative"),
        (
            {"attachments": [{"file_id": "f", "name": "", "bytes": 1, "tokens": -2}]},
            "invalid",
            "least tokens of attachments = -2: not negative",
        ),
        (
            {"cache_write_1h_tokens": 1},
            "parts_exceed_whole",
            "cache_write_1h_tokens = 1, cache_write_tokens = 0: cache_write_1h_tokens is part of cache_write_tokens",
        ),
        (
            {"input_audio_tokens": 600, "input_image_tokens": 401},
            "parts_exceed_whole",
            "input_audio_tokens = 600, input_image_tokens = 401, input_tokens = 1000: "
            "input_audio_tokens + input_image_tokens is part of input_tokens",
        ),
        (
            {"reasoning_tokens": 301},
            "parts_exceed_whole",
            "reasoning_tokens = 301, output_tokens = 300: reasoning_tokens is part of output_tokens",
        ),
        (
            {"output_audio_tokens": 301},
            "parts_exceed_whole",
            "output_audio_tokens = 301, output_tokens = 300: output_audio_tokens is part of output_tokens",
        ),
        (
            {"input_parts": [("message", 600), ("files", 401)]},
            "parts_exceed_whole",
            "sum of input_parts = 1001, input_tokens = 1000: sum of input_parts is part of input_tokens",
        ),
        (
            {"attachments": [{"file_id": name, "name": "", "bytes": 0, "tokens": 501} for name in ("f", "g")]},
            "parts_exceed_whole",
            "sum of attachments' tokens = 1002, input_tokens = 1000: "
            "sum of attachments' tokens is part of input_tokens",
        ),
        (
            {"cache_read_tokens": 9, "input_audio_tokens": 5, "units": [("cache_audio_read_tokens", 6)]},
            "parts_exceed_whole",
            "units.cache_audio_read_tokens = 6, input_audio_tokens = 5: "
            "units.cache_audio_read_tokens is part of input_audio_tokens",
        ),
        (
            {"output_parts": [("text", 2**62), ("tool", 2**62), ("rest", 2**62)]},
            "parts_exceed_whole",
            "output_tokens = 300: sum of output_parts is part of output_tokens",
        ),
        (
            {"occurred_at": OCCURRED_US + 5 * MINUTE_US + 1},
            "future",
            "occurred_at = 2026-09-21T14:18:20.000001Z: at most 5 minutes after it was booked "
            "(2026-09-21T14:13:20.000000Z)",
        ),
        (
            {"occurred_at": 1_420_070_400_000_000 - 1},
            "out_of_range",
            "occurred_at = 2014-12-31T23:59:59.999999Z: from 2015-01-01 to before 2100-01-01",
        ),
        ({"output_tokens": 10**9 + 1}, "too_large", "output_tokens = 1000000001: at most 1000000000"),
        ({"units": [("a", 1), ("b", 10**9 + 1)]}, "too_large", "most of units = 1000000001: at most 1000000000"),
    ],
)
def test_a_broken_rule_is_named_and_the_neighbours_pass(fields: dict[str, Any], reason: str, detail: str) -> None:
    verdict = found({}, fields, {})
    assert list(verdict) == [1]
    assert verdict[1][0] == reason
    assert detail in verdict[1][1]


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "s" * 128, "event_id": "é" * 128},
        {"cache_read_tokens": 600, "cache_write_tokens": 400, "cache_write_1h_tokens": 400},
        {"input_audio_tokens": 600, "input_image_tokens": 400, "cache_read_tokens": 1000},
        {"reasoning_tokens": 300, "output_audio_tokens": 300},
        {"input_parts": [("a", 600), ("b", 400)], "output_parts": [("a", 300)]},
        {"cache_read_tokens": 9, "input_audio_tokens": 5, "units": [("cache_audio_read_tokens", 5)]},
        {"units": [("output_image_tokens", 300), ("web_search", 9_999), ("parsec", 9_999)]},
        {"occurred_at": OCCURRED_US + 5 * MINUTE_US},
        {"occurred_at": 1_420_070_400_000_000},
        {"input_tokens": 10**9, "output_tokens": 10**9},
        {"input_tokens": 0, "output_tokens": 0, "units": [("a", 10**9)]},
        {"latency_ms": None, "max_output_tokens": None, "status": "error", "service_tier": "batch"},
    ],
)
def test_the_edge_is_inside(fields: dict[str, Any]) -> None:
    assert found(fields) == {}


def test_the_last_instant_of_the_ledger() -> None:
    at = {"occurred_at": YEAR_2100_US - 1}, {"occurred_at": YEAR_2100_US}
    assert {row: reason for row, (reason, _) in found(*at, booked_us=YEAR_2100_US).items()} == {1: "out_of_range"}


def test_the_first_reason_in_the_stated_order_is_given() -> None:
    everything = {
        "organization": "",
        "cache_read_tokens": 2 * 10**9,
        "occurred_at": YEAR_2100_US,
    }
    assert found(everything)[0][0] == "invalid"
    assert found(everything | {"organization": "o"})[0][0] == "parts_exceed_whole"
    assert found({"input_tokens": 2 * 10**9, "occurred_at": YEAR_2100_US})[0][0] == "future"


def test_no_events_no_breaches() -> None:
    assert found() == {}
