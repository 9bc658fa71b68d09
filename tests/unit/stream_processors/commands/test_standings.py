"""How limits stand, as people read them."""

from decimal import Decimal

import pytest

from stream_processors.commands.standings import bar, percent, standing_cells


@pytest.mark.parametrize(
    ("used", "drawn"),
    [
        ("0", "··········"),
        ("9.999", "··········"),  # a cell is a whole tenth
        ("75", "███████···"),
        ("99.999999999999", "█████████·"),
        ("100", "██████████"),
        ("1000", "██████████"),
        ("-5", "··········"),  # reversed more than was used
    ],
)
def test_a_bar_has_a_cell_for_each_whole_tenth(used: str, drawn: str) -> None:
    assert bar(Decimal(used), Decimal(100)) == drawn


def test_a_percentage_is_never_rounded_up() -> None:
    assert percent({"used": "149.999999999999", "limit": "150.00"}) == "99.9"
    assert percent({"used": "150", "limit": "150.00"}) == "100.0"


def test_what_is_estimated_is_marked() -> None:
    row = {"used": "6.00", "limit": "10.00", "unit": "cost", "remaining": "4.00", "projected": "9", "decision": "alert"}
    row |= {"seconds_left": 86_400, "current": True, "window_kind": "month"}
    assert standing_cells(row | {"estimated": "2.00"})[0] == "6.00 (2.00 estimated)"
    assert standing_cells(row | {"estimated": "0"})[0] == "6.00"
