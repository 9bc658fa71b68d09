"""A record of `usage.budgets` says which budget is in force."""

import orjson
import pytest

from stream_processors.budget_log import history_of
from stream_processors.core.budget_forms import to_record
from stream_processors.core.budget_history import Dated, in_force
from stream_processors.core.budgets import Budget

OLD = Budget("b", "*", "user", "*", "day", "tokens", 10, (100,), 1)
NEW = Budget("b", "*", "user", "*", "day", "tokens", 20, (100,), 2)
VALUE = orjson.dumps(to_record([Dated(1, OLD), Dated(2, NEW)]))


def test_the_newest_version_is_in_force() -> None:
    assert in_force(history_of(b"b", VALUE), 2) == NEW
    assert [dated.budget for dated in history_of(b"b", VALUE)] == [OLD, NEW]


@pytest.mark.parametrize("value", [None, b""])
def test_a_record_without_value_removes(value: bytes | None) -> None:
    assert history_of(b"b", value) == ()


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (b"other", VALUE, "must be the record's key"),
        (b"b", b"{", "unexpected end|EOF"),
        (b"b", b"[]", "TypeError"),
        (b"b", b'{"history": []}', "KeyError"),
        (b"b", VALUE.replace(b'"day"', b'"era"'), "period = 'era': must be one of hour, day, week"),
    ],
)
def test_a_bad_record_is_named(key: bytes, value: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=r"usage\.budgets: record of key .*(" + problem + ")"):
        history_of(key, value)
