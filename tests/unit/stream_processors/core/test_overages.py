"""Overages of plans: what lies beyond the included tokens of a month; a function of totals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.overages import Overage, overage_pico, overages_due
from stream_processors.core.price_file import only, parse_prices
from stream_processors.core.running_totals import Cell, Place

PICO = 10**12
JANUARY, FEBRUARY = 1_767_225_600_000_000, 1_769_904_000_000_000
RULES = """
[[overage]]
id = "solo"

[[overage.range]]
from = 2026-01-01T00:00:00Z
included_tokens = 500_000
per_million = "4.00"

[[overage]]
id = "acme-pro"
organization = "acme"

[[overage.range]]
from = 2026-02-01T00:00:00Z
included_tokens = 10_000_000
per_million = "2.50"

[[overage]]
id = "openai"
provider = "OpenAI"

[[overage.range]]
from = 2026-01-01T00:00:00Z
to = 2026-02-01T00:00:00Z
included_tokens = 0
per_million = "1"
"""
OVERAGES = only(Overage, parse_prices(RULES, "prices.toml"))
[SOLO] = OVERAGES[0].ranges


@pytest.mark.parametrize(
    ("tokens", "pico"),
    [(-1, 0), (0, 0), (500_000, 0), (500_001, 4_000_000), (1_250_000, 3 * PICO)],
)
def test_what_is_included_is_free_and_the_rest_is_charged(tokens: int, pico: int) -> None:
    """1 250 000: 750 000 x 4.00 a million."""
    assert overage_pico(SOLO, tokens) == pico


def test_each_organization_by_its_own_plan_and_each_provider_s_rule_beside_it() -> None:
    cells = [
        Cell(JANUARY, JANUARY, "acme", "openai", 0, 1_000_000),
        Cell(JANUARY, JANUARY, "acme", "mistral", 0, 500_000),
        Cell(FEBRUARY, FEBRUARY, "acme", "openai", 0, 12_000_000),
        Cell(FEBRUARY, FEBRUARY, "b", "openai", 0, 400_000),
    ]
    assert overages_due(cells, OVERAGES) == {
        Place("solo", "acme", "", JANUARY): 4 * PICO,  # 1 500 000 - 500 000
        Place("openai", "acme", "openai", JANUARY): 1 * PICO,
        Place("acme-pro", "acme", "", FEBRUARY): 5 * PICO,  # 12 000 000 - 10 000 000, at 2.50
        Place("solo", "b", "", FEBRUARY): 0,
    }


CELLS = st.lists(
    st.builds(
        Cell,
        st.just(JANUARY),
        st.sampled_from([JANUARY, FEBRUARY]),
        st.sampled_from(["acme", "b"]),
        st.sampled_from(["openai", "OpenAI", "mistral"]),
        st.just(0),
        st.integers(-(10**6), 10**8),
    ),
    max_size=8,
)


@given(CELLS, st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_division_of_usage_matters(cells: list[Cell], random: object) -> None:
    assert hasattr(random, "shuffle")
    shuffled = [part for cell in cells for part in (cell._replace(tokens=cell.tokens - 7), cell._replace(tokens=7))]
    random.shuffle(shuffled)
    assert overages_due(shuffled, OVERAGES) == overages_due(cells, OVERAGES)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("500_000", "-1", "overage solo: range.0.included_tokens = -1"),
        ("500_000", "0.5", "overage solo: range.0.included_tokens"),
        ('"4.00"', '"0"', "overage solo: range.0.per_million = '0': a price a million is more than 0"),
        ('"4.00"', '"100001"', "overage solo: range.0.per_million = '100001'"),
        (
            'organization = "acme"\n',
            "",
            "overage solo, range 2026-01-01T00:00:00Z to further notice and overage acme-pro",
        ),
    ],
)
def test_a_wrong_rule_is_named(old: str, new: str, told: str) -> None:
    assert old in RULES
    with pytest.raises(ValueError, match=r"^prices\.toml: ") as caught:
        parse_prices(RULES.replace(old, new, 1), "prices.toml")
    assert told in str(caught.value)
