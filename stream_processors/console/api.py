"""`/v1` of the console: budgets, top-ups, resumes and answers to alerts, for programs, by a person's bearer token.

What is asked for goes through the same code as the command line; what is wrong is told by field, value and rule.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from confluent_kafka import KafkaException

from schemas.calendar import load_calendar
from schemas.registry import RegistryAwayError
from schemas.settings import Settings
from stream_processors import budget_actions, responses
from stream_processors.budget_actions import NothingPausedError, RefusedError
from stream_processors.budget_json import (
    applied_json,
    budget_json,
    listed_json,
    resumed_json,
    standing_json,
    topped_up_json,
    versions_json,
)
from stream_processors.budget_log import read_histories
from stream_processors.budget_standings import actives, fullest, members
from stream_processors.commands.output import json_text
from stream_processors.console.actions import Ledger
from stream_processors.console.people import person_of
from stream_processors.console.requests import (
    Acknowledgement,
    InvalidRequestError,
    Json,
    Resume,
    Snooze,
    TopUp,
    fault_of,
    flags,
    parse_tables,
    parsed,
)
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budget_forms import build_budgets
from stream_processors.core.budget_history import current
from stream_processors.core.dated import instant_us
from stream_processors.core.plans import covered, is_plan
from stream_processors.warehouse import WarehouseError

MOST_MEMBERS = 100
JSON = "application/json"
PERSON = web.RequestKey("person", str)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("tollbook.console")


class Api:
    """Its handlers; `people` is the folder of tokens."""

    def __init__(self, ledger: Ledger, people: Path) -> None:
        self._ledger, self._people = ledger, people

    def application(self) -> web.Application:
        """To be mounted at /v1."""
        app = web.Application(middlewares=[_answers_errors, self._authenticated])
        app.router.add_get("/budgets", self._list)
        app.router.add_put("/budgets", self._put)
        app.router.add_get("/budgets/{id}", self._show)
        app.router.add_put("/budgets/{id}", self._put)
        app.router.add_get("/plans", self._list_plans)
        app.router.add_put("/plans/{id}", self._put_plan)
        app.router.add_post("/topups", self._top_up)
        app.router.add_post("/resume", self._resume)
        app.router.add_post("/acknowledgements", self._acknowledge)
        app.router.add_post("/snoozes", self._snooze)
        return app

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        person = person_of(self._people, token) if scheme == "Bearer" else None
        if person is None:
            answer = _answer(401, {"error": "Authorization: Bearer TOKEN is missing or wrong"})
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        request[PERSON] = person
        return await handler(request)

    async def _list(self, _: web.Request) -> web.Response:
        return _answer(200, await self._ledger.ask(list_budgets))

    async def _show(self, request: web.Request) -> web.Response:
        return _answer(200, await self._ledger.ask(show_budget, request.match_info["id"]))

    async def _put(self, request: web.Request) -> web.Response:
        budget_id = request.match_info.get("id")
        allowed = ("next_window",) if budget_id is not None else ("next_window", "prune")
        options = {"prune": False, "next_window": False} | flags(request, allowed)
        wanted = build_budgets(parse_tables(await request.read(), budget_id))
        done = await self._ledger.change(budget_actions.apply_budgets, wanted, request[PERSON], _now(), **options)
        log.info("%s applied %s", request[PERSON], ", ".join(done.grown) or "what is in force already")
        return _answer(200, applied_json(done, options["prune"]))

    async def _list_plans(self, _: web.Request) -> web.Response:
        return _answer(200, await self._ledger.ask(list_plans))

    async def _put_plan(self, request: web.Request) -> web.Response:
        """A change waits for the next cycle, unless it is to be at once; a plan that is new does not."""
        [plan] = build_budgets(parse_tables(await request.read(), request.match_info["id"]))
        if not is_plan(plan):
            raise InvalidRequestError(
                [fault_of("projects", None, "a plan includes a number of projects, or of members")]
            )
        exists = plan.id in await self._ledger.ask(lambda settings: read_histories(settings.kafka))
        options = {"next_window": exists} | flags(request, ("next_window",))
        done = await self._ledger.change(
            budget_actions.apply_budgets, [plan], request[PERSON], _now(), prune=False, **options
        )
        log.info("%s set plan %s", request[PERSON], plan.id)
        return _answer(200, applied_json(done, prune=False))

    async def _top_up(self, request: web.Request) -> web.Response:
        asked = parsed(TopUp, await request.read())
        whose = (asked.organization, asked.scope)
        until = None if asked.until is None else instant_us(asked.until)
        named = (asked.budget, str(asked.amount), whose, request[PERSON], _now(), asked.grant_id, until)
        done = await self._ledger.change(budget_actions.top_up, *named)
        log.info("%s topped up %s", request[PERSON], asked.budget)
        return _answer(200, topped_up_json(done))

    async def _resume(self, request: web.Request) -> web.Response:
        asked = parsed(Resume, await request.read())
        whose = (asked.organization, asked.scope)
        done = await self._ledger.change(budget_actions.resume, asked.budget, whose, request[PERSON], _now())
        log.info("%s resumed %s", request[PERSON], asked.budget)
        return _answer(200, resumed_json(done, asked.budget))

    async def _acknowledge(self, request: web.Request) -> web.Response:
        asked = parsed(Acknowledgement, await request.read())
        person = request[PERSON]
        said = await self._ledger.change(responses.acknowledge, asked.alert_id, asked.note, person, _now())
        log.info("%s acknowledged %s", person, asked.alert_id)
        return _answer(200, said.model_dump())

    async def _snooze(self, request: web.Request) -> web.Response:
        asked = parsed(Snooze, await request.read())
        whose, person = (asked.organization, asked.scope), request[PERSON]
        said = await self._ledger.change(responses.snooze, asked.budget, whose, asked.hours, person, _now())
        log.info("%s snoozed %s for %g hours", person, asked.budget, asked.hours)
        return _answer(200, said.model_dump())


def list_budgets(settings: Settings) -> Json:
    """Every budget; `fullest` is null, and `usage` says why, while ClickHouse is away."""
    found, usage = {}, "landed"
    try:
        found = fullest(settings)
    except WarehouseError as error:
        usage = str(error)
    histories = sorted(read_histories(settings.kafka).items())
    return {"budgets": [listed_json(history, _now(), found.get(name)) for name, history in histories], "usage": usage}


def list_plans(settings: Settings) -> Json:
    """Each plan, what is planned of it, and who is active in the cycle that is running. Raises WarehouseError."""
    now, calendar = _now(), load_calendar(settings.calendar)
    plans = []
    for _, history in sorted(read_histories(settings.kafka).items()):
        budget = current(history, now)
        if is_plan(budget):
            window = calendar.window(budget.period, now)
            active = covered(budget, actives(settings, calendar, window))
            used = {row["organization"]: row["used"] for row in members(settings, budget.id, MOST_MEMBERS)}
            standing = [each._asdict() | {"used": used.get(each.organization, "0")} for each in active]
            plans.append(listed_json(history, now, None) | {"window_end": instant(window.end), "active": standing})
    return {"plans": plans}


def show_budget(settings: Settings, budget_id: str) -> Json:
    """One budget, its members, and who changed what of it and when. Raises RefusedError, WarehouseError."""
    history = budget_actions.history_of(settings, budget_id)
    rows = members(settings, budget_id, MOST_MEMBERS)
    return {
        **budget_json(current(history, _now())),
        "history": versions_json(history),
        "members": [standing_json(row) for row in rows],
    }


@web.middleware
async def _answers_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except InvalidRequestError as error:
        return _answer(400, {"error": "nothing was changed", "faults": error.faults})
    except RefusedError as error:
        unknown = error.field in ("budget", "alert_id")
        faults = [fault_of(error.field, error.value, error.rule)]
        return _answer(404 if unknown else 400, {"error": "nothing was changed", "faults": faults})
    except NothingPausedError as error:
        return _answer(409, {"error": str(error)})
    except KafkaException as error:
        return _answer(503, {"error": f"Kafka does not answer: {error.args[0].str()}"})
    except (RegistryAwayError, WarehouseError) as error:
        return _answer(503, {"error": str(error)})


def _answer(status: int, value: Json) -> web.Response:
    return web.Response(status=status, text=json_text(value), content_type=JSON)


def _now() -> int:
    return time.time_ns() // 1000
