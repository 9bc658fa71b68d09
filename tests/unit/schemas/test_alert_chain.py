"""Which records of `usage.alerts` belong to the chain of their partition."""

from schemas.alert_chain import extends_head, extends_of


def test_the_link_is_read_from_the_headers() -> None:
    assert extends_of([("other", b"x"), ("extends", b"-1")]) == -1
    assert extends_of([("other", b"1"), ("extends", b"17")]) == 17
    assert extends_of([("other", b"x")]) is None
    assert extends_of(None) is None


def test_only_the_head_is_extended() -> None:
    assert extends_head(-1, -1, 0)
    assert extends_head(4, 4, 0)
    assert not extends_head(3, 4, 0)


def test_where_the_log_begins_later_the_first_record_extends_what_is_gone() -> None:
    assert extends_head(97, -1, 100)
    assert not extends_head(97, 100, 100)
    assert not extends_head(100, -1, 100)
