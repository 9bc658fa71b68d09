"""Which records of the alert topic count."""

from notifiers.chain import Chain


def test_only_what_extends_the_head_counts() -> None:
    chain = Chain("e", 0, 0)
    assert chain.accepts(0, -1)
    assert not chain.accepts(1, -1)  # computed on a history that lost
    assert chain.accepts(2, 0)
    assert not chain.accepts(3, 0)
    assert chain.accepts(4, 2)
    assert (chain.head, chain.next_offset) == (4, 5)


def test_what_stands_beside_counts_and_moves_no_head() -> None:
    chain = Chain("e", 0, 0)
    assert chain.accepts(0, None)
    assert chain.accepts(1, -1)
    assert chain.head == 1


def test_where_the_log_begins_later_the_first_record_extends_what_is_gone() -> None:
    chain = Chain("e", 100, 100)
    assert chain.accepts(100, 97)
    assert not chain.accepts(101, 97)
    assert chain.accepts(102, 100)


def test_retention_is_passed_by_and_counted() -> None:
    chain = Chain("e", 0, 5, head=4)
    assert chain.skip_to(3) == 0
    assert chain.accepts(5, 4)
    assert chain.skip_to(50) == 44
    assert chain.accepts(50, 49)
    assert not chain.accepts(51, 49)
