"""docker-compose.yml: valid, the same roles as on one machine, nothing published beyond loopback, no unknown name."""

import json
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from jsonschema.validators import validator_for

from local.config import SECRETS, load_config
from local.processes import NAMES, Process, process_table
from schemas.calendar import Calendar, load_calendar
from schemas.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text()
# What a server has besides: Superset's metadata and its cache are files and memory on one machine.
SERVERS_ONLY = {"superset-database", "superset-cache"}
OURS = ("provision", "migrate", "rating", "windows", "sink", "notifier")


def interpolated() -> dict[str, set[str]]:
    """The variables that Compose puts in, each with its operators and defaults."""
    found: dict[str, set[str]] = {}
    for name, default in re.findall(r"\$\{([A-Z_]+)([^}]*)\}", TEXT):
        found.setdefault(name, set()).add(default)
    return found


def declared() -> dict[str, str]:
    lines = [line.split("=", 1) for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    return {line[0]: line[1] for line in lines}


def one_machine(state_dir: Path) -> list[Process]:
    config = load_config({}, state_dir)
    return process_table(config, dict.fromkeys(SECRETS, "secret") | config.addresses)


def published() -> Iterator[tuple[str, str]]:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            yield name, port


def validator() -> Any:
    place = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(Path(distribution("check-jsonschema").locate_file(place)).read_text())
    assert schema["title"] == "Compose Specification"
    return validator_for(schema)(schema)


def test_file_follows_the_compose_specification() -> None:
    validator().validate(COMPOSE)


def test_specification_refuses_a_misspelt_key() -> None:
    wrong = {"services": {"kafka": {**SERVICES["kafka"], "restarts": "always"}}}
    with pytest.raises(ValidationError, match="restarts"):
        validator().validate(wrong)


def test_roles_are_those_of_one_machine() -> None:
    assert set(SERVICES) == set(NAMES) | SERVERS_ONLY


@pytest.mark.parametrize("name", OURS)
def test_our_processes_run_the_same_commands(name: str, tmp_path: Path) -> None:
    [process] = [process for process in one_machine(tmp_path) if process.name == name]
    assert SERVICES[name]["command"] == ["python", *[part for part in process.command[1:] if part != "-P"]]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_says_how_it_is_and_is_started_again(name: str) -> None:
    service = SERVICES[name]
    step = service["restart"] == "on-failure:5"
    assert step == (name in {"provision", "migrate", "superset-provision"})
    assert step or service["restart"] == "unless-stopped"
    assert step != ("healthcheck" in service)


def test_dependencies_are_met_in_the_way_they_can_be() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            step = SERVICES[needed]["restart"] == "on-failure:5"
            wanted = "service_completed_successfully" if step else "service_healthy"
            assert how == {"condition": wanted}, f"{name} needs {needed}"


def test_order_of_starting_is_that_of_one_machine(tmp_path: Path) -> None:
    for process in one_machine(tmp_path):
        needed = set(SERVICES[process.name].get("depends_on", {})) - SERVERS_ONLY
        assert set(process.after) <= needed, process.name


def test_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":\d+(\.\d+)+$", service["image"]), f"{name}: {service['image']}"
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM python"):
            assert re.match(r"FROM python:\d+\.\d+\.\d+-slim AS ", line), line


def test_kafka_and_registry_are_those_of_one_machine() -> None:
    jars = (ROOT / "local/kafka.lock").read_text()
    [version] = set(re.findall(r"kafka_2\.13\D+(\d+\.\d+\.\d+)", jars))
    assert SERVICES["kafka"]["image"].endswith(f":{version}")
    [version] = set(re.findall(r"apicurio-registry-app\D+(\d+\.\d+\.\d+)", (ROOT / "local/registry.lock").read_text()))
    assert SERVICES["registry"]["image"].endswith(f":{version}")


def test_ports_are_published_on_loopback_only() -> None:
    ports = dict(published())
    assert set(ports) == {"kafka", "registry", "clickhouse", "superset", "collector", "console"}
    assert all(port.startswith("127.0.0.1:") for port in ports.values())


def test_everything_that_reads_the_calendar_has_it() -> None:
    for name in (*OURS, "collector", "console", "superset-provision", "superset"):
        path = SERVICES[name]["environment"]["TOLLBOOK_CALENDAR"]
        [mount] = [each for each in SERVICES[name]["volumes"] if isinstance(each, dict) and each["target"] == path]
        assert mount["source"] == "${TOLLBOOK_CALENDAR:-calendar.toml}", name
        assert mount["bind"] == {"create_host_path": False}, name  # a folder in its place would mean UTC days
    assert load_calendar(ROOT / "calendar.toml") == Calendar()


def test_services_talk_on_a_network_without_a_way_out() -> None:
    assert COMPOSE["networks"]["ledger"] == {"internal": True}
    publishing = {name for name, _ in published()}
    for name, service in SERVICES.items():
        outside = ["outside"] if name == "notifier" else ["host"] if name in publishing else []
        assert service["networks"] == ["ledger", *outside], name
        assert "network_mode" not in service
        assert "privileged" not in service


def test_secrets_have_no_default() -> None:
    for name, operators in interpolated().items():
        secret = "PASSWORD" in name or "SECRET" in name or name.endswith("CLUSTER_ID")
        assert secret == (operators == {":?see .env.example"}), name
        assert not secret or declared()[name] == ""


def test_example_names_every_variable_and_no_other() -> None:
    of_settings = {f"TOLLBOOK_{name.upper()}" for name in Settings.model_fields}
    of_services = {name for service in SERVICES.values() for name in service.get("environment", {})}
    of_ports = {f"TOLLBOOK_{name.upper()}_PORT" for name in load_config({}, ROOT).ports.__dataclass_fields__}
    ours = {name for name in of_services if name.startswith("TOLLBOOK_")}
    assert set(declared()) == of_settings | ours | of_ports | set(interpolated())


def test_example_tells_the_defaults_of_settings() -> None:
    for name, field in Settings.model_fields.items():
        if name == "clickhouse_password":
            continue
        assert declared()[f"TOLLBOOK_{name.upper()}"] == str(field.default), name


def test_example_explains_each_variable_in_one_line() -> None:
    lines = EXAMPLE.splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            assert re.match(r"# \S.*\.$|# .*random-uuid$", lines[number - 1]), line
            assert len(lines[number - 1]) <= 120
