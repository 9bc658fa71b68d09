"""Tax: on top of what a month comes to, by the rule of its time, rounded once a line; never part of a cost."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_file import only, parse_prices
from stream_processors.core.price_history import changes_between, differences, entries_at, histories_after
from stream_processors.core.taxes import Net, Tax, TaxLine, stretches, tax_at, tax_lines
from stream_processors.reference_prices import overrides_of
from stream_processors.versioned_log import to_bytes

RULES = """
[[tax]]
id = "vat"
organization = "acme"

[[tax.range]]
from = 2026-01-01T00:00:00Z
to = 2026-10-16T00:00:00Z
percent = "19"

[[tax.range]]
from = 2026-10-16T00:00:00Z
percent = "16.5"

[[tax]]
id = "reverse-charge"
organization = "acme"
provider = "OpenAI"

[[tax.range]]
from = 2026-01-01T00:00:00Z
percent = 0
"""


def us(*day: int) -> int:
    return int(datetime(*day, tzinfo=UTC).timestamp()) * 10**6  # type: ignore[arg-type,misc]


OCTOBER, CHANGE, NOVEMBER = us(2026, 10, 1), us(2026, 10, 16), us(2026, 11, 1)
TAXES = only(Tax, parse_prices(RULES, "prices.toml"))


def test_the_sums_of_a_month() -> None:
    nets = [
        Net("acme", "mistral", OCTOBER, 10 * 10**12, 0),
        Net("acme", "mistral", CHANGE, 2 * 10**12, 3),
        Net("acme", "openai", OCTOBER, 7 * 10**12, 0),
        Net("acme", "openai", CHANGE, 1 * 10**12, 0),
        Net("other", "openai", OCTOBER, 5, 0),
    ]
    assert tax_lines(nets, TAXES) == [
        TaxLine("acme", "mistral", "vat", Decimal("16.5"), 2 * 10**12, 330_000_000_000, 3),
        TaxLine("acme", "mistral", "vat", Decimal(19), 10 * 10**12, 1_900_000_000_000, 0),
        TaxLine("acme", "openai", "reverse-charge", Decimal(0), 8 * 10**12, 0, 0),
        TaxLine("other", "openai", None, None, 5, None, 0),  # no rule: not known, not 0
    ]


def test_a_rule_begins_at_its_first_microsecond() -> None:
    assert tax_at(TAXES, "acme", "mistral", CHANGE - 1) == ("vat", Decimal(19))
    assert tax_at(TAXES, "acme", "mistral", CHANGE) == ("vat", Decimal("16.5"))
    assert tax_at(TAXES, "acme", "mistral", us(2025, 12, 31)) is None
    assert stretches(TAXES, OCTOBER, NOVEMBER) == [(OCTOBER, CHANGE), (CHANGE, NOVEMBER)]
    assert stretches(TAXES, NOVEMBER, NOVEMBER + 1) == [(NOVEMBER, NOVEMBER + 1)]


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=9), st.decimals(0, 100, places=4))
def test_a_line_is_exact_and_rounded_once(costs: list[int], percent: Decimal) -> None:
    """However the month is cut: credits and reversals take their tax with them."""
    [tax, _] = TAXES
    ranges = tuple(dated.model_copy(update={"percent": percent}) for dated in tax.ranges)
    rule = [tax.model_copy(update={"ranges": ranges})]
    [line] = tax_lines([Net("acme", "", OCTOBER, cost, 0) for cost in costs], rule)
    assert line.net_pico == sum(costs)
    assert line.tax_pico == round(Fraction(percent) * sum(costs) / 100)
    [back] = tax_lines([Net("acme", "", OCTOBER, -cost, 0) for cost in costs], rule)
    assert back.tax_pico == -line.tax_pico


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"19"', '"101"', "tax vat: range.0.percent = '101': a tax is 0 to 100 percent"),
        ('"19"', '"-1"', "tax vat: range.0.percent = '-1'"),
        ('"19"', '"0.00001"', "at most 4 decimals"),
        (
            "from = 2026-10-16",
            "from = 2026-10-17",
            "2026-10-16T00:00:00Z and 2026-10-17T00:00:00Z to further notice leave",
        ),
        (
            '"OpenAI"',
            '"*"',
            "tax vat, range 2026-01-01T00:00:00Z to 2026-10-16T00:00:00Z and tax reverse-charge, range",
        ),
        ('"reverse-charge"', '"vat"', "tax vat: id = 'vat': used twice"),
        ("percent = 0", "per_million = {}", "tax reverse-charge: range.0.percent = (missing)"),
    ],
)
def test_a_wrong_rule_is_named(old: str, new: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^prices\.toml: tax ") as caught:
        parse_prices(RULES.replace(old, new, 1), "prices.toml")
    assert told in str(caught.value)


def test_a_rule_is_in_the_history_and_in_no_price() -> None:
    entries = parse_prices(RULES, "prices.toml")
    histories = {each.id: each for each in histories_after({}, changes_between([], entries), 1, datetime.now(UTC))}
    read = {key: type(history).model_validate_json(to_bytes(history)) for key, history in histories.items()}
    assert changes_between(entries_at(read, 1), entries) == []
    assert PriceBook.compiled(entries, 1).overrides == overrides_of(map(to_bytes, read.values()), 1) == []
    [change] = changes_between(entries, parse_prices(RULES.replace('"19"', '"20"'), "prices.toml"))
    assert change.stretches([]) == []
    assert differences(change) == [
        "- 2026-01-01T00:00:00Z to 2026-10-16T00:00:00Z: 19 % on top",
        "+ 2026-01-01T00:00:00Z to 2026-10-16T00:00:00Z: 20 % on top",
    ]
