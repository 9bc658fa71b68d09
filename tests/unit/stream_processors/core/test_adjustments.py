"""Adjustments: what each type books, what it must state, and that the second opinion agrees."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_events import BOOKED_MS, batch, framed, schema_of

from schemas.arrow import MEASURES
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import Rated, rate
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen
from stream_processors.reference import Partition

BOOK = PriceBook.compiled()
ADJUSTMENT: dict[str, Any] = {
    "event_id": "a1",
    "kind": "adjustment",
    "adjustment_type": "reversal",
    "corrects": "e1",
    "reason": "sent twice",
    "author": "mia",
}


def adjusting(**fields: Any) -> bytes:
    return framed(**ADJUSTMENT | {"input_tokens": 0, "output_tokens": 0} | fields)


def rated(*values: bytes) -> Rated:
    return rate(batch(values), schema_of, BOOK, Seen(), Revisions())


def test_usage_and_its_reversal_add_up_to_nothing() -> None:
    # 1 000 x 3.00 + 300 x 15.00 a million: 0.0075 dollars
    amount = 1000 * 3_000_000 + 300 * 15_000_000
    rows = rated(framed(), adjusting(input_tokens=-1000, output_tokens=-300, amount_pico=-amount)).rows.to_pylist()
    assert [row["cost_pico"] for row in rows] == [7_500_000_000, -7_500_000_000]
    assert [sum(row[name] for row in rows) for name in MEASURES] == [0] * len(MEASURES)
    assert (rows[1]["corrects"], rows[1]["reason"], rows[1]["author"]) == ("e1", "sent twice", "mia")


def test_unpriced_usage_and_its_reversal_add_up_to_nothing() -> None:
    rows = rated(framed(model="unheard-of"), adjusting(input_tokens=-1000, output_tokens=-300)).rows.to_pylist()
    assert [row["cost_pico"] for row in rows] == [None, None]
    assert [row["unpriced_requests"] for row in rows] == [1, -1]
    assert [sum(row[name] for row in rows) for name in MEASURES] == [0] * len(MEASURES)


@pytest.mark.parametrize(
    ("adjustment_type", "amount_pico", "requests", "unpriced_requests"),
    [
        ("reversal", -5, -1, 0),
        ("reversal", None, -1, -1),
        ("reinstatement", 5, 1, 0),
        ("reinstatement", None, 1, 1),
        ("correction", 5, 0, 0),
        ("correction", None, 0, 0),
        ("re-rating", 5, 0, 0),
        ("pricing", 5, 0, -1),
        ("unpricing", -5, 0, 1),
        ("credit", -5, 0, 0),
        ("allocation", 5, 0, 0),
        ("settlement", 5, 0, 0),
        ("manual", 0, 0, 0),
    ],
)
def test_the_type_decides_what_is_counted(
    adjustment_type: str, amount_pico: int | None, requests: int, unpriced_requests: int
) -> None:
    (row,) = rated(adjusting(adjustment_type=adjustment_type, amount_pico=amount_pico)).rows.to_pylist()
    assert (row["cost_pico"], row["requests"], row["unpriced_requests"]) == (amount_pico, requests, unpriced_requests)


def test_a_credit_names_neither_model_nor_event() -> None:
    fields = {"adjustment_type": "credit", "corrects": "", "provider": "", "model": "", "amount_pico": -(10**12)}
    (row,) = rated(adjusting(**fields)).rows.to_pylist()
    assert (row["model"], row["cost_pico"], row["requests"]) == ("", -(10**12), 0)


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"adjustment_type": "refund"}, "invalid", "adjustment_type = 'refund': one of reversal, reinstatement, "),
        ({"revision": 2}, "invalid", "revision = 2: an adjustment has none"),
        ({"reason": ""}, "invalid", "length of reason = 0: at least 1 character"),
        ({"author": ""}, "invalid", "length of author = 0: at least 1 character"),
        ({"corrects": ""}, "invalid", "corrects = '': adjustment_type = 'reversal' names an event_id"),
        ({"corrects": "x" * 129}, "invalid", "length of corrects = 129: at most 128"),
        (
            {"adjustment_type": "credit"},
            "invalid",
            "amount_pico = null: adjustment_type = 'credit' states an amount",
        ),
        ({"input_parts": {"text": -1}}, "invalid", "least of input_parts = -1: not negative"),
        ({"output_tokens": -(10**9) - 1}, "too_large", "output_tokens = -1000000001: at least -1000000000"),
        ({"input_tokens": 10**9 + 1}, "too_large", "input_tokens = 1000000001: at most 1000000000"),
        ({"occurred_at": 0}, "out_of_range", "occurred_at = 1970-01-01"),
    ],
)
def test_a_broken_rule_names_field_value_and_rule(fields: dict[str, Any], reason: str, detail: str) -> None:
    result = rated(framed(event_id="before"), adjusting(**fields), adjusting(event_id="after"))
    assert result.rows.column("event_id").to_pylist() == ["before", "after"]
    (reject,) = result.rejects.to_pylist()
    assert reject["reason"] == reason
    assert reject["detail"].startswith(detail)


def test_usage_beside_an_adjustment_keeps_its_own_rules() -> None:
    values = [framed(event_id="n", output_tokens=-1), adjusting(output_tokens=-1), framed(event_id="m", model="")]
    result = rated(*values)
    assert result.rows.column("event_id").to_pylist() == ["a1"]
    assert result.rejects.column("detail").to_pylist() == [
        "output_tokens = -1: not negative",
        "length of model = 0: at least 1 character",
    ]


def test_an_adjustment_sent_again_is_counted_once() -> None:
    assert rated(adjusting(), adjusting()).rejects.column("reason").to_pylist() == ["duplicate"]
    assert rated(adjusting(), adjusting(reason="other")).rejects.column("reason").to_pylist() == ["conflict"]


signed = st.sampled_from([0, 0, 1, -1, 700, -700, 10**9, -(10**9), 2**40, -(2**40)])
entries = st.builds(
    framed,
    event_id=st.sampled_from(["1", "2", "3", "4", "5", "6", "7"]),
    kind=st.sampled_from(["adjustment", "adjustment", "usage"]),
    adjustment_type=st.sampled_from(["", "reversal", "reinstatement", "pricing", "credit", "manual", "odd"]),
    corrects=st.sampled_from(["", "1", "9"]),
    amount_pico=st.sampled_from([None, 0, -5, 10**18]),
    reason=st.sampled_from(["why", "why", ""]),
    author=st.sampled_from(["who", "who", ""]),
    revision=st.sampled_from([0, 0, 0, 1]),
    input_tokens=signed,
    output_tokens=signed,
    cache_read_tokens=signed,
    units=st.dictionaries(st.just("image"), st.sampled_from([-1, 1]), max_size=1),
    model=st.sampled_from(["claude-sonnet-4-5", "unheard-of", ""]),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(entries, max_size=30))
def test_the_second_opinion_comes_to_the_same_verdicts(values: list[bytes]) -> None:
    result = rated(*values)
    rows = {row["src_offset"]: row for row in result.rows.to_pylist()}
    reasons = {row["src_offset"]: row["reason"] for row in result.rejects.to_pylist()}
    judge = Partition(schema_of)
    for offset, value in enumerate(values):
        verdict = judge.judge(value, BOOKED_MS * 1000)
        assert reasons.get(offset, "") == verdict.reason, offset
        if not verdict.reason:
            assert verdict.values is not None
            names = verdict.values.keys() - {"occurred_at"}
            assert {n: rows[offset][n] for n in names} == {n: verdict.values[n] for n in names}
