"""What must hold before the stack starts, each with what to do when it does not."""

import os
import shutil
import socket
import sys
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from local import java
from local.config import HOST, Config, port_variable

FREE_BYTES = 2_000_000_000
SERVICE_OF_PORT = {"kafka_controller": "kafka"}


class CheckError(Exception):
    """Something is missing; the message says what and what to do."""


@dataclass(frozen=True)
class Check:
    """One condition, by the name that `tollbook doctor` shows. `run` says what it found or raises CheckError."""

    name: str
    run: Callable[[], str]


def all_checks(config: Config, without: tuple[str, ...] = ()) -> list[Check]:
    """The conditions of a start, the cheap ones first."""
    ports = {name: port for name, port in asdict(config.ports).items() if _service(name) not in without}
    return [
        Check("system", _system),
        Check("java", _java),
        Check("state", partial(_writable, config.state_dir)),
        Check("cache", partial(_writable, config.cache_dir)),
        Check("disk", partial(_disk, config)),
        Check("calendar", partial(_calendar, config.calendar)),
        *(Check(f"port {name}", partial(_port, name, port)) for name, port in ports.items()),
    ]


def _service(port_name: str) -> str:
    return SERVICE_OF_PORT.get(port_name, port_name)


def _system() -> str:
    if sys.platform != "linux":
        raise CheckError(f"the local stack runs on Linux, not on {sys.platform}: use docker-compose.yml there")
    return f"Linux, Python {sys.version.split()[0]}"


def _java() -> str:
    try:
        return java.version()
    except java.JavaError as error:
        raise CheckError(f"Java is missing: {error}. Make the virtualenv anew: `make clean && make install`") from error


def _writable(directory: Path) -> str:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CheckError(
            f"{directory} is not writable: {error.strerror}. Set TOLLBOOK_STATE_DIR (state) or XDG_CACHE_HOME (cache)"
        ) from error
    return str(directory)


def _disk(config: Config) -> str:
    for directory in (config.state_dir, config.cache_dir):
        free = shutil.disk_usage(directory).free
        if free < FREE_BYTES:
            raise CheckError(
                f"{directory} has {free / 1e9:.1f} GB free, {FREE_BYTES / 1e9:.0f} GB are needed. "
                "Free some, or set TOLLBOOK_STATE_DIR or XDG_CACHE_HOME to another disk"
            )
    return f"at least {FREE_BYTES / 1e9:.0f} GB free"


def _calendar(path: Path | None) -> str:
    if path is None:
        return "none: days are UTC days"
    try:
        tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckError(f"TOLLBOOK_CALENDAR: {path} is not there; mend the path, or unset it for UTC days") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CheckError(f"TOLLBOOK_CALENDAR: {path} cannot be read as TOML: {error}") from error
    return str(path)


def _port(name: str, port: int) -> str:
    with socket.socket() as probe:
        # Connections that linger after a stop do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CheckError(
                f"port {port} ({name}) cannot be used: {error.strerror}. Stop what listens there, or choose another "
                f"with {port_variable(name)} or `{name} = ...` under [ports] in tollbook.toml"
            ) from error
    return f"{port} is free"
