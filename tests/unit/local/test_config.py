"""Settings of the local stack: sources, their order, and refusals."""

import stat
from pathlib import Path

import pytest

from local.config import SECRETS, ConfigError, Ports, load_config, read_stack_file, write_stack_file
from schemas.settings import Settings


def test_defaults(tmp_path: Path) -> None:
    config = load_config({}, tmp_path)
    assert config.ports == Ports()
    assert config.state_dir == tmp_path / ".tollbook"
    assert config.cache_dir == Path.home() / ".cache" / "tollbook"


def test_environment_goes_before_file_and_file_before_default(tmp_path: Path) -> None:
    (tmp_path / "tollbook.toml").write_text("[ports]\nkafka = 1111\nregistry = 2222\n")
    ports = load_config({"TOLLBOOK_KAFKA_PORT": "3333"}, tmp_path).ports
    assert (ports.kafka, ports.registry, ports.clickhouse) == (3333, 2222, Ports.clickhouse)


def test_paths_become_absolute(tmp_path: Path) -> None:
    config = load_config({"TOLLBOOK_STATE_DIR": "../state", "XDG_CACHE_HOME": "cache"}, tmp_path / "here")
    assert config.state_dir == tmp_path / "state"
    assert config.cache_dir == tmp_path / "here" / "cache" / "tollbook"


@pytest.mark.parametrize("value", ["0", "65536", "-1", "kafka", "1e3"])
def test_what_is_no_port_is_refused_by_name(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"TOLLBOOK_KAFKA_PORT: .* is not a port"):
        load_config({"TOLLBOOK_KAFKA_PORT": value}, tmp_path)


def test_two_services_cannot_share_a_port(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="8123 is the port of registry too"):
        load_config({"TOLLBOOK_REGISTRY_PORT": "8123"}, tmp_path)


def test_unknown_port_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tollbook.toml").write_text("[ports]\nkafak = 1111\n")
    with pytest.raises(ConfigError, match="has no kafak"):
        load_config({}, tmp_path)


def test_state_directory_and_calendar_of_the_file_go_behind_the_environment(tmp_path: Path) -> None:
    (tmp_path / "tollbook.toml").write_text('state_dir = "state"\ncalendar = "year.toml"\n')
    config = load_config({}, tmp_path)
    assert (config.state_dir, config.calendar) == (tmp_path / "state", tmp_path / "year.toml")
    config = load_config({"TOLLBOOK_STATE_DIR": "other", "TOLLBOOK_CALENDAR": "/x/y.toml"}, tmp_path)
    assert (config.state_dir, config.calendar) == (tmp_path / "other", Path("/x/y.toml"))


def test_settings_find_the_stack_file_where_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOLLBOOK_STATE_DIR", raising=False)
    monkeypatch.delenv("TOLLBOOK_KAFKA", raising=False)
    (tmp_path / "tollbook.toml").write_text('state_dir = "state"\n')
    config = load_config({"TOLLBOOK_KAFKA_PORT": "3333"}, tmp_path)
    config.state_dir.mkdir()
    write_stack_file(config)
    assert Settings().kafka == "127.0.0.1:3333"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ports = 3", r"tollbook\.toml: ports: 3 is not a table"),
        ("state_dir = 3", r"tollbook\.toml: state_dir: 3 is not a path"),
        ("calendar = []", r"tollbook\.toml: calendar: \[\] is not a path"),
        ("ports", r"tollbook\.toml: not TOML"),
    ],
)
def test_wrong_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "tollbook.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config({}, tmp_path)


def test_stack_file_is_private_keeps_secrets_and_follows_ports(tmp_path: Path) -> None:
    before = load_config({}, tmp_path)
    before.state_dir.mkdir()
    first = write_stack_file(before)
    after = load_config({"TOLLBOOK_KAFKA_PORT": "3333"}, tmp_path)
    second = write_stack_file(after)
    assert {name: first[name] for name in SECRETS} == {name: second[name] for name in SECRETS}
    assert second["kafka"] == "127.0.0.1:3333"
    assert read_stack_file(after) == second
    assert stat.S_IMODE(after.stack_file.stat().st_mode) == 0o600
