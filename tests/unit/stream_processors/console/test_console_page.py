"""The console's page without a broker: who gets in, what a form must carry, and that nothing is said unescaped."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from schemas.responses import Snooze
from schemas.settings import Settings
from stream_processors.console import views
from stream_processors.console.actions import Ledger
from stream_processors.console.page import COOKIE, PLACE, Page, _own_path
from stream_processors.console.people import token_of
from stream_processors.console.sessions import LASTS_S, Sessions
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budget_history import Dated
from stream_processors.core.budgets import Budget

EVIL = "<script>alert('x')</script>"
BUDGET = Budget("b", "acme", "user", "*", "month", "cost", 150 * 10**12, (50, 100), 1)
ROW = {
    "budget_id": "b", "organization": "acme", "scope_kind": "user", "scope": EVIL, "window_kind": "month",
    "unit": "cost", "used": "149.99", "estimated": "0", "limit": "150.00", "remaining": "0.01", "decision": "allow",
    "seconds_left": 90_000, "projected": "180", "window_start": instant(0), "window_end": instant(10**15),
}  # fmt: skip

ALERT = {
    "alert_id": "a1", "severity": "caution", "detail": EVIL, "raised_at": instant(0), "acknowledged_by": EVIL,
    "acknowledged_at": instant(0), "note": EVIL,
}  # fmt: skip
SNOOZE = Snooze(author=EVIL, at=instant(0), budget_id="b", organization=EVIL, scope=EVIL, until=instant(10**15))


@dataclass
class Visitor:
    """A browser that follows no redirect by itself."""

    client: TestClient[web.Request, web.Application]
    token: str

    async def get(self, path: str) -> ClientResponse:
        return await self.client.get(PLACE + path, allow_redirects=False)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> ClientResponse:
        return await self.client.post(PLACE + path, data=form, headers=headers, allow_redirects=False)

    async def log_in(self) -> str:
        """The secret that its forms carry."""
        assert (await self.post("/login", {"token": self.token})).status == 303
        return re.findall(r'name="form_secret" value="([^"]+)"', await (await self.get("/")).text())[0]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return tmp_path / "console"


@pytest.fixture
async def visitor(people: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Visitor]:
    """Before a ledger of one budget, whose member has a name that is a script."""
    history = (Dated(5, BUDGET), Dated(7, replace(BUDGET, version=2, limit=10**12), EVIL, 7))
    monkeypatch.setattr("stream_processors.console.actions.require_kafka", lambda _: None)
    monkeypatch.setattr(views, "read_histories", lambda _: {"b": history})
    monkeypatch.setattr(views.budget_actions, "read_histories", lambda _: {"b": history})
    monkeypatch.setattr(views.budget_actions, "paused_by", lambda *_: {})
    monkeypatch.setattr(views, "members", lambda *_: [ROW])
    monkeypatch.setattr(views, "snoozes_of", lambda *_: [SNOOZE])
    monkeypatch.setattr(views, "ask", lambda *_: [ALERT])
    app = web.Application()
    app.add_subapp(PLACE, Page(Ledger(Settings()), people, lambda: 0.0).application())
    async with TestClient(TestServer(app)) as client:
        yield Visitor(client, token_of(people, "mia"))


@pytest.mark.parametrize("path", ["/", "/budgets/b"])
async def test_without_a_login_the_page_asks_for_one(visitor: Visitor, path: str) -> None:
    answer = await visitor.get(path)
    assert (answer.status, answer.headers["Location"].partition("?")[0]) == (303, f"{PLACE}/login")
    assert (await visitor.post("/budgets/b/set", {"limit": "1"})).headers["Location"].startswith(f"{PLACE}/login")
    refused = await visitor.post("/login", {"token": "wrong"})
    assert (refused.status, "Set-Cookie" in refused.headers) == (403, False)


async def test_the_cookie_of_a_login_is_out_of_others_reach(visitor: Visitor) -> None:
    answer = await visitor.post("/login", {"token": visitor.token, "to": f"{PLACE}/budgets/b"})
    assert (answer.status, answer.headers["Location"]) == (303, f"{PLACE}/budgets/b")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", f"Path={PLACE}"} <= {part.strip() for part in cookie.split(";")}
    assert visitor.token not in cookie
    assert (await visitor.get("/")).status == 200


async def test_every_answer_forbids_scripts_and_frames(visitor: Visitor) -> None:
    await visitor.log_in()
    for path in ("/", "/budgets/b", "/budgets/nobody", "/login", "/style.css", "/nowhere"):
        policy = (await visitor.get(path)).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy


async def test_names_are_text_and_never_markup(visitor: Visitor) -> None:
    await visitor.log_in()
    for path in ("/", "/budgets/b"):
        shown = await (await visitor.get(path)).text()
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
    assert "99.9" in shown
    assert "limit 150.00 → 1.00" in shown


@pytest.mark.parametrize(
    "change",
    [
        {"form_secret": None},
        {"form_secret": "wrong"},
        {"Origin": "http://127.0.0.1:1"},  # another service of this machine: cookies know no port
        {"Origin": "null"},
    ],
)
async def test_a_form_of_another_page_does_nothing(visitor: Visitor, change: dict[str, Any]) -> None:
    form = {"form_secret": await visitor.log_in(), "limit": "5", "action": "alert", "version": "1"}
    headers = {name: value for name, value in change.items() if name == "Origin"}
    form |= {name: value for name, value in change.items() if name in form and value is not None}
    if change.get("form_secret", "") is None:
        del form["form_secret"]
    assert (await visitor.post("/budgets/b/set", form, **headers)).status == 403


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        (
            "set",
            {"limit": "0", "action": "alert", "version": "2"},
            "Nothing was changed. limit = &#39;0&#39;: must be positive",
        ),
        ("set", {"limit": "5", "action": "nap", "version": "2"}, "action = &#39;nap&#39;: must be one of"),
        (
            "set",
            {"limit": "5", "action": "alert", "version": "1"},
            "somebody has changed the budget, it is at 2 by now",
        ),
        ("top-up", {"amount": "ten", "scope": "ada"}, "amount = &#39;ten&#39;: must be positive"),
        ("top-up", {"amount": "10", "scope": ""}, "say whose"),
        ("resume", {"scope": "ada"}, "nothing is paused for ada of acme"),
        ("snooze", {"hours": "long", "scope": "ada"}, "hours = &#39;long&#39;: must be a number"),
        ("snooze", {"hours": "-1", "scope": "ada"}, "hours = -1.0: must be 0 to 8784"),
    ],
)
async def test_what_is_refused_is_told_with_field_value_and_rule(
    visitor: Visitor, path: str, form: dict[str, str], said: str
) -> None:
    answer = await visitor.post(f"/budgets/b/{path}", form | {"form_secret": await visitor.log_in()})
    assert (answer.status, answer.headers["Location"]) == (303, f"{PLACE}/budgets/b")
    assert said in await (await visitor.get("/budgets/b")).text()
    assert said not in await (await visitor.get("/budgets/b")).text()  # it is told once


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "b"}, "id = &#39;b&#39;: there is a budget of this id already"),
        ({"limit": "-1"}, "limit = &#39;-1&#39;: must be positive"),
        ({"scope": "planet:*"}, "scope = &#39;planet:*&#39;"),
        ({"thresholds": "50, many"}, "thresholds"),
    ],
)
async def test_a_new_budget_with_a_mistake_is_shown_again(visitor: Visitor, change: dict[str, str], said: str) -> None:
    form = {"id": "new", "scope": "user:*", "period": "month", "unit": "cost", "limit": "5.00", "action": "alert"}
    answer = await visitor.post("/new", form | change | {"form_secret": await visitor.log_in()})
    shown = await answer.text()
    assert (answer.status, said in shown, 'value="user:*"' in shown or "scope" in change) == (400, True, True)
    assert (await visitor.get("/new")).status == 200


async def test_who_logs_out_is_out(visitor: Visitor) -> None:
    cookie = visitor.client.session.cookie_jar
    secret = await visitor.log_in()
    kept = {each.key: each.value for each in cookie}
    assert (await visitor.post("/logout", {"form_secret": secret})).status == 303
    visitor.client.session.cookie_jar.update_cookies(kept)
    assert (await visitor.get("/")).status == 303


def test_a_session_ends_with_the_day_and_with_its_token(people: Path) -> None:
    now = [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    sessions = Sessions(people, clock)
    token = token_of(people, "mia")
    assert sessions.begin("wrong") is None
    first, second = sessions.begin(token), sessions.begin(token)
    assert first is not None
    assert second is not None
    found = sessions.find(first)
    assert found is not None
    assert found.person == "mia"
    (people / "mia.token").unlink()
    assert sessions.find(first) is None
    assert token_of(people, "mia") != token
    assert sessions.find(first) is None
    now[0] = LASTS_S
    assert sessions.find(second) is None


@pytest.mark.parametrize("to", ["", "//evil.example", "https://evil.example", "/console/budgets/\\evil", "/elsewhere"])
def test_a_login_leads_nowhere_else(to: str) -> None:
    assert _own_path(to) == f"{PLACE}/"
    assert _own_path(f"{PLACE}/budgets/b") == f"{PLACE}/budgets/b"
