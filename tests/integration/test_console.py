"""The console of the running stack: budgets are changed over HTTP, by whom is kept, and it acts within seconds."""

import json
import os
import re
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.settings import Settings
from stream_processors.alert_log import read_alerts
from stream_processors.budget_log import read_histories
from tests.conftest import Environment
from tollbook import main

DEADLINE_S = 60
PAGE = (Path(__file__).parents[2] / "docs/console.md").read_text()
EXAMPLES = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(stack: Environment) -> Ask:
    """Asks the console as mia: (method, path, body) to status and answer."""
    made = CliRunner().invoke(main, ["budgets", "token", "mia"], env=stack)
    assert made.exit_code == 0, made.output
    token = made.stdout.strip()

    def request(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(  # noqa: S310
            f"{stack['TOLLBOOK_CONSOLE']}{path}", data, {"Authorization": f"Bearer {token}"} | headers, method=method
        )
        try:
            with urllib.request.urlopen(asked, timeout=DEADLINE_S) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    return request


def test_a_pause_is_set_reached_topped_up_and_resumed(ask: Ask, stack: Environment, settings: Settings) -> None:
    name = f"console-{secrets.token_hex(4)}"
    budget = {"organization": name, "scope": "user:*", "period": "month", "unit": "tokens", "limit": 100}
    status, told = ask("PUT", f"/v1/budgets/{name}", budget | {"action": "pause"})
    assert (status, told["added"][0]["id"], told["added"][0]["limit"]) == (200, name, "100")
    assert ask("POST", "/v1/resume", {"budget": name, "scope": "ada"})[0] == 409
    use(stack, name, 150)
    until(lambda: standing(stack, name), ("pause", "100"))

    resumed = {"budget": name, "organization": name, "scope": "ada"}
    status, told = ask("POST", "/v1/resume", resumed)
    assert (status, told["author"], told["resumed"]) == (200, "mia", [{"organization": name, "scope": "ada"}])
    until(lambda: standing(stack, name), ("allow", "100"))
    status, told = ask("POST", "/v1/topups", resumed | {"amount": 100})
    assert (status, told["amount"], told["author"]) == (200, "100", "mia")
    until(lambda: standing(stack, name), ("allow", "200"))

    status, told = ask("PUT", f"/v1/budgets/{name}", budget | {"limit": "120"})
    assert [(change["old"]["limit"], change["new"]["limit"]) for change in told["changed"]] == [("100", "120")]
    until(lambda: [member["limit"] for member in ask("GET", f"/v1/budgets/{name}")[1]["members"]], ["220"])
    told = ask("GET", f"/v1/budgets/{name}")[1]
    assert [(each["author"], each["what"].split(" ")[0]) for each in told["history"]] == [
        ("mia", "applied"),
        ("mia", "resumed"),
        ("mia", "topped"),
        ("mia", "limit"),
    ]
    assert (told["members"][0]["used"], told["members"][0]["percent"]) == ("150", "68.1")
    alerts = [record for record in read_alerts(settings, follow=False) if record["budget_id"] == name]
    status, seen = ask("POST", "/v1/acknowledgements", {"alert_id": alerts[0]["alert_id"], "note": "asked ada"})
    assert (status, seen["author"], seen["note"]) == (200, "mia", "asked ada")
    status, snoozed = ask("POST", "/v1/snoozes", {"budget": name, "scope": "ada", "hours": 1})
    assert (status, snoozed["organization"], snoozed["scope"]) == (200, name, "ada")
    listed = {each["id"]: each for each in ask("GET", "/v1/budgets")[1]["budgets"]}
    assert listed[name]["fullest"]["scope"] == "ada"
    shown = CliRunner().invoke(main, ["budgets", "show", name], env=stack)
    assert "topped up by 100 tokens for ada of " in shown.stdout
    assert " by mia" in shown.stdout
    assert "68.1" in shown.stdout
    assert read_histories(settings.kafka)[name][-1].author == "mia"


def test_a_plan_changes_with_its_next_cycle_and_tells_who_is_active(ask: Ask, stack: Environment) -> None:
    name = f"plan-{secrets.token_hex(4)}"
    plan = {"organization": name, "scope": f"organization:{name}", "period": "billing_cycle", "unit": "tokens"}
    plan |= {"limit": 500_000, "projects": 1, "members": 1}
    status, told = ask("PUT", f"/v1/plans/{name}", plan)
    assert (status, told["added"][0]["members"]) == (200, 1)
    use(stack, name, 150)

    def found() -> dict[str, Any]:
        [plan] = [each for each in ask("GET", "/v1/plans")[1]["plans"] if each["id"] == name]
        return plan

    until(lambda: found()["active"], [{"organization": name, "projects": 0, "members": 1, "used": "150"}])
    status, told = ask("PUT", f"/v1/plans/{name}", plan | {"limit": 2_000_000, "projects": 5, "members": 5})
    assert (status, len(told["changed"])) == (200, 1)
    assert (found()["limit"], found()["projects"]) == ("500000", 1)
    [planned] = found()["planned"]
    assert (planned["limit"], planned["projects"], planned["effective_at"]) == ("2000000", 5, found()["window_end"])
    status, told = ask("PUT", f"/v1/plans/{name}", plan | {"projects": None, "members": None})
    assert (status, told["faults"][0]["field"]) == (400, "projects")


def test_what_is_refused_changes_nothing(ask: Ask, settings: Settings) -> None:
    before = read_histories(settings.kafka)
    status, told = ask(
        "PUT", "/v1/budgets/refused", {"scope": "user:*", "period": "month", "unit": "cost", "limit": 1.5}
    )
    assert (status, [(fault["field"], fault["value"]) for fault in told["faults"]]) == (400, [("limit", 1.5)])
    status, told = ask("POST", "/v1/topups", {"budget": "nobody", "amount": "5"})
    assert (status, told["faults"][0]["field"]) == (404, "budget")
    assert ask("GET", "/v1/budgets/nobody")[0] == 404
    assert ask("POST", "/v1/acknowledgements", {"alert_id": "nobody"})[0] == 404
    status, told = ask("POST", "/v1/snoozes", {"budget": "nobody", "hours": "long"})
    assert (status, [fault["field"] for fault in told["faults"]]) == (400, ["hours"])
    assert ask("GET", "/v1/budgets", Authorization="Bearer wrong")[0] == 401
    assert read_histories(settings.kafka) == before


def test_the_page_s_examples_work(stack: Environment, ask: Ask) -> None:
    for example in EXAMPLES:
        ran = subprocess.run(
            ["bash", "-c", example],
            env=os.environ | stack,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert json.loads(ran.stdout.splitlines()[-1])


def use(stack: Environment, organization: str, tokens: int) -> None:
    """Ada's use of as many tokens, by the collector."""
    event = {
        "event_id": secrets.token_hex(8),
        "source": "console-test",
        "occurred_at": datetime.now(UTC).isoformat(),
        "organization": organization,
        "user": "ada",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "input_tokens": tokens,
    }
    collector(stack, "/v1/events", json.dumps(event).encode())


def standing(stack: Environment, organization: str) -> tuple[str, str]:
    """What a call of ada's may do, and her limit, as callers are told."""
    told = collector(stack, f"/v1/limits/{organization}/user/ada", None)
    found = [(each["decision"], each["limit"]) for each in told["limits"] if each["budget_id"] == organization]
    return found[0] if found else ("", "")


def collector(stack: Environment, path: str, body: bytes | None) -> Any:
    token = (Path(stack["TOLLBOOK_STATE_DIR"]) / "collector/token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{stack['TOLLBOOK_COLLECTOR']}{path}", body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310
        return json.load(answer)


def until(found: Callable[[], Any], wanted: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while (last := found()) != wanted:
        assert time.monotonic() < deadline, last
        time.sleep(0.1)
