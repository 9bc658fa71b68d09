"""What a URL and its headers ask for."""

import pytest

from local.clickhouse.errors import ClickHouseError
from local.clickhouse.request import read


def test_arguments_are_told_apart() -> None:
    url = {"query": "SELECT 1", "param_x": "it's", "max_threads": "2", "database": "d", "wait_end_of_query": "1"}
    asked = read(url.items(), {}, "new")
    assert (asked.query, asked.database, asked.query_id, asked.wait_end_of_query) == ("SELECT 1", "d", "new", True)
    assert asked.params == {"x": "it's"}
    assert asked.settings == {"max_threads": "2"}
    assert asked.default_format == "TabSeparated"


def test_headers_and_repeats() -> None:
    headers = {"X-ClickHouse-Format": "JSON", "X-ClickHouse-Database": "h"}
    asked = read([("query_id", "a"), ("query_id", "b")], headers, "new")
    assert (asked.query_id, asked.default_format, asked.database) == ("b", "JSON", "h")


def test_session_time_out_is_bounded() -> None:
    assert read([("session_timeout", "999999")], {}, "").session_timeout_s == 3600


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("buffer_size", "big", 36),
        ("buffer_size", "-1", 36),
        ("session_timeout", "²", 36),
        ("wait_end_of_query", "yes", 36),
        ("a = 1, b", "2", 36),
        ("default_format", "CSV'", 73),
    ],
)
def test_bad_values_name_themselves(name: str, value: str, code: int) -> None:
    with pytest.raises(ClickHouseError) as refused:
        read([(name, value)], {}, "")
    assert refused.value.code == code
    assert (value if name == "default_format" else name) in str(refused.value)
