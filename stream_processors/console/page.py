"""`/console`: the page on which people see how budgets stand and act on them. Plain HTML, no script.

A form changes something only with the cookie of a login (SameSite=Strict), the secret that its page was made with, and
from a page of this host: cookies do not tell ports apart, so another service on the machine must not suffice.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web
from confluent_kafka import KafkaException
from jinja2 import Environment, PackageLoader, StrictUndefined

from schemas.calendar import BUDGET_PERIODS
from schemas.money import grouped
from schemas.registry import RegistryAwayError
from stream_processors.budget_actions import NothingPausedError, RefusedError
from stream_processors.commands.standings import percent
from stream_processors.console import acts
from stream_processors.console.actions import Ledger
from stream_processors.console.sessions import LASTS_S, Session, Sessions
from stream_processors.console.views import overview, show
from stream_processors.core.budgets import ACTIONS, UNITS

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
Act = Callable[[Ledger, str, acts.Form, str], Awaitable[str]]
ACTS: Mapping[str, Act] = {
    "set": acts.set_limit,
    "top-up": acts.top_up,
    "resume": acts.resume,
    "acknowledge": acts.acknowledge,
    "snooze": acts.snooze,
}

log = logging.getLogger("tollbook.console")


class Page:
    """Its handlers. `people` is the folder of tokens, `clock` tells seconds, from anywhere."""

    def __init__(self, ledger: Ledger, people: Path, clock: Callable[[], float]) -> None:
        self._ledger, self._sessions = ledger, Sessions(people, clock)
        self._templates = Environment(
            loader=PackageLoader("stream_processors.console"), autoescape=True, undefined=StrictUndefined
        )
        self._templates.filters |= {"grouped": grouped, "percent": percent, "days": _days, "minute": acts.minute}
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
        app.router.add_get("/new", self._show_new)
        app.router.add_post("/new", self._make)
        for name, act in ACTS.items():
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
        # `once`: a form that is sent twice, by a double click or from the browser's history, tops up once.
        return self._html("budget.html", session=session, actions=ACTIONS, told=told, once=lambda: token_hex(8), **seen)

    async def _show_new(self, request: web.Request) -> web.Response:
        return self._new(request, {}, "")

    def _new(self, request: web.Request, form: acts.Form, wrong: str) -> web.Response:
        choices = {"periods": BUDGET_PERIODS, "units": UNITS, "actions": ACTIONS}
        status = 400 if wrong else 200
        return self._html("new.html", status, session=request[SESSION], form=form, wrong=wrong, **choices)

    async def _show_style(self, _: web.Request) -> web.Response:
        return web.Response(text=self._style, content_type="text/css")

    def _html(self, template: str, status: int = 200, **values: Any) -> web.Response:
        text = self._templates.get_template(template).render(place=PLACE, **values)
        return web.Response(status=status, text=text, content_type="text/html")

    # ---- what is done

    async def _make(self, request: web.Request) -> web.StreamResponse:
        session, form = request[SESSION], await _form(request)
        try:
            budget_id, said = await acts.make(self._ledger, form, session.person)
        except RefusedError as error:
            return self._new(request, form, f"Nothing was changed. {error}")
        log.info("%s: %s: %s", session.person, budget_id, said)
        session.told.append(said)
        raise web.HTTPSeeOther(f"{PLACE}/budgets/{quote(budget_id, safe='')}")

    def _acting(self, act: Act) -> Handler:
        """The handler of a form: does it, and leads back to the budget, where it is told what became of it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            session, budget_id = request[SESSION], request.match_info["id"]
            form = await _form(request)
            try:
                said = await act(self._ledger, budget_id, form, session.person)
                log.info("%s: %s: %s", session.person, budget_id, said)
            except (RefusedError, NothingPausedError) as error:
                said = f"Nothing was changed. {error}"
            session.told.append(said)
            raise web.HTTPSeeOther(f"{PLACE}/budgets/{quote(budget_id, safe='')}")

        return handle


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


async def _form(request: web.Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await request.post()).items()}


def _own_path(to: str) -> str:
    """Where a login leads: a place of this page, whatever was asked for."""
    ours = to.startswith(f"{PLACE}/budgets/") or to == f"{PLACE}/new"
    return to if ours and "\\" not in to else f"{PLACE}/"


def _days(seconds: int) -> str:
    return str((Decimal(seconds) / 86_400).quantize(Decimal("0.1")))
