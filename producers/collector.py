"""The HTTP collector, for services that do not speak Kafka: `python -m producers.collector`, until SIGTERM.

`POST /v1/events` takes one event, or a list, and answers 202 when the broker has acknowledged each of them.
`GET /v1/limits/ORGANIZATION/KIND/NAME` tells what a scope has used. Both want the bearer token of `collector/token` in
the state directory, which is made at the first start, readable by its owner only.
"""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import click
import orjson
from aiohttp import web
from confluent_kafka import KafkaException
from pydantic import ValidationError

from producers.client import Failure, Place, Producer
from producers.guard import Guard
from producers.limit_book import Standing
from schemas.event import UsageEvent, explain_parts
from schemas.money import usd_text
from schemas.registry import RegistryAwayError
from schemas.settings import Settings
from schemas.tokens import is_bearer, read_token

MOST_EVENTS = 1_000
MOST_BYTES = 8 << 20
POLL_S = 0.05
JSON = "application/json"

log = logging.getLogger("tollbook.collector")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class InvalidEventsError(Exception):
    """What is wrong with a request: each fault names event (its place in the list), field, value and rule."""

    def __init__(self, faults: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


class Collector:
    """The application; `producer` and `guard` are shared by all requests."""

    def __init__(self, producer: Producer, guard: Guard, token: str) -> None:
        self._producer, self._guard = producer, guard
        self._token = token

    def application(self) -> web.Application:
        """Its routes."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._authenticated])
        app.router.add_get("/health", _health)
        app.router.add_post("/v1/events", self._post_events)
        app.router.add_get("/v1/limits/{organization}/{kind}/{name:.*}", self._get_limits)
        return app

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if request.path != "/health" and not is_bearer(given, self._token):
            answer = _answer(401, {"error": "Authorization: Bearer TOKEN is missing or wrong"})
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        return await handler(request)

    async def _post_events(self, request: web.Request) -> web.Response:
        try:
            events = parse_events(await request.read())
        except InvalidEventsError as error:
            return _answer(400, {"error": "nothing was sent", "faults": error.faults})
        outcomes = await self._sent(events)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        if failures:
            told = [{"event_id": failure.event_id, "error": failure.error} for failure in failures]
            return _answer(503, {"error": "not acknowledged; send the same events again", "failures": told})
        return _answer(202, {"acknowledged": len(outcomes)})

    async def _sent(self, events: list[UsageEvent]) -> list[Place | Failure]:
        """What became of each event."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Place | Failure]] = [loop.create_future() for _ in events]

        def emit() -> None:
            for event, future in zip(events, futures, strict=True):
                self._producer.emit(event, lambda outcome, future=future: _tell(loop, future, outcome))  # type: ignore[misc]

        await asyncio.to_thread(emit)  # it waits while the buffer is full
        return await asyncio.gather(*futures)

    async def _get_limits(self, request: web.Request) -> web.Response:
        place = request.match_info
        standings = self._guard.standings(place["organization"], place["kind"], place["name"])
        staleness_s = self._guard.staleness_s()
        return _answer(
            200,
            {
                "organization": place["organization"],
                "scope_kind": place["kind"],
                "scope": place["name"],
                "staleness_s": None if staleness_s == float("inf") else staleness_s,
                "limits": [as_record(standing) for standing in standings],
            },
        )


def as_record(standing: Standing) -> dict[str, Any]:
    """With amounts as decimal text in the budget's unit, as in limit.v1: pico-dollars outgrow JSON's numbers."""
    amounts = {
        name: usd_text(value) if standing.unit == "cost" else str(value)
        for name, value in zip(
            ("used", "reserved", "limit"), (standing.used, standing.reserved, standing.limit), strict=True
        )
    }
    return standing._asdict() | amounts


def parse_events(body: bytes) -> list[UsageEvent]:
    """The events of a request, all of them valid. Raises InvalidEventsError with every fault."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidEventsError(
            [_fault(None, "body", body[:100].decode(errors="replace"), f"JSON: {error}")]
        ) from error
    items = found if isinstance(found, list) else [found]
    if not 1 <= len(items) <= MOST_EVENTS:
        raise InvalidEventsError([_fault(None, "events", len(items), f"must be 1 to {MOST_EVENTS}")])
    events, faults = [], []
    for number, item in enumerate(items):
        try:
            events.append(UsageEvent.model_validate_json(orjson.dumps(item)))
        except ValidationError as error:
            faults += [_fault(number, *parts) for parts in explain_parts(error)]
    if faults:
        raise InvalidEventsError(faults)
    return events


def _fault(event: int | None, field: str, value: Any, rule: str) -> dict[str, Any]:
    return {"event": event, "field": field, "value": value, "rule": rule}


def _tell(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Place | Failure]", outcome: Place | Failure) -> None:
    """From the thread that polls to the loop; who asked may be gone."""
    loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(outcome))


async def _health(_: web.Request) -> web.Response:
    return _answer(200, {"status": "ok"})


def _answer(status: int, value: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type=JSON)


async def serve(app: web.Application, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT; requests that are running are answered."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, shutdown_timeout=5.0).start()
    log.info("listens on %s:%d", host, port)
    await stopping.wait()
    await runner.cleanup()


def _poll(producer: Producer, stopping: threading.Event) -> None:
    while not stopping.is_set():
        producer.poll(POLL_S)


@click.command(epilog="Example: python -m producers.collector")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another one only inside a container.")
def main(host: str) -> None:
    """Take events and tell limits over HTTP. Exit 0 after SIGTERM, 1 after an error that a new start may mend."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    settings = Settings()
    stopping = threading.Event()
    try:
        with Producer(settings) as producer, Guard(settings, fail_closed=False) as guard:
            polling = threading.Thread(target=_poll, args=(producer, stopping), name="acknowledgements")
            polling.start()
            try:
                token = read_token(settings.state_dir / "collector/token")
                port = urlsplit(settings.collector).port or 80
                asyncio.run(serve(Collector(producer, guard, token).application(), host, port))
            finally:
                stopping.set()
                polling.join()
    except (KafkaException, RegistryAwayError, LookupError, OSError) as error:
        log.error("ends: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
