"""The console in a browser: a person logs in, sets a limit, tops up, and reads there who did it."""

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client
from playwright.sync_api import Browser, Page, expect

from schemas.calendar import Calendar
from schemas.registry import Registry
from stream_processors.alert_log import append_alert
from stream_processors.core.history_alerts import PLAN, history_alert
from tollbook import main

pytestmark = pytest.mark.timeout(1200)  # the first test waits for Superset to be made

BUDGET = """
[[budget]]
id = "legal-month"
scope = "department:*"
period = "month"
unit = "cost"
limit = "150.00"
"""


@pytest.fixture
def budget_page(
    browser: Browser, stack: dict[str, str], ledger: Client, state_dir: Path, tmp_path: Path
) -> Iterator[Page]:
    """Where the dashboard's link leads somebody who is not logged in; fails the test on an error in the page."""
    file = tmp_path / "budgets.toml"
    file.write_text(BUDGET)
    run(state_dir, "apply", str(file), "--author", "ann")
    _append_newest(ledger, stack)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(f"{stack['console']}/console/budgets/legal-month")
    yield page
    context.close()
    assert [error for error in errors if "400 (Bad Request)" not in error] == []  # a form with a mistake, shown again


def _append_newest(ledger: Client, stack: dict[str, str]) -> None:
    """The newest alert of the budget stands in the topic, too, where it is looked for before it is acknowledged."""
    [(alert_id,)] = ledger.query(
        "SELECT alert_id FROM standing_alerts WHERE budget_id = 'legal-month' ORDER BY raised_at DESC LIMIT 1"
    ).result_rows
    window = Calendar().window("month", 0)
    record = history_alert(PLAN, "acme", "department", "legal", window, "", 0) | {"alert_id": alert_id}
    append_alert(stack["kafka"], Registry(stack["registry"]), record)


def run(state_dir: Path, *arguments: str) -> str:
    done = CliRunner().invoke(main, ["budgets", *arguments], env={"TOLLBOOK_STATE_DIR": str(state_dir)})
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_a_limit_is_set_and_topped_up_and_who_did_it_is_told(
    budget_page: Page, ledger: Client, state_dir: Path
) -> None:
    page = budget_page
    page.get_by_label("Token").fill(run(state_dir, "token", "mia"))
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("legal-month")

    [(used, limit, share)] = ledger.query(
        "SELECT used, limit, toDecimal256(used, 12) * 100 / toDecimal256(limit, 12) FROM budget_status "
        "WHERE budget_id = 'legal-month'"
    ).result_rows
    [cells] = (
        page.locator("table")
        .first.locator("tbody tr")
        .evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))")
    )
    assert (cells[0], Decimal(cells[2].replace(",", ""))) == ("acme / department legal", Decimal(used))
    assert Decimal(cells[3].removesuffix(" cost").replace(",", "")) == Decimal(limit)
    assert Decimal(cells[5]) == Decimal(share).quantize(Decimal("0.1"), "ROUND_DOWN")

    page.get_by_label("Limit, cost").fill("200.00")
    page.get_by_label("at the limit").select_option("block_new")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("In force: limit 150.00 → 200.00; action alert → block_new.")
    page.get_by_label("Top up acme / department legal by").fill("5")
    page.get_by_label("Top up acme / department legal by").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("5.00 cost more for legal of acme until ")
    page.get_by_label("Limit, cost").fill("-1")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Nothing was changed. limit = '-1': must be positive")

    history = page.locator("table").last.locator("tbody tr")
    expect(history).to_contain_text(["mia", "mia", "ann"])
    expect(history.first).to_contain_text("topped up by 5.00 cost for legal of acme")
    assert "topped up by 5.00 cost for legal of acme by mia" in run(state_dir, "show", "legal-month")
    said = page.get_by_role("row").filter(has_text="department legal of acme reached")
    said.first.get_by_label("Note").fill("asked the team")
    said.first.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("status")).to_have_text("Acknowledged.")
    page.get_by_label("Tell nobody for").fill("2")
    page.get_by_label("about department").last.fill("legal")
    page.get_by_role("button", name="Snooze").click()
    expect(page.get_by_role("status")).to_contain_text("Not told about before ")
    expect(page.get_by_text("Snoozed by mia until ")).to_contain_text("legal of *")
    if os.environ.get("TOLLBOOK_SCREENSHOT"):
        page.screenshot(path=Path(__file__).parents[2] / "docs" / "images" / "console.png", full_page=True)
    page.get_by_role("link", name="Budgets").click()
    page.get_by_role("link", name="A new budget").click()
    page.get_by_label("Id").fill("legal-day")
    page.get_by_label("Scope").fill("department:legal")
    page.get_by_label("Period").select_option("day")
    page.get_by_label("Limit", exact=True).fill("0")
    page.get_by_role("button", name="Put in force").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was changed. limit = '0': must be positive")
    page.get_by_label("Limit", exact=True).fill("10.00")
    page.get_by_role("button", name="Put in force").click()
    expect(page.get_by_role("status")).to_have_text(
        "In force: department:legal day cost 10.00 at 50, 75, 90, 95, 100 %."
    )
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
