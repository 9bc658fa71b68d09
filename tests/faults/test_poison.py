"""Poison among good events, and nothing but poison: rating halts, says so, and goes on when it is told to."""

import json
import secrets
import time
from dataclasses import replace

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from schemas.codec import avro_text, frame
from schemas.topics import EVENTS
from stream_processors.alert_log import read_alerts
from stream_processors.core.pipeline_alerts import REJECTED_EVENTS

from .ground import Ground, wait_until
from .poison import KINDS, salted, spoilt
from .scenario import Scenario

HALTED, HALTS = "stands still", "stands still|goes on"  # what alerts say


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_poison_at_one_in_a_hundred(scenario: Scenario, kind: str) -> None:
    load = scenario.load(1_000 if kind == "5 MB" else 20_000)
    scenario.send(salted(load, scenario.seed, _now_us(), [kind], 0.01), rate=10_000).finish()
    scenario.over()
    scenario.check()


def test_all_kinds_of_poison_together(scenario: Scenario) -> None:
    load = scenario.load(5_000)
    few = [kind for kind in KINDS if kind != "5 MB"]
    records = salted(load, scenario.seed, _now_us(), few, 0.05)
    records[2_500] = spoilt(load[2_500], "5 MB", _now_us())
    scenario.send(records).finish()
    scenario.over()
    scenario.check()


def test_only_poison_halts_rating_until_it_is_accepted(scenario: Scenario) -> None:
    """All in one partition: good events, a thousand of poison, good events. A restart changes nothing."""
    ground, at = scenario.ground, _now_us()
    load = [replace(one, key=b"one") for one in scenario.load(2_000)]
    poison = [spoilt(one, "negative", at) for one in load[500:1_500]]
    began = len(_halts(ground))
    scenario.send([*load[:500], *poison, *load[1_500:]]).finish()
    wait_until(lambda: _halts(ground)[began:] == ["raised"], "alert that rating stands still")
    sizes = ground.log_sizes()
    ground.wait_restarted("rating", ground.kill("rating"))
    wait_until(lambda: HALTED in ground.log_since("rating", sizes), "rating that stands still again")
    assert ground.lag() > 0
    ground.tollbook("rejected", "accept")
    scenario.over()
    assert _halts(ground)[began:] == ["raised", "retracted"]
    scenario.check(provoked=HALTS)


def test_events_of_a_schema_that_comes_late_are_counted(scenario: Scenario) -> None:
    """Rating halts, and goes on by itself when the registry knows the schema."""
    ground = scenario.ground
    load = [replace(one, key=b"one") for one in scenario.load(2_000)]
    text, schema_id = _later_version(ground)
    began = len(_halts(ground))
    scenario.send([replace(one, value=frame(schema_id) + one.value[5:]) for one in load]).finish()
    wait_until(lambda: _halts(ground)[began:] == ["raised"], "alert that rating stands still")
    assert _registered(ground, text) == schema_id
    scenario.over()
    assert _halts(ground)[began:] == ["raised", "retracted"]
    scenario.check(provoked=HALTS)


def _later_version(ground: Ground) -> tuple[str, int]:
    """A schema that writes the same bytes under another name of its documentation, and the id that it will get."""
    schema = json.loads(avro_text("usage_event.v1"))
    text = json.dumps({**schema, "doc": f"{schema.get('doc', '')} Once more."})
    probe = json.dumps(
        {"type": "record", "name": "Probe", "fields": [{"name": "at", "type": "long", "doc": secrets.token_hex(4)}]}
    )
    registry = SchemaRegistryClient({"url": ground.settings.registry})
    return text, registry.register_schema(f"probe-{secrets.token_hex(4)}", Schema(probe, "AVRO")) + 1


def _registered(ground: Ground, text: str) -> int:
    registry = SchemaRegistryClient({"url": ground.settings.registry})
    return registry.register_schema(f"{EVENTS}-value", Schema(text, "AVRO"))


def _halts(ground: Ground) -> list[str]:
    """What has been said about halts, in the order of the log of one partition after another."""
    alerts = read_alerts(ground.settings, follow=False)
    said = [one for one in alerts if one["type"] == "pipeline" and one["unit"] == REJECTED_EVENTS]
    return [one["state"] for one in sorted(said, key=lambda one: one["raised_at"])]


def _now_us() -> int:
    return time.time_ns() // 1000
