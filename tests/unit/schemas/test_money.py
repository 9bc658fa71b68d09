"""Dollars and pico-dollars are the same amount, exactly, or an error."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import PICO, grouped, to_pico, to_usd, usd_text

PICOS = st.one_of(st.integers(-(1 << 127), 1 << 127), st.sampled_from([0, 1, -1, PICO, -PICO, 10 * PICO]))


@given(PICOS)
def test_there_and_back(pico: int) -> None:
    assert to_pico(to_usd(pico)) == pico
    assert to_pico(usd_text(pico)) == pico
    assert to_pico(str(to_usd(pico))) == pico


@given(PICOS)
def test_dollars_have_twelve_decimals_and_text_at_least_two(pico: int) -> None:
    assert to_usd(pico).as_tuple().exponent == -12
    whole, decimals = usd_text(pico).lstrip("-").split(".")
    assert whole == str(abs(pico) // PICO)
    assert 2 <= len(decimals) <= 12
    assert len(decimals) == 2 or decimals[-1] != "0"


@pytest.mark.parametrize(
    ("pico", "text"), [(0, "0.00"), (2_500_000, "0.0000025"), (12_500_000_000_000, "12.50"), (-1, "-0.000000000001")]
)
def test_texts(pico: int, text: str) -> None:
    assert usd_text(pico) == text


@pytest.mark.parametrize("usd", ["150.00", "1.5e2", " 150 ", "150.000000000000000", "1_50", Decimal("1.5E+2")])
def test_amounts_may_be_written_in_many_ways(usd: str | Decimal) -> None:
    assert to_pico(usd) == 150 * PICO


@pytest.mark.parametrize(
    "usd",
    [
        "0.0000000000001",
        "1." + "0" * 70 + "1",  # would be whole if it were rounded first
        "9" * 50 + "." + "9" * 13,
        "nan",
        "sNaN",
        "-inf",
        "",
        "abc",
        "1,50",
        "$1",
        Decimal("NaN"),
    ],
)
def test_what_is_no_whole_number_of_pico_dollars_is_refused(usd: str | Decimal) -> None:
    with pytest.raises(ValueError, match="whole pico-dollars"):
        to_pico(usd)


@given(st.integers(-(10**40), 10**40))
def test_grouping_changes_no_digit(pico: int) -> None:
    text = grouped(usd_text(pico))
    assert text.replace(",", "") == usd_text(pico)
    assert all(len(group) == 3 for group in text.split(".")[0].split(",")[1:])
    assert grouped("-1234567") == "-1,234,567"
