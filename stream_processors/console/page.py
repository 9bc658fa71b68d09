"""`/console`: the page on which people see how budgets stand and act on them. Plain HTML, no script.

A form changes something only with the cookie of a login (SameSite=Strict), the secret that its page was made with, and
from a page of this host: cookies do not tell ports apart, so another service on the machine must not suffice.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web
from confluent_kafka import KafkaException
from jinja2 import Environment, PackageLoader, StrictUndefined

from schemas.money import grouped
from schemas.registry import RegistryAwayError
from stream_processors import budget_actions
from stream_processors.budget_actions import NothingPausedError, RefusedError
from stream_processors.commands.standings import percent
from stream_processors.console.actions import Ledger
from stream_processors.console.sessions import LASTS_S, Session, Sessions
from stream_processors.console.views import overview, show
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budget_changes import describe_change
from stream_processors.core.budgets import ACTIONS, amount_text

PLACE = "/console"
COOKIE = "tollbook_console"
SESSION = web.RequestKey("session", Session)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",  # without one, browsers send no Origin with a form either
    "X-Content-Type-Options": "nosniff",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Form = Mapping[str, str]

log = logging.getLogger("tollbook.console")


class Page:
    """Its handlers. `people` is the folder of tokens, `clock` tells seconds, from anywhere."""

    def __init__(self, ledger: Ledger, people: Path, clock: Callable[[], float]) -> None:
        self._ledger, self._sessions = ledger, Sessions(people, clock)
        self._templates = Environment(
            loader=PackageLoader("stream_processors.console"), autoescape=True, undefined=StrictUndefined
        )
        self._templates.filters |= {"grouped": grouped, "percent": percent, "days": _days, "minute": _minute}
        self._style = files("stream_processors.console").joinpath("templates/style.css").read_text()

    def application(self) -> web.Application:
        """To be mounted at PLACE."""
        app = web.Application(middlewares=[_secured, self._logged_in])
        app.router.add_get("/style.css", self._show_style)
        app.router.add_get("/login", self._show_login)
        app.router.add_post("/login", self._login)
        app.router.add_post("/logout", self._logout)
        app.router.add_get("/", self._overview)
        app.router.add_get("/budgets/{id}", self._show)
        for name, act in (("set", self._set), ("top-up", self._top_up), ("resume", self._resume)):
            app.router.add_post(f"/budgets/{{id}}/{name}", self._acting(act))
        return app

    # ---- who is there

    @web.middleware
    async def _logged_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in (f"{PLACE}/login", f"{PLACE}/style.css"):
            return await handler(request)
        session = self._sessions.find(request.cookies.get(COOKIE, ""))
        if session is None:
            raise web.HTTPSeeOther(f"{PLACE}/login?to={quote(request.path)}")
        if request.method == "POST" and not session.sent(str((await request.post()).get("form_secret", ""))):
            raise web.HTTPForbidden(text="This form is of another login. Go back, load the page anew, try again.")
        request[SESSION] = session
        return await handler(request)

    async def _show_login(self, request: web.Request) -> web.Response:
        return self._html("login.html", to=_own_path(request.query.get("to", "")), wrong=False, session=None)

    async def _login(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        to = _own_path(str(form.get("to", "")))
        cookie = self._sessions.begin(str(form.get("token", "")).strip())
        if cookie is None:
            return self._html("login.html", status=403, to=to, wrong=True, session=None)
        answer = web.HTTPSeeOther(to)
        answer.set_cookie(
            COOKIE, cookie, max_age=LASTS_S, path=PLACE, httponly=True, samesite="Strict", secure=request.secure
        )
        raise answer

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        self._sessions.end(request.cookies.get(COOKIE, ""))
        answer = web.HTTPSeeOther(f"{PLACE}/login")
        answer.del_cookie(COOKIE, path=PLACE)
        raise answer

    # ---- what is shown

    async def _overview(self, request: web.Request) -> web.Response:
        seen = await self._ledger.ask(overview)
        return self._html("overview.html", session=request[SESSION], **seen)

    async def _show(self, request: web.Request) -> web.Response:
        session = request[SESSION]
        try:
            seen = await self._ledger.ask(show, request.match_info["id"])
        except RefusedError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        told, session.told = session.told, []
        return self._html("budget.html", session=session, actions=ACTIONS, told=told, **seen)

    async def _show_style(self, _: web.Request) -> web.Response:
        return web.Response(text=self._style, content_type="text/css")

    def _html(self, template: str, status: int = 200, **values: Any) -> web.Response:
        text = self._templates.get_template(template).render(place=PLACE, **values)
        return web.Response(status=status, text=text, content_type="text/html")

    # ---- what is done

    def _acting(self, act: Callable[[str, Form, str], Awaitable[str]]) -> Handler:
        """The handler of a form: does it, and leads back to the budget, where it is told what became of it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            session, budget_id = request[SESSION], request.match_info["id"]
            form = {name: str(value) for name, value in (await request.post()).items()}
            try:
                said = await act(budget_id, form, session.person)
                log.info("%s: %s: %s", session.person, budget_id, said)
            except (RefusedError, NothingPausedError) as error:
                said = f"Nothing was changed. {error}"
            session.told.append(said)
            raise web.HTTPSeeOther(f"{PLACE}/budgets/{quote(budget_id, safe='')}")

        return handle

    async def _set(self, budget_id: str, form: Form, person: str) -> str:
        wanted = {name: form.get(name, "").strip() for name in ("limit", "action")}
        done = await self._ledger.change(
            budget_actions.set_budget, budget_id, wanted, form.get("version", ""), person, _now()
        )
        changed = [describe_change(old, new) for old, new in done.changes.changed]
        return f"In force: {changed[0] or 'as it is; what was planned is dropped'}." if changed else "It is so already."

    async def _top_up(self, budget_id: str, form: Form, person: str) -> str:
        done = await self._ledger.change(
            budget_actions.top_up, budget_id, form.get("amount", "").strip(), _whose(form), person, _now()
        )
        more = f"{grouped(amount_text(done.budget.unit, done.grant.amount))} {done.budget.unit} more"
        return f"{more} for {done.grant.scope} of {done.grant.organization} until {_minute(instant(done.until))} UTC."

    async def _resume(self, budget_id: str, form: Form, person: str) -> str:
        done = await self._ledger.change(budget_actions.resume, budget_id, _whose(form), person, _now())
        return f"Goes on: {', '.join(f'{member.scope} of {member.organization}' for member in done.paused)}."


@web.middleware
async def _secured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer says what a browser may do with it; what is away is told as a page, too."""
    try:
        origin = request.headers.get("Origin")
        if request.method == "POST" and origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="This form came from another page.")
        answer = await handler(request)
    except web.HTTPException as error:
        error.headers.update(HEADERS)
        raise
    except KafkaException as error:
        answer = web.Response(status=503, text=f"Kafka does not answer: {error.args[0].str()}")
    except RegistryAwayError as error:
        answer = web.Response(status=503, text=str(error))
    answer.headers.update(HEADERS)
    return answer


def _own_path(to: str) -> str:
    """Where a login leads: a place of this page, whatever was asked for."""
    return to if to.startswith(f"{PLACE}/budgets/") and "\\" not in to else f"{PLACE}/"


def _whose(form: Form) -> tuple[str | None, str | None]:
    if "member" in form:  # of a row: '' is the name of what is unassigned
        return form.get("organization"), form.get("scope")
    return form.get("organization", "").strip() or None, form.get("scope", "").strip() or None


def _days(seconds: int) -> str:
    return str((Decimal(seconds) / 86_400).quantize(Decimal("0.1")))


def _minute(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _now() -> int:
    return time.time_ns() // 1000
