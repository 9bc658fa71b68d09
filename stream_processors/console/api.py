"""`/v1` of the console: budgets, top-ups and resumes for programs, as JSON, by a person's bearer token.

What is asked for goes through the same code as the command line; what is wrong is told by field, value and rule.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from confluent_kafka import KafkaException
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.event import explain_parts
from schemas.registry import RegistryAwayError
from schemas.settings import Settings
from stream_processors import budget_actions
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
from stream_processors.budget_standings import fullest, members
from stream_processors.commands.output import json_text
from stream_processors.console.actions import Ledger
from stream_processors.console.people import person_of
from stream_processors.core.budget_forms import build_budgets, faults_of
from stream_processors.core.budget_history import current
from stream_processors.warehouse import WarehouseError

MOST_MEMBERS = 100
JSON = "application/json"
PERSON = web.RequestKey("person", str)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Json = dict[str, Any]

log = logging.getLogger("tollbook.console")


class InvalidRequestError(Exception):
    """What is wrong with a request: each fault names field, value and rule, and of several budgets which (`budget`)."""

    def __init__(self, faults: list[Json]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    budget: str
    organization: str | None = None
    scope: str | None = None


class TopUp(_Body):
    """What `POST /v1/topups` takes."""

    amount: str | int


class Resume(_Body):
    """What `POST /v1/resume` takes."""


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
        app.router.add_post("/topups", self._top_up)
        app.router.add_post("/resume", self._resume)
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
        options = {"prune": False, "next_window": False} | _flags(request, allowed)
        wanted = build_budgets(parse_tables(await request.read(), budget_id))
        done = await self._ledger.change(budget_actions.apply_budgets, wanted, request[PERSON], _now(), **options)
        log.info("%s applied %s", request[PERSON], ", ".join(done.grown) or "what is in force already")
        return _answer(200, applied_json(done, options["prune"]))

    async def _top_up(self, request: web.Request) -> web.Response:
        asked = _parsed(TopUp, await request.read())
        whose = (asked.organization, asked.scope)
        done = await self._ledger.change(
            budget_actions.top_up, asked.budget, str(asked.amount), whose, request[PERSON], _now()
        )
        log.info("%s topped up %s", request[PERSON], asked.budget)
        return _answer(200, topped_up_json(done))

    async def _resume(self, request: web.Request) -> web.Response:
        asked = _parsed(Resume, await request.read())
        whose = (asked.organization, asked.scope)
        done = await self._ledger.change(budget_actions.resume, asked.budget, whose, request[PERSON], _now())
        log.info("%s resumed %s", request[PERSON], asked.budget)
        return _answer(200, resumed_json(done, asked.budget))


def list_budgets(settings: Settings) -> Json:
    """Every budget; `fullest` is null, and `usage` says why, while ClickHouse is away."""
    found, usage = {}, "landed"
    try:
        found = fullest(settings)
    except WarehouseError as error:
        usage = str(error)
    histories = sorted(read_histories(settings.kafka).items())
    return {"budgets": [listed_json(history, _now(), found.get(name)) for name, history in histories], "usage": usage}


def show_budget(settings: Settings, budget_id: str) -> Json:
    """One budget, its members, and who changed what of it and when. Raises RefusedError, WarehouseError."""
    history = budget_actions.history_of(settings, budget_id)
    rows = members(settings, budget_id, MOST_MEMBERS)
    return {
        **budget_json(current(history, _now())),
        "history": versions_json(history),
        "members": [standing_json(row) for row in rows],
    }


def parse_tables(body: bytes, budget_id: str | None) -> list[Json]:
    """The budgets of a request without a fault: one (that of the path), or a list. Raises InvalidRequestError."""
    found = _json(body)
    tables = found if isinstance(found, list) and budget_id is None else [found]
    if not all(isinstance(table, dict) for table in tables):
        raise InvalidRequestError([_fault("body", found, "must be a budget, or for /v1/budgets a list of budgets")])
    if budget_id is not None:
        if tables[0].get("id", budget_id) != budget_id:
            raise InvalidRequestError([_fault("id", tables[0]["id"], f"must be that of the path, {budget_id}")])
        tables = [tables[0] | {"id": budget_id}]
    faults = [{"budget": fault.number} | _fault(fault.field, fault.value, fault.rule) for fault in faults_of(tables)]
    if faults:
        raise InvalidRequestError(faults)
    return tables


def _parsed(form: type[BaseModel], body: bytes) -> Any:
    try:
        return form.model_validate(_json(body))
    except ValidationError as error:
        raise InvalidRequestError([_fault(*parts) for parts in explain_parts(error)]) from error


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            [_fault("body", body[:100].decode(errors="replace"), f"must be JSON: {error}")]
        ) from error


def _flags(request: web.Request, allowed: tuple[str, ...]) -> dict[str, bool]:
    """The options of a query, `true` or `false` each."""
    faults = [
        _fault(name, value, f"must be one of {', '.join(allowed)}, true or false")
        for name, value in request.query.items()
        if name not in allowed or value not in ("true", "false")
    ]
    if faults:
        raise InvalidRequestError(faults)
    return {name: value == "true" for name, value in request.query.items()}


@web.middleware
async def _answers_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except InvalidRequestError as error:
        return _answer(400, {"error": "nothing was changed", "faults": error.faults})
    except RefusedError as error:
        unknown = error.field == "budget"
        faults = [_fault(error.field, error.value, error.rule)]
        return _answer(404 if unknown else 400, {"error": "nothing was changed", "faults": faults})
    except NothingPausedError as error:
        return _answer(409, {"error": str(error)})
    except KafkaException as error:
        return _answer(503, {"error": f"Kafka does not answer: {error.args[0].str()}"})
    except (RegistryAwayError, WarehouseError) as error:
        return _answer(503, {"error": str(error)})


def _fault(field: str, value: Any, rule: str) -> Json:
    return {"field": field, "value": value, "rule": rule}


def _answer(status: int, value: Json) -> web.Response:
    return web.Response(status=status, text=json_text(value), content_type=JSON)


def _now() -> int:
    return time.time_ns() // 1000
