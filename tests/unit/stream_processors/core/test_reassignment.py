"""Reassignment: whatever was booked, killed or crossed on the way, usage ends where the newest directory has it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from booked_ledger import OLD, Ledger, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_events import BOOKED_MS, OCCURRED_US, framed, schema_of

from schemas.arrow import TOKEN_CLASSES
from schemas.event import UsageEvent
from stream_processors.core.corrections import Corrections
from stream_processors.core.directory import Directory, Person, differing
from stream_processors.core.directory_forms import grown
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_file import parse_prices
from stream_processors.core.reassignment import reassign
from stream_processors.core.undo import undo
from stream_processors.reference import Partition, people_of
from stream_processors.versioned_log import to_bytes

BOUNDARY = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=OCCURRED_US)
HOUSE = """
[[price]]
id = "house"
model = "unheard-of"
service_tier = "*"
[[price.range]]
from = 2020-01-01T00:00:00Z
per_million = { input_tokens = 7, output_tokens = 9 }
"""
NEW = PriceBook.compiled(parse_prices(HOUSE, "test"), 1)
COST_PICO = (
    1000 * 3_000_000 + 300 * 15_000_000
)  # of an event as `framed` has it: 1 000 x 3.00 and 300 x 15.00 a million


def person(user: str, *entries: tuple[int, str, str]) -> Person:
    """Entries are (days from the boundary, department, team)."""
    return Person.model_validate(
        {
            "organization": "acme",
            "user": user,
            "entries": [
                {"from": BOUNDARY + timedelta(days=day), "department": department, "team": team}
                for day, department, team in entries
            ],
        }
    )


#: By version, each whole: the departments of a user before and after the boundary.
PEOPLE = {
    0: [],
    1: [person("ada", (-9, "a", "t"), (0, "b", "")), person("bob", (-9, "a", ""))],
    2: [person("ada", (-9, "b", "t"), (0, "b", "u")), person("bob", (0, "c", ""))],
    3: [person("ada", (-9, "a", "t"), (0, "b", "")), person("bob", (-9, "", "u"))],
}
DIRECTORIES = {version: Directory(people, version) for version, people in PEOPLE.items()}


class Books(Ledger):
    """A ledger that is corrected by directories."""

    def use(self, version: int) -> None:
        self.directory = DIRECTORIES[version]

    def reassign(self, version: int) -> Corrections:
        return reassign(self.landed(), DIRECTORIES.__getitem__, version, "moved in May", "mia")

    def correct(self, version: int) -> int:
        """Looks until nothing differs; how many entries it took."""
        taken = 0
        for _ in range(6):
            found = self.reassign(version)
            if not found.entries.num_rows:
                return taken
            assert self.take(*values_of(found)).rejects.num_rows == 0
            taken += found.entries.num_rows
        raise AssertionError("it does not come to an end")

    def departments(self) -> dict[str, tuple[int, int]]:
        """Requests and cost by department."""
        found: dict[str, tuple[int, int]] = {}
        for row in self.rows():
            requests, cost = found.get(row["department"], (0, 0))
            found[row["department"]] = requests + row["requests"], cost + (row["cost_pico"] or 0)
        return {name: sums for name, sums in found.items() if any(sums)}


def books(*values: bytes, version: int = 1) -> Books:
    ledger = Books(OLD, DIRECTORIES[version])
    ledger.take(*values)
    return ledger


def test_a_pair_counts_it_where_it_belongs_and_takes_it_away_where_it_was() -> None:
    ledger = books(framed(event_id="e", user="ada", occurred_at=OCCURRED_US - 1, latency_ms=7))
    assert ledger.departments() == {"a": (1, COST_PICO)}
    found = ledger.reassign(2)
    entries = found.entries.to_pylist(maps_as_pydicts="strict")
    for entry in entries:
        UsageEvent(**entry)  # keeps every rule
    said = ("adjustment_type", "department", "team", "input_tokens", "output_tokens", "amount_pico", "latency_ms")
    assert [tuple(entry[name] for name in said) for entry in entries] == [
        ("reinstatement", "b", "t", 1000, 300, COST_PICO, 7),
        ("reversal", "a", "t", -1000, -300, -COST_PICO, None),
    ]
    assert {(entry["corrects"], entry["reason"], entry["author"]) for entry in entries} == {
        ("e", "moved in May", "mia")
    }
    assert [entry["tags"] for entry in entries] == [
        {"reassigned": side, "directory_version": "2", "price_version": OLD.version} for side in ("in", "out")
    ]
    assert found.tally.rows == Counter({("a / t", "b / t"): 1})
    assert found.tally.types == Counter({"reinstatement": 1, "reversal": 1})
    assert ledger.correct(2) == 2
    assert ledger.departments() == {"b": (1, COST_PICO)}
    assert ledger.correct(2) == 0


def test_there_and_back_and_there_again() -> None:
    ledger = books(framed(user="ada", occurred_at=OCCURRED_US - 1))
    for version, department in ((2, "b"), (3, "a"), (2, "b"), (1, "a")):
        ledger.use(version)
        assert ledger.correct(version) == 2
        assert ledger.departments() == {department: (1, COST_PICO)}


def test_entered_twice_it_counts_once() -> None:
    ledger = books(framed(user="ada", occurred_at=OCCURRED_US - 1))
    entries = values_of(ledger.reassign(2))
    ledger.take(*entries)
    assert ledger.take(*entries).rejects.column("reason").to_pylist() == ["duplicate", "duplicate"]
    assert ledger.departments() == {"b": (1, COST_PICO)}


def test_what_the_event_said_itself_and_who_is_not_in_the_directory_stay() -> None:
    at = OCCURRED_US - 1
    own = framed(event_id="own", user="ada", department="sales", team="x", occurred_at=at)
    unknown = framed(event_id="unknown", user="eve", department="a", occurred_at=at)
    removed = framed(event_id="removed", user="bob", occurred_at=at)
    ledger = books(own, unknown, removed)
    without_bob = {1: DIRECTORIES[1], 2: Directory(PEOPLE[2][:1], 2)}
    found = reassign(ledger.landed(), without_bob.__getitem__, 2, "moved", "mia")
    assert found.entries.num_rows == 0


def test_usage_that_nobody_answered_for_gets_its_department() -> None:
    ledger = books(framed(user="ada", occurred_at=OCCURRED_US - 1), version=0)
    assert ledger.departments() == {"": (1, COST_PICO)}
    ledger.use(1)
    ledger.correct(1)
    assert ledger.departments() == {"a": (1, COST_PICO)}


def test_corrected_tokens_move_along_and_a_credit_stays() -> None:
    ledger = books(framed(event_id="e", user="ada", occurred_at=OCCURRED_US - 1))
    common = {"kind": "adjustment", "corrects": "e", "user": "ada", "occurred_at": OCCURRED_US - 1, "reason": "why"}
    common |= {"author": "mia", "department": "a", "output_tokens": 0}
    correction = {"adjustment_type": "correction", "input_tokens": -100, "amount_pico": -300_000_000, "team": "t"}
    credit = {"adjustment_type": "credit", "input_tokens": 0, "amount_pico": -5, "team": "t"}
    ledger.take(framed(event_id="c1", **common, **correction), framed(event_id="c2", **common, **credit))
    ledger.correct(2)
    assert ledger.departments() == {"a": (0, -5), "b": (1, COST_PICO - 300_000_000)}


def test_a_copy_that_was_booked_too_is_left_and_told() -> None:
    ledger = books(framed(user="ada", occurred_at=OCCURRED_US - 1))
    ledger.seen = type(ledger.seen)()  # as after the horizon
    ledger.take(framed(user="ada", occurred_at=OCCURRED_US - 1))
    found = ledger.reassign(2)
    assert (found.entries.num_rows, found.tally.repeated) == (0, 1)


def test_what_was_taken_back_is_not_moved() -> None:
    ledger = books(framed(event_id="e", user="ada", occurred_at=OCCURRED_US - 1))
    rows = ledger.rows()
    [entry] = undo(rows, rows[0]["source"], "e", "twice", "mia", str)
    ledger.take(framed(**entry.to_avro()))
    assert ledger.reassign(2).entries.num_rows == 0


def test_half_a_pair_is_made_whole_also_when_something_came_in_between() -> None:
    at = OCCURRED_US - 1
    for between in (None, "price", "tokens"):
        ledger = books(framed(event_id="e", user="ada", model="unheard-of", provider="house", occurred_at=at))
        ledger.take(*values_of(ledger.reassign(2))[:1])
        assert sum(requests for requests, _ in ledger.departments().values()) == 2
        if between == "price":
            ledger.settle(NEW)
        if between == "tokens":
            common = {"corrects": "e", "user": "ada", "department": "a", "team": "t", "occurred_at": at}
            fields = {"adjustment_type": "correction", "reason": "why", "author": "mia", "output_tokens": 0}
            common |= {"model": "unheard-of", "provider": "house"}
            ledger.take(framed(event_id="c", kind="adjustment", input_tokens=-100, amount_pico=0, **common, **fields))
        ledger.restart()
        ledger.correct(2)
        [sums] = ledger.sums().values()
        assert (sums["requests"], sums["input_tokens"]) == (1, 900 if between == "tokens" else 1000)
        assert sums.get("cost_pico", 0) == (1000 * 7_000_000 + 300 * 9_000_000 if between == "price" else 0)


def test_half_a_pair_is_made_whole_also_when_the_next_directory_has_it_there() -> None:
    ledger = books(framed(user="ada", occurred_at=OCCURRED_US - 1), version=0)
    for version, department in ((1, "a"), (2, "b")):
        ledger.use(version)
        found = ledger.reassign(version)
        sides = [dict(tags)["reassigned"] for tags in found.entries.column("tags").to_pylist()]
        newest = max(place for place, side in enumerate(sides) if side == "in")
        assert found.entries.column("department")[newest].as_py() == department
        ledger.take(values_of(found)[newest])
    ledger.use(1)
    ledger.correct(1)
    assert ledger.departments() == {"a": (1, COST_PICO)}


def test_what_was_moved_is_rerated_where_it_is() -> None:
    ledger = books(framed(user="ada", model="unheard-of", provider="house", occurred_at=OCCURRED_US - 1))
    ledger.correct(2)
    assert ledger.settle(NEW) == 1
    assert ledger.departments() == {"b": (1, 1000 * 7_000_000 + 300 * 9_000_000)}


def test_differing_names_when_two_say_something_else() -> None:
    before, after = PEOPLE[1][0], PEOPLE[2][0]
    assert differing(before, after) == [(BOUNDARY - timedelta(days=9), None)]
    assert differing(before, PEOPLE[3][0]) == []
    assert differing(None, before) == [(BOUNDARY - timedelta(days=9), None)]
    assert differing(PEOPLE[1][1], PEOPLE[2][1]) == [(BOUNDARY - timedelta(days=9), None)]
    assert differing(person("x", (0, "a", "")), person("x", (0, "a", ""), (3, "b", ""), (5, "a", ""))) == [
        (BOUNDARY + timedelta(days=3), BOUNDARY + timedelta(days=5))
    ]


#: What an event says itself is never what a directory says: that could not be told apart.
stated = st.fixed_dictionaries(
    {
        "department": st.sampled_from(["", "own"]),
        "team": st.sampled_from(["", "crew"]),
        "user": st.sampled_from(["ada", "bob", "eve", ""]),
        "occurred_at": st.sampled_from([OCCURRED_US - 1, OCCURRED_US]),
        "model": st.sampled_from(["claude-sonnet-4-5", "unheard-of"]),
        "input_tokens": st.sampled_from([0, 1, 1000, 200_001]),
        "units": st.dictionaries(st.sampled_from(["image", "other"]), st.integers(0, 2), max_size=2),
        "latency_ms": st.sampled_from([None, 5]),
    }
)
identities = st.one_of(
    st.fixed_dictionaries({"kind": st.just("usage"), "event_id": st.sampled_from(["u0", "u1"])}),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["provisional", "final"]),
            "event_id": st.sampled_from(["r0", "r1"]),
            "revision": st.integers(0, 3),
        }
    ),
)
uses = st.builds(lambda identity, said: framed(**identity | said), identities, stated)
versions = st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=4)


def afresh(book: PriceBook, version: int, values: list[bytes]) -> dict[tuple[Any, ...], dict[str, int]]:
    """As if all had been rated by this directory and these prices from the first."""
    ledger = Books(book, DIRECTORIES[version])
    ledger.take(*values)
    return ledger.sums()


@settings(deadline=None, max_examples=15)
@given(st.lists(uses, min_size=1, max_size=10), versions, st.data())
def test_killed_half_way_and_run_again_back_and_forth_ends_as_if_rated_so_at_first(
    values: list[bytes], applied: list[int], data: st.DataObject
) -> None:
    """Usage goes on all the time, revisions of what was moved among it, also between look and entry."""
    ledger = Books(OLD, DIRECTORIES[data.draw(st.sampled_from([0, 1]))])
    sent = 0

    def some_more() -> None:
        nonlocal sent
        end = data.draw(st.integers(sent, len(values)))
        ledger.take(*values[sent:end])
        sent = end

    some_more()
    for version in applied:
        ledger.use(version)
        entries = values_of(ledger.reassign(version))
        some_more()
        ledger.take(*entries[: data.draw(st.integers(0, len(entries)))])
        if data.draw(st.booleans()):
            ledger.restart()
        some_more()
        if data.draw(st.booleans()):
            ledger.correct(version)
            assert ledger.sums() == afresh(OLD, version, values[:sent])
    ledger.take(*values[sent:])
    ledger.correct(applied[-1])
    assert ledger.sums() == afresh(OLD, applied[-1], values)


@settings(deadline=None, max_examples=10)
@given(st.lists(uses, min_size=1, max_size=8), versions, st.data())
def test_with_rerating_in_any_order(values: list[bytes], applied: list[int], data: st.DataObject) -> None:
    ledger = Books(OLD, DIRECTORIES[0])
    ledger.take(*values)
    for version in applied:
        ledger.use(version)
        if data.draw(st.booleans()):
            ledger.settle(data.draw(st.sampled_from([OLD, NEW])))
        entries = values_of(ledger.reassign(version))
        ledger.take(*entries[: data.draw(st.integers(0, len(entries)))])
        if data.draw(st.booleans()):
            ledger.settle(NEW)
        ledger.correct(version)
    ledger.settle(NEW)
    assert ledger.correct(applied[-1]) == 0
    assert ledger.sums() == afresh(NEW, applied[-1], values)


@settings(deadline=None, max_examples=10)
@given(st.lists(uses, min_size=1, max_size=8), st.sampled_from([1, 2]), st.data())
def test_the_reference_follows_what_was_moved(values: list[bytes], version: int, data: st.DataObject) -> None:
    """As in the deep audit: every record judged again, by other code, by the directory that its block names."""
    people = {
        number: people_of([to_bytes(each) for each in grown({}, PEOPLE[number], 1, BOUNDARY).values()], 1)
        for number in (0, version)
    }
    ledger, reference = Books(OLD, DIRECTORIES[0]), Partition(schema_of)
    cut = data.draw(st.integers(0, len(values)))
    ledger.take(*values[:cut])
    ledger.use(version)
    entries = values_of(ledger.reassign(version))
    records = [*((value, 0) for value in values[:cut]), *((value, version) for value in (*entries, *values[cut:]))]
    ledger.take(*entries, *values[cut:])
    judged = [reference.judge(value, BOOKED_MS * 1000, (), people[known]) for value, known in records]
    said = [values for each in judged if not each.reason for values in (each.values, each.pair) if values is not None]
    names = ("department", "team", "requests", "unpriced_requests", "cost_pico", *TOKEN_CLASSES)
    assert [[row[name] for name in names] for row in ledger.rows()] == [[each[name] for name in names] for each in said]


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_a_revision_after_it_was_moved_finds_it_there(sent: int) -> None:
    at = {"user": "ada", "occurred_at": OCCURRED_US - 1, "event_id": "r"}
    first = framed(kind="provisional", input_tokens=1000, **at)
    last = framed(kind="final", revision=1, input_tokens=3000, **at)
    ledger = books(first)
    ledger.use(2)
    ledger.take(*values_of(ledger.reassign(2))[:sent])
    ledger.restart()
    ledger.take(last)
    ledger.correct(2)
    assert ledger.sums() == afresh(OLD, 2, [first, last])
    assert set(ledger.departments()) == {"b"}
