"""Volume discounts and credits: functions of totals, settled by differences; order and repetition change nothing."""

from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import UsageEvent
from stream_processors.core.price_file import only, parse_prices
from stream_processors.core.running_totals import (
    Cell,
    Credit,
    Place,
    Volume,
    bounds_of,
    credits_due,
    discount_pico,
    volumes_due,
)
from stream_processors.core.settlement import RULE_TAG, Booked, entries_for

USD = 10**12
RULES = """
[[volume]]
id = "volume"
provider = "OpenAI"

[[volume.range]]
from = 2026-01-01T00:00:00Z
tier = [{ above = "10000", discount_percent = 10 }, { above = "20000", discount_percent = "25.5" }]

[[volume]]
id = "acme-volume"
organization = "acme"
provider = "openai"

[[volume.range]]
from = 2026-02-01T00:00:00Z
tier = [{ above = "1", discount_percent = 50 }]

[[credit]]
id = "startup"
organization = "acme"
provider = "openai"

[[credit.range]]
from = 2026-01-15T00:00:00Z
amount = "100.00"

[[credit]]
id = "welcome"
organization = "acme"

[[credit.range]]
from = 2026-01-01T00:00:00Z
to = 2026-02-01T00:00:00Z
amount = "30.00"
"""


def us(*day: int) -> int:
    return int(datetime(*day, tzinfo=UTC).timestamp()) * 10**6  # type: ignore[arg-type,misc]


JANUARY, FIFTEENTH, FEBRUARY, MARCH = us(2026, 1, 1), us(2026, 1, 15), us(2026, 2, 1), us(2026, 3, 1)
ENTRIES = parse_prices(RULES, "prices.toml")
VOLUMES, CREDITS = only(Volume, ENTRIES), only(Credit, ENTRIES)
[TIERS] = [dated.tier for dated in VOLUMES[0].ranges]


@pytest.mark.parametrize(
    ("dollars", "discount"),
    [(-5, 0), (0, 0), (10_000, 0), (10_010, 1), (20_000, 1_000), (20_100, 1_000 + 25.5), (30_000, 1_000 + 2_550)],
)
def test_a_tier_takes_its_share_of_what_lies_above_it(dollars: int, discount: float) -> None:
    """20 100: 10 % of 10 000, and 25.5 % of 100."""
    assert discount_pico(TIERS, dollars * USD) == int(discount * 2) * USD // 2


@given(st.lists(st.integers(0, 40_000 * USD), min_size=2, max_size=2))
def test_more_usage_never_costs_less(totals: list[int]) -> None:
    low, high = sorted(totals)
    assert low - discount_pico(TIERS, low) <= high - discount_pico(TIERS, high)


def test_the_rule_that_names_the_organization_holds_from_its_month_on() -> None:
    cells = [Cell(month, month, who, "openai", 11 * USD) for month in (JANUARY, FEBRUARY) for who in ("acme", "b")]
    assert volumes_due(cells, VOLUMES) == {
        Place("volume", "acme", "openai", JANUARY): 0,
        Place("volume", "b", "openai", JANUARY): 0,
        Place("acme-volume", "acme", "openai", FEBRUARY): -5 * USD,
        Place("volume", "b", "openai", FEBRUARY): 0,
    }


def test_credits_are_used_up_by_the_usage_of_their_time() -> None:
    assert bounds_of(CREDITS) == [JANUARY, FIFTEENTH, FEBRUARY]
    cells = [
        Cell(JANUARY, JANUARY, "acme", "openai", 20 * USD),  # welcome: 20 of 30
        Cell(FIFTEENTH, JANUARY, "acme", "mistral", 7 * USD),  # welcome: 7, for it lapses first
        Cell(FIFTEENTH, JANUARY, "acme", "openai", 50 * USD),  # welcome: the last 3; startup: 47 of 100
        Cell(FEBRUARY, FEBRUARY, "acme", "openai", 500 * USD),  # startup: the other 53
        Cell(FEBRUARY, FEBRUARY, "other", "openai", 500 * USD),
        Cell(MARCH, MARCH, "acme", "openai", -3 * USD),
    ]
    due = {place: amount for place, amount in credits_due(cells, CREDITS).items() if amount}
    assert due == {
        Place("welcome", "acme", "mistral", JANUARY): -7 * USD,
        Place("welcome", "acme", "openai", JANUARY): -23 * USD,
        Place("startup", "acme", "openai", JANUARY): -47 * USD,
        Place("startup", "acme", "openai", FEBRUARY): -53 * USD,
    }


REASONS = {"welcome": "credit welcome used up", "startup": "credit startup used up"}
CELLS = st.lists(
    st.builds(
        Cell,
        st.sampled_from([JANUARY, FIFTEENTH]),
        st.just(JANUARY),
        st.sampled_from(["acme", "b"]),
        st.sampled_from(["openai", "mistral"]),
        st.integers(-10 * USD, 90 * USD),
    )
    | st.builds(
        lambda cell_us, cost: Cell(cell_us, cell_us, "acme", "openai", cost),
        st.sampled_from([FEBRUARY, MARCH]),
        st.integers(0, 90 * USD),
    ),
    max_size=8,
    unique_by=lambda cell: cell[:4],
)


@given(CELLS)
def test_no_credit_exceeds_its_amount_nor_what_was_used(cells: list[Cell]) -> None:
    due = credits_due(cells, CREDITS)
    for credit, amount in (("startup", 100), ("welcome", 30)):
        assert 0 <= -sum(value for place, value in due.items() if place.rule == credit) <= amount * USD
    used = -sum(due.values())
    assert used <= sum(max(0, cell.cost_pico) for cell in cells if cell.organization == "acme")
    assert credits_due(cells[::-1], CREDITS) == due


def month_end(month_us: int) -> int:
    starts = [JANUARY, FEBRUARY, MARCH, us(2026, 4, 1)]
    return dict(pairwise(starts))[month_us] - 1


class Books:
    """What is booked by rules; an id counts once."""

    def __init__(self) -> None:
        self.entries: dict[str, UsageEvent] = {}

    def booked(self) -> dict[Place, Booked]:
        sums: dict[Place, list[int]] = defaultdict(list)
        for entry in self.entries.values():
            month = max(start for start in (JANUARY, FEBRUARY, MARCH) if start <= entry.occurred_at.timestamp() * 10**6)
            assert entry.amount_pico is not None
            place = Place(entry.tags[RULE_TAG], entry.organization, entry.provider, month)
            sums[place].append(entry.amount_pico)
        return {place: Booked(sum(amounts), len(amounts)) for place, amounts in sums.items()}

    def settle(self, cells: list[Cell], twice: bool = False) -> list[UsageEvent]:
        due = credits_due(cells, CREDITS)
        found = entries_for("credit", due, self.booked(), REASONS, month_end, us(2026, 3, 9), "mia")
        for entry in [*found, *(found if twice else [])]:
            self.entries.setdefault(entry.event_id, entry)
        return found


@given(CELLS, st.randoms(use_true_random=False))
def test_however_often_it_is_settled_on_the_way_it_ends_alike(cells: list[Cell], random: object) -> None:
    books = Books()
    assert hasattr(random, "shuffle")
    shuffled = list(cells)
    random.shuffle(shuffled)
    for count in range(len(shuffled) + 1):
        books.settle(shuffled[:count], twice=True)
    assert books.settle(cells) == []
    due = {place: amount for place, amount in credits_due(cells, CREDITS).items() if amount}
    assert {place: booked.amount_pico for place, booked in books.booked().items() if booked.amount_pico} == due


def test_an_entry_says_what_it_is() -> None:
    books = Books()
    cells = [Cell(JANUARY, JANUARY, "acme", "openai", 20 * USD), Cell(MARCH, MARCH, "acme", "openai", 5 * USD)]
    first, second = books.settle(cells)
    assert (first.adjustment_type, first.amount_pico, first.reason) == ("credit", -5 * USD, "credit startup used up")
    assert first.occurred_at == datetime(2026, 3, 9, tzinfo=UTC)  # the month is running
    assert second.occurred_at == datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    [back] = books.settle(cells[1:])  # the usage of January was taken back
    assert (back.amount_pico, back.event_id != second.event_id) == (20 * USD, True)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"100.00"', '"0"', "credit startup: range.0.amount = '0': an amount is more than 0"),
        ('"100.00"', '"1e-13"', "credit startup: range.0.amount = '1e-13'"),
        ('organization = "acme"\n\n[[credit.range]]', "\n[[credit.range]]", "credit welcome: organization = (missing)"),
        ('provider = "OpenAI"', 'provider = "*"', "volume volume: provider = '*'"),
        ('above = "20000"', 'above = "10000"', "tier above = 10000: must be more than 10000"),
        ('"25.5"', '"101"', "range.0.tier.1.discount_percent = '101'"),
        (
            '"acme-volume"\norganization = "acme"',
            '"acme-volume"',
            "volume volume, range 2026-01-01T00:00:00Z to further",
        ),
    ],
)
def test_a_wrong_rule_is_named(old: str, new: str, told: str) -> None:
    assert old in RULES
    with pytest.raises(ValueError, match=r"^prices\.toml: (credit|volume) ") as caught:
        parse_prices(RULES.replace(old, new, 1), "prices.toml")
    assert told in str(caught.value)
