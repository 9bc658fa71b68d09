"""Every mistake in a budget file is told at once, with its line; the topic's form loses nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import SCOPES
from schemas.calendar import PERIODS
from stream_processors.core.budget_forms import (
    conditions_of,
    from_record,
    parse_amount,
    parse_budgets,
    scope_text,
    to_record,
)
from stream_processors.core.budget_history import Dated
from stream_processors.core.budgets import SEVERITIES, UNITS, Budget, Grant, Notice, Resume
from stream_processors.core.selection import CONDITION_FIELDS

GOOD = """\
# what each department may spend
[[budget]]
id = "department-month"
scope = "department:*"
period = "month"
unit = "cost"
limit = "150.00"
"""

budgets = st.builds(
    Budget,
    id=st.text("abcXYZ019._-", min_size=1, max_size=64),
    organization=st.just("*"),
    scope_kind=st.sampled_from(SCOPES),
    scope=st.text(min_size=1, max_size=128),
    period=st.sampled_from(PERIODS),
    unit=st.sampled_from(UNITS),
    limit=st.integers(1, 2**63 - 1),
    thresholds=st.sets(st.integers(1, 1000), min_size=1).map(lambda found: tuple(sorted(found))),
    version=st.integers(1, 1000),
    conditions=st.dictionaries(
        st.sampled_from(CONDITION_FIELDS), st.sets(st.text(min_size=1, max_size=9), min_size=1, max_size=3), max_size=2
    ).map(conditions_of),
    grants=st.lists(
        st.builds(
            Grant, st.sampled_from(["*", "acme"]), st.text(max_size=9), st.integers(1, 2**62), st.integers(0, 2**60)
        ),
        max_size=2,
    ).map(tuple),
    resumes=st.lists(
        st.builds(Resume, st.sampled_from(["*", "acme"]), st.text(max_size=9), st.text(max_size=9), st.integers(0)),
        max_size=2,
    ).map(tuple),
    forecast=st.booleans(),
    valid_from=st.none() | st.integers(0, 2**50),
    valid_until=st.none() | st.integers(2**50 + 1, 2**55),
)
told = st.builds(Notice, st.just(0), st.sampled_from(SEVERITIES), st.lists(st.text(min_size=1, max_size=9)).map(tuple))
told_budgets = st.builds(
    lambda budget, found: replace(
        budget,
        notify=tuple(replace(notice, threshold=at) for at, notice in zip(budget.thresholds, found, strict=False)),
    ),
    budgets,
    st.lists(told, max_size=3),
)


def problems(text: str) -> list[str]:
    with pytest.raises(ValueError, match=r"^budgets\.toml") as caught:
        parse_budgets(text, "budgets.toml")
    return str(caught.value).splitlines()


def with_field(line: str) -> str:
    """The good file with one field replaced, on the line where it was, or added on line 8."""
    name = line.split(" ")[0]
    kept = [line if old.startswith(f"{name} =") else old for old in GOOD.splitlines()]
    return "\n".join(kept if line in kept else [*kept, line])


def test_what_a_file_says() -> None:
    assert parse_budgets(GOOD, "budgets.toml") == [
        Budget("department-month", "*", "department", "*", "month", "cost", 150 * 10**12, (50, 75, 90, 95, 100), 0)
    ]
    assert parse_budgets("", "budgets.toml") == []


def test_every_field_can_be_stated() -> None:
    text = GOOD.replace("department:*", "user:a:b") + 'organization = "acme"\nthresholds = [100, 1000]\n'
    (budget,) = parse_budgets(text, "budgets.toml")
    assert (budget.organization, budget.scope_kind, budget.scope) == ("acme", "user", "a:b")
    assert budget.thresholds == (100, 1000)


@pytest.mark.parametrize(
    ("unit", "limit", "amount"),
    [
        ("cost", "150", 150 * 10**12),
        ("cost", '"0.000000000001"', 1),
        ("cost", '"99999999999999999999999999.999999999999"', 10**38 - 1),
        ("tokens", "5_000_000", 5_000_000),
        ("requests", '"20"', 20),
        ("reasoning_tokens", "9223372036854775807", 2**63 - 1),
    ],
)
def test_limits_are_exact(unit: str, limit: str, amount: int) -> None:
    text = GOOD.replace('"cost"', f'"{unit}"').replace('"150.00"', limit)
    assert parse_budgets(text, "budgets.toml")[0].limit == amount


@pytest.mark.parametrize(
    ("line", "number", "rule"),
    [
        ('id = "a b"', 3, "letters, digits"),
        ("id = 5", 3, "letters, digits"),
        ('id = "b\\n"', 3, "letters, digits"),
        ('scope = "pod:*"', 4, "organization, department, user, project, model"),
        ('scope = "department"', 4, "KIND:NAME"),
        ('scope = "department:"', 4, "KIND:NAME"),
        ("scope = 1", 4, "KIND:NAME"),
        ('period = "fortnight"', 5, "one of hour, day, week, month"),
        ('unit = "dollars"', 6, "one of cost, tokens, requests, input_tokens"),
        ("unit = []", 6, "one of cost"),
        ("limit = 150.0", 7, "never a float"),
        ("limit = true", 7, "positive"),
        ("limit = 0", 7, "positive"),
        ("limit = -1", 7, "positive"),
        ('limit = "0.0000000000001"', 7, "at most 12 decimals"),
        ('limit = "1e3"', 7, "positive"),
        ('limit = "NaN"', 7, "positive"),
        ('limit = "1_000"', 7, "positive"),
        ("limit = 100000000000000000000000000", 7, "positive"),
        ("thresholds = []", 8, "whole percents from 1 to 1000"),
        ("thresholds = [0]", 8, "whole percents"),
        ("thresholds = [1001]", 8, "whole percents"),
        ("thresholds = [50, 50]", 8, "ascending, each once"),
        ("thresholds = [75, 50]", 8, "ascending"),
        ("thresholds = [50.0]", 8, "whole percents"),
        ("thresholds = [true]", 8, "whole percents"),
        ('organization = ""', 8, "1 to 128 characters"),
        ('conditions = { colour = "red" }', 8, "FIELD one of organization, department, user"),
        ("conditions = { model = [] }", 8, "FIELD = 'value'"),
        ("conditions = { model = 4 }", 8, "FIELD = 'value'"),
        ('conditions = { model = "" }', 8, "FIELD = 'value'"),
        ('conditions = "model"', 8, "FIELD = 'value'"),
        ('action = "stop"', 8, "one of alert, throttle, block_new"),
        ('notify = { 90 = { severity = "grave" } }', 8, "severity one of info, warning, caution, critical"),
        ("notify = { 90 = { to = [1] } }", 8, "THRESHOLD = "),
        ('notify = { 90 = { to = "pager" } }', 8, "THRESHOLD = "),
        ("notify = { 90 = {} }", 8, "THRESHOLD = "),
        ('notify = { most = { severity = "info" } }', 8, "THRESHOLD = "),
        ('forecast = "yes"', 8, "true or false"),
        ("valid_from = 2027-01-01", 8, "a date and time with its zone"),
        ("valid_from = 2027-01-01T00:00:00", 8, "a date and time with its zone, as 2027-01-01T00:00:00+01:00"),
        ('valid_until = "soon"', 8, "a date and time with its zone"),
        ("valid_until = 1798761600", 8, "a date and time with its zone"),
        ("treshold = 50", 8, "unknown field; allowed: id, organization, scope"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_rule(line: str, number: int, rule: str) -> None:
    (problem,) = problems(with_field(line))
    assert problem.startswith(f"budgets.toml:{number}: {line.split(' ')[0]}")
    assert rule in problem


@pytest.mark.parametrize("limit", ['"1.5"', "9223372036854775808"])
def test_a_count_is_whole_and_fits(limit: str) -> None:
    (problem,) = problems(GOOD.replace('"cost"', '"tokens"').replace('"150.00"', limit))
    assert problem.startswith("budgets.toml:7: limit = ")
    assert "whole number up to 9223372036854775807 for unit tokens" in problem


def test_an_action_needs_a_budget_that_a_caller_can_tell() -> None:
    assert parse_budgets(GOOD + 'action = "throttle"\n', "budgets.toml")[0].action == "throttle"
    (problem,) = problems(GOOD + 'conditions = { model = "a" }\naction = "throttle"\n')
    assert problem == "budgets.toml:9: action = 'throttle': must be alert for a budget with conditions"


def test_a_pause_begins_at_the_threshold_of_100() -> None:
    assert parse_budgets(GOOD + 'action = "pause"\n', "budgets.toml")[0].action == "pause"
    (problem,) = problems(GOOD + 'thresholds = [50, 101]\naction = "pause"\n')
    assert problem == "budgets.toml:8: thresholds = [50, 101]: must hold 100 for action pause, which begins there"


def test_the_dates_of_a_budget_have_a_zone_and_an_order() -> None:
    winter = GOOD + "valid_from = 2027-01-01T00:00:00+01:00\n"
    [budget] = parse_budgets(winter + 'valid_until = "2027-04-01T00:00:00Z"\n', "budgets.toml")
    assert (budget.valid_from, budget.valid_until) == (1_798_758_000_000_000, 1_806_537_600_000_000)
    (problem,) = problems(winter + "valid_until = 2026-12-31T23:00:00Z\n")
    assert problem == (
        "budgets.toml:9: valid_until = 2026-12-31 23:00:00+00:00: must be later than "
        "valid_from = 2027-01-01 00:00:00+01:00"
    )


def test_a_threshold_can_be_told_otherwise() -> None:
    text = GOOD + '[budget.notify]\n100 = { to = ["pager", "finance"] }\n75 = { severity = "critical" }\n'
    [budget] = parse_budgets(text, "budgets.toml")
    assert budget.notice(50) == Notice(50, "info")
    assert budget.notice(75) == Notice(75, "critical")
    assert budget.notice(100) == Notice(100, "critical", ("pager", "finance"))
    (problem,) = problems(GOOD + '[budget.notify]\n60 = { severity = "info" }\n')
    assert problem == "budgets.toml:8: notify: 60 is none of the thresholds 50, 75, 90, 95, 100"


def test_conditions_are_the_same_in_any_order() -> None:
    one = GOOD + 'conditions = { model = ["b", "a", "b"], feature = "search" }\n'
    other = GOOD + '[budget.conditions]\nfeature = ["search"]\nmodel = ["a", "b"]\n'
    [first], [second] = (parse_budgets(text, "budgets.toml") for text in (one, other))
    assert first == second
    assert first.conditions == (("feature", ("search",)), ("model", ("a", "b")))


def test_all_mistakes_are_told_at_once_in_order_of_lines() -> None:
    second = GOOD.replace('"month"', '"century"').replace('limit = "150.00"\n', "")
    found = problems("currency = 'EUR'\n" + with_field("limit = 1.5") + "\n" + second)
    assert [problem.split(": ")[0] for problem in found] == [f"budgets.toml:{line}" for line in (1, 8, 10, 11, 13)]
    assert found[0].endswith("currency: unknown; allowed: [[budget]]")
    assert "limit: missing; must be positive" in found[2]
    assert "'department-month': already used above" in found[3]


def test_an_organization_that_contradicts_its_scope_covers_nothing() -> None:
    text = GOOD.replace("department:*", "organization:beta") + 'organization = "acme"\n'
    (problem,) = problems(text)
    assert "budgets.toml:4: scope = 'organization:beta': organization is 'acme'" in problem


def test_lines_are_found_past_strings_and_comments() -> None:
    text = 'note = """\n[[budget]]\nlimit = 1\n"""  # [[budget]]\n' + GOOD.replace('"150.00"', "1.5 # limit = 2")
    assert [problem.split(" ")[0] for problem in problems(text)] == ["budgets.toml:1:", "budgets.toml:11:"]


@pytest.mark.parametrize("text", ["budget = 3", "[budget]\nid = 'x'", "budget = [1]"])
def test_budgets_that_are_no_tables(text: str) -> None:
    assert problems(text) == ["budgets.toml:1: budget: begin each budget with [[budget]]"]


def test_an_array_of_inline_tables_is_toml_too() -> None:
    text = "\nbudget = [{id = 'x', scope = 'user:*', period = 'day', unit = 'tokens', limit = 0}]"
    (problem,) = problems(text)
    assert problem.startswith("budgets.toml:2: limit = 0")


def test_a_syntax_error_names_its_line() -> None:
    (problem,) = problems(GOOD + "limit 3\n")
    assert "line 8" in problem


@given(told_budgets, st.integers(0, 2**60))
def test_the_topic_form_loses_nothing(budget: Budget, effective_at: int) -> None:
    newer = replace(budget, limit=budget.limit + 1 if budget.limit < 2**62 else 1, version=budget.version + 1)
    history = (Dated(effective_at, budget), Dated(effective_at + 1, newer))
    assert from_record(to_record(history)) == history


def test_a_bad_record_of_the_topic_names_id_version_and_field() -> None:
    record = to_record([Dated(5, replace(parse_budgets(GOOD, "budgets.toml")[0], version=3))])
    record["history"][0] |= {"limit": 1.5, "effective_at": None}
    with pytest.raises(ValueError, match=r"budget department-month, version 3: limit = 1\.5: .*; effective_at = None"):
        from_record(record)


def test_the_shipped_budgets_are_good_and_watch_every_user() -> None:
    path = Path(__file__).parents[4] / "budgets.toml"
    shipped = parse_budgets(path.read_text(), path.name)
    assert {scope_text(budget) for budget in shipped} >= {"department:*", "user:*", "organization:*"}
    assert any(budget.covers("acme", "user", "anybody") and budget.unit == "cost" for budget in shipped)


@pytest.mark.parametrize("amount", ["0", "-1", "1.5", "ten", "", 1.5])
def test_what_is_no_amount_is_not_granted(amount: Any) -> None:
    with pytest.raises(ValueError, match="amount = "):
        parse_amount("tokens", amount)
    assert parse_amount("cost", "1.5") == 1_500_000_000_000


def test_a_file_grants_nothing() -> None:
    (problem,) = problems(GOOD + "grants = []\n")
    assert "grants: unknown field" in problem
