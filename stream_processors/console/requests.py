"""What a request to `/v1` of the console says; what is wrong is told by field, value and rule."""

from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from schemas.event import explain_parts
from stream_processors.core.budget_forms import faults_of

Json = dict[str, Any]


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
    grant_id: str = ""
    until: Annotated[AwareDatetime | None, Field(strict=False)] = None


class Resume(_Body):
    """What `POST /v1/resume` takes."""


class Acknowledgement(BaseModel):
    """What `POST /v1/acknowledgements` takes."""

    model_config = _Body.model_config

    alert_id: str
    note: str = ""


class Snooze(_Body):
    """What `POST /v1/snoozes` takes; 0 hours end one."""

    hours: float


def parse_tables(body: bytes, budget_id: str | None) -> list[Json]:
    """The budgets of a request without a fault: one (that of the path), or a list. Raises InvalidRequestError."""
    found = _json(body)
    tables = found if isinstance(found, list) and budget_id is None else [found]
    if not all(isinstance(table, dict) for table in tables):
        raise InvalidRequestError([fault_of("body", found, "must be a budget, or for /v1/budgets a list of budgets")])
    if budget_id is not None:
        if tables[0].get("id", budget_id) != budget_id:
            raise InvalidRequestError([fault_of("id", tables[0]["id"], f"must be that of the path, {budget_id}")])
        tables = [tables[0] | {"id": budget_id}]
    faults = [{"budget": fault.number} | fault_of(fault.field, fault.value, fault.rule) for fault in faults_of(tables)]
    if faults:
        raise InvalidRequestError(faults)
    return tables


def parsed(form: type[BaseModel], body: bytes) -> Any:
    try:
        return form.model_validate(_json(body))
    except ValidationError as error:
        raise InvalidRequestError([fault_of(*parts) for parts in explain_parts(error)]) from error


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            [fault_of("body", body[:100].decode(errors="replace"), f"must be JSON: {error}")]
        ) from error


def flags(request: web.Request, allowed: tuple[str, ...]) -> dict[str, bool]:
    """The options of a query, `true` or `false` each."""
    faults = [
        fault_of(name, value, f"must be one of {', '.join(allowed)}, true or false")
        for name, value in request.query.items()
        if name not in allowed or value not in ("true", "false")
    ]
    if faults:
        raise InvalidRequestError(faults)
    return {name: value == "true" for name, value in request.query.items()}


def fault_of(field: str, value: Any, rule: str) -> Json:
    return {"field": field, "value": value, "rule": rule}
