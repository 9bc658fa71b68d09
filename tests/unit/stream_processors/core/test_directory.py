"""The directory fills in what events leave out, as of when they occurred; reference and engine alike."""

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from rating_events import BOOKED_MS, OCCURRED_US, batch, columns, event, framed, schema_of

from stream_processors.core.directory import FILLED, NOBODY, Directory, Person
from stream_processors.core.directory_forms import grown, latest_version, parse_people, people_at
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import rate
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen
from stream_processors.reference import Partition, _belonging, people_of
from stream_processors.versioned_log import to_bytes

CSV = """organization,user,from,business_unit,cost_center,department,team,display_name
acme,ada,2026-01-01T00:00:00Z,products,4711,engineering,search,Ada L.
acme,ada,2026-09-21T14:13:20Z,products,4712,research,,Ada L.
acme,bob,2026-09-21T14:13:21Z,,,sales,,Bob
"""


def filled(directory: Directory, *events: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = directory.fill(columns(list(events))).to_pylist()
    return [tuple(row[name] for name in FILLED) for row in rows]


def directory() -> Directory:
    return Directory(parse_people(CSV, "people.csv").values(), 1)


def test_a_reorganisation_does_not_rewrite_the_past() -> None:
    before, after = {"user": "ada", "occurred_at": OCCURRED_US - 1}, {"user": "ada", "occurred_at": OCCURRED_US}
    assert filled(directory(), before, after) == [
        ("products", "4711", "engineering", "search"),
        ("products", "4712", "research", ""),
    ]


def test_what_an_event_says_stands() -> None:
    said = {"user": "ada", "department": "finance", "occurred_at": OCCURRED_US - 1}
    assert filled(directory(), said) == [("products", "4711", "finance", "search")]


def test_an_adjustment_counts_where_it_says() -> None:
    adjustment = {"user": "ada", "kind": "adjustment", "team": "search", "occurred_at": OCCURRED_US}
    assert filled(directory(), adjustment, {"user": "ada"}) == [
        ("", "", "", "search"),
        ("products", "4712", "research", ""),
    ]


def test_a_revision_moves_to_where_the_directory_has_it_by_then() -> None:
    seen, revisions, reference = Seen(), Revisions(), Partition(schema_of)
    people = parse_people(CSV, "people.csv").values()
    records = [to_bytes(each) for each in grown({}, people, 1, datetime.now(UTC)).values()]
    rows, verdicts = [], []
    for version, known in enumerate((NOBODY, directory())):
        value = framed(user="ada", kind="provisional", revision=version, input_tokens=1000 * (version + 1))
        raw = batch([value], version)
        rows += rate(raw, schema_of, PriceBook.compiled(), seen, revisions, known).rows.to_pylist()
        verdicts.append(reference.judge(value, BOOKED_MS * 1000, (), people_of(records, version)))
    booked = [(row["src_entry"], row["department"], row["input_tokens"], row["requests"]) for row in rows]
    assert booked == [(0, "", 1000, 1), (0, "research", 2000, 1), (1, "", -1000, -1)]
    said = [values for verdict in verdicts for values in (verdict.values, verdict.pair) if values is not None]
    assert [(each["department"], each["input_tokens"], each["requests"]) for each in said] == [
        entry[1:] for entry in booked
    ]


def test_who_is_not_there_or_not_yet_stays_unassigned() -> None:
    nobody = [{"user": "eve"}, {"user": ""}, {"user": "bob"}, {"user": "ada", "organization": "other"}]
    assert filled(directory(), *nobody) == [("", "", "", "")] * 4
    assert filled(NOBODY, {"user": "ada"}) == [("", "", "", "")]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "people.csv:2: from = "),
        ("2026-01-01T00:00:00Z", "2026-09-21T14:13:20Z", "user 'ada' of 'acme'"),
        ("acme,bob", ",bob", "organization = ''"),
        ("department", "departement", "people.csv:1: columns ['departement']: unknown"),
        (",Bob", "", "people.csv:4: must have as many fields"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"people\.csv") as refused:
        parse_people(CSV.replace(old, new, 1), "people.csv")
    assert told in str(refused.value)


def test_toml_says_the_same() -> None:
    toml = '[[person]]\norganization = "acme"\nuser = "bob"\nfrom = 2026-09-21T14:13:21Z\ndepartment = "sales"\n'
    [person] = parse_people(toml + 'display_name = "Bob"\n', "people.toml").values()
    assert person == parse_people(CSV, "people.csv")["acme/bob"]


def test_every_version_stays_known() -> None:
    people, now = parse_people(CSV, "people.csv"), datetime(2026, 11, 1, tzinfo=UTC)
    one = grown({}, people.values(), 1, now)
    gone = people["acme/bob"].model_copy(update={"entries": ()})
    two = one | grown(one, [gone], 2, now)
    assert latest_version(two) == 2
    assert (list(people_at(two, 0)), list(people_at(two, 1)), list(people_at(two, 2))) == (
        [],
        ["acme/ada", "acme/bob"],
        ["acme/ada"],
    )
    assert people_of([to_bytes(history) for history in two.values()], 2)["acme", "bob"] == []


def test_the_reference_fills_in_alike() -> None:
    random = Random(3)
    people = {}
    for number in range(60):
        starts = sorted(random.sample(range(20), random.randint(1, 4)))
        entries = [
            {"from": datetime(2026, 9, 1 + start, tzinfo=UTC)}
            | {name: random.choice(("", "a", "b")) for name in FILLED}
            for start in starts
        ]
        person = Person.model_validate({"organization": "acme", "user": f"u{number}", "entries": entries})
        people[person.key] = person
    records = [to_bytes(each) for each in grown({}, people.values(), 1, datetime.now(UTC)).values()]
    said = people_of(records, 1)
    events = [
        {
            "user": f"u{random.randrange(70)}",
            "department": random.choice(("", "own")),
            "occurred_at": at,
            "kind": random.choice(("usage", "adjustment")),
        }
        for at in (OCCURRED_US - random.randrange(30 * 86_400_000_000) for _ in range(2_000))
    ]
    blank = dict.fromkeys(FILLED, "")
    expected = [blank | each | _belonging(blank | event() | each, said) for each in events]
    assert filled(Directory(people.values(), 1), *events) == [tuple(row[name] for name in FILLED) for row in expected]
