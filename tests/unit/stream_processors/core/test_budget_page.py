"""The snippets of docs/budgets.md are what the code accepts, and its table names what the rules name."""

import re
import tomllib
from pathlib import Path

from schemas.arrow import SCOPES
from schemas.calendar import BUDGET_PERIODS, Calendar, load_calendar
from stream_processors.core.budget_forms import parse_budgets
from stream_processors.core.selection import CONDITION_FIELDS

PAGE = (Path(__file__).parents[4] / "docs" / "budgets.md").read_text(encoding="utf-8")
BUDGETS, PLAN, _, WALK, CALENDAR = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_budgets_shown_are_budgets() -> None:
    month, search = parse_budgets(BUDGETS, "docs/budgets.md")
    assert (month.limit, month.thresholds, month.track) == (150 * 10**12, (50, 75, 90, 95, 100), None)
    assert search.selection.text == "team[feature=search&model=gpt-4o|gpt-4o-mini]"


def test_the_plan_is_a_budget_of_the_billing_cycle() -> None:
    [plan] = parse_budgets(PLAN, "docs/budgets.md")
    assert (plan.period, plan.limit, plan.action) == ("billing_cycle", 2_000_000, "block_new")


def test_the_walk_is_one_budget() -> None:
    [walk] = parse_budgets(WALK, "docs/budgets.md")
    assert (walk.limit, walk.thresholds[:2]) == (1_000, (50, 75))


def test_the_calendar_shown_is_a_calendar(tmp_path: Path) -> None:
    path = tmp_path / "calendar.toml"
    path.write_text(CALENDAR)
    assert load_calendar(path) == Calendar(**tomllib.loads(CALENDAR))


def test_the_table_names_everything_that_is_allowed() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert re.findall(r"\w+", rows["scope"].partition("Kinds: ")[2]) == list(SCOPES)
    assert set(BUDGET_PERIODS) <= set(re.findall(r"\w+", rows["period"]))
    others = rows["conditions"].partition("Any scope, or ")[2]
    assert set(re.findall(r"\w+", others)) == set(CONDITION_FIELDS) - set(SCOPES)
