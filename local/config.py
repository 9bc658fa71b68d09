"""Where the one-machine stack keeps its state, which ports it uses, and the secrets made at its first start."""

import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
SECRETS = (
    "clickhouse_password",
    "clickhouse_reader_password",
    "registry_password",
    "superset_admin_password",
    "superset_secret_key",
    "superset_guest_token_secret",
    "superset_async_queries_secret",
)


class ConfigError(Exception):
    """A setting of the local stack is wrong; the message names it, its value and the rule."""


@dataclass(frozen=True)
class Ports:
    """The port of each listener; all listen on 127.0.0.1 only."""

    kafka: int = 9092
    kafka_controller: int = 9093
    registry: int = 8081
    clickhouse: int = 8123
    superset: int = 8088
    collector: int = 8090
    console: int = 8091


@dataclass(frozen=True)
class Config:
    """What every part of the local stack is built from. Paths are absolute."""

    state_dir: Path
    cache_dir: Path
    ports: Ports
    calendar: Path | None = None  # None: none is named and there is no calendar.toml, so days are UTC days

    @property
    def stack_file(self) -> Path:
        """Addresses and passwords, in the form `schemas.settings` reads."""
        return self.state_dir / "stack.toml"

    @property
    def logs_dir(self) -> Path:
        """One log file a process."""
        return self.state_dir / "logs"

    @property
    def calendar_variable(self) -> dict[str, str]:
        """What leads a process to the calendar, wherever it runs; nothing without one."""
        return {"TOLLBOOK_CALENDAR": str(self.calendar)} if self.calendar else {}

    @property
    def addresses(self) -> dict[str, str]:
        """How clients reach each service."""
        return {
            "kafka": f"{HOST}:{self.ports.kafka}",
            "registry": f"http://{HOST}:{self.ports.registry}/apis/ccompat/v7",
            "clickhouse": f"http://{HOST}:{self.ports.clickhouse}",
            "superset": f"http://{HOST}:{self.ports.superset}",
            "collector": f"http://{HOST}:{self.ports.collector}",
            "console": f"http://{HOST}:{self.ports.console}",
        }


def load_config(environ: Mapping[str, str], working_dir: Path) -> Config:
    """Reads `TOLLBOOK_*` variables, then `tollbook.toml` in the working directory, then the defaults.

    Raises ConfigError for a port that is not one, for a state directory that is none, and for a file that is not TOML.
    """
    file = working_dir / "tollbook.toml"
    stated = _stated(file)
    cache_home = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Config(
        state_dir=_state_dir(_path("state_dir", environ, stated, file) or Path(".tollbook"), working_dir),
        cache_dir=working_dir / cache_home / "tollbook",
        ports=_ports(environ, _file_ports(stated, file)),
        calendar=_calendar(_path("calendar", environ, stated, file), working_dir),
    )


def _stated(file: Path) -> Mapping[str, object]:
    if not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def _path(name: str, environ: Mapping[str, str], stated: Mapping[str, object], file: Path) -> Path | None:
    value = environ.get(f"TOLLBOOK_{name.upper()}") or stated.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{file}: {name}: {value!r} is not a path in quotation marks")
    return Path(value) if value else None


def _state_dir(named: Path, working_dir: Path) -> Path:
    state_dir = Path(os.path.normpath(working_dir / named))
    if state_dir.exists() and not state_dir.is_dir():
        raise ConfigError(
            f"TOLLBOOK_STATE_DIR: {state_dir} is a file; it must be a directory, or a path to make one at"
        )
    if state_dir.exists() and not os.access(state_dir, os.W_OK | os.X_OK):
        raise ConfigError(f"TOLLBOOK_STATE_DIR: {state_dir} is not writable; it must be a directory of your own")
    return state_dir


def _calendar(named: Path | None, working_dir: Path) -> Path | None:
    calendar = Path(os.path.normpath(working_dir / (named or "calendar.toml")))
    return calendar if named or calendar.exists() else None


def _file_ports(stated: Mapping[str, object], path: Path) -> Mapping[str, object]:
    ports = stated.get("ports", {})
    if not isinstance(ports, dict):
        raise ConfigError(f"{path}: ports: {ports!r} is not a table; write [ports] and below it a line a port")
    unknown = set(ports) - {field.name for field in fields(Ports)}
    if unknown:
        raise ConfigError(f"{path}: [ports] has no {', '.join(sorted(unknown))}")
    return ports


def _ports(environ: Mapping[str, str], from_file: Mapping[str, object]) -> Ports:
    chosen = {field.name: int(field.default) for field in fields(Ports) if isinstance(field.default, int)}
    for name in chosen:
        value = environ.get(port_variable(name)) or from_file.get(name)
        if value is not None:
            chosen[name] = _port(name, value)
    taken: dict[int, str] = {}
    for name, port in chosen.items():
        if port in taken:
            raise ConfigError(f"{port_variable(name)}: {port} is the port of {taken[port]} too; choose another")
        taken[port] = name
    return Ports(**chosen)


def _port(name: str, value: object) -> int:
    text = str(value)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ConfigError(f"{port_variable(name)}: {text!r} is not a port (1 to 65535)")
    return int(text)


def port_variable(name: str) -> str:
    """The environment variable that sets a port."""
    return f"TOLLBOOK_{name.upper()}_PORT"


def read_stack_file(config: Config) -> dict[str, str]:
    """What `stack.toml` holds; empty before the first start."""
    if not config.stack_file.exists():
        return {}
    return {name: str(value) for name, value in tomllib.loads(config.stack_file.read_text()).items()}


def write_stack_file(config: Config) -> dict[str, str]:
    """Writes the addresses of this start beside the secrets of the first one, readable by the owner only."""
    kept = read_stack_file(config)
    values = config.addresses | {name: kept.get(name) or secrets.token_urlsafe(32) for name in SECRETS}
    lines = ["# Written by `tollbook up`. Addresses follow the ports chosen; secrets are made once."]
    lines += [f'{name} = "{value}"' for name, value in values.items()]
    write_private(config.stack_file, "\n".join(lines) + "\n")
    return values


def write_private(path: Path, text: str) -> None:
    """Replaces a file at once, mode 0600 from its first byte."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    scratch.replace(path)
