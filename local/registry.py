"""The schema registry of the one-machine stack: Apicurio, through its Confluent-compatible interface."""

from pathlib import Path

from local import java
from local.config import HOST, Config
from local.downloads import Artifact, cached, read_lock, unpack

ARCHIVE: Artifact = read_lock(Path(__file__).with_name("registry.lock"))[0]
FLAGS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # small and quick to start


def prepare(config: Config) -> None:
    """Unpacks the fetched archive, once for all state directories, and makes the place of its database."""
    _state(config).mkdir(parents=True, exist_ok=True)
    unpack(cached(ARCHIVE, config.cache_dir), _home(config))


def command(config: Config) -> list[str]:
    """The command that runs the registry in the foreground."""
    jar = _home(config) / f"{ARCHIVE.name}-{ARCHIVE.version}-runner.jar"
    return [java.executable(), *FLAGS, *java.QUIET, "-jar", str(jar)]


def environment(config: Config, password: str) -> dict[str, str]:
    """Its settings: loopback only, schemas kept in a database file."""
    return {
        "QUARKUS_HTTP_HOST": HOST,
        "QUARKUS_HTTP_PORT": str(config.ports.registry),
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{_state(config) / 'registry'}",
        "APICURIO_DATASOURCE_USERNAME": "registry",
        "APICURIO_DATASOURCE_PASSWORD": password,
    }


def _home(config: Config) -> Path:
    return config.cache_dir / f"{ARCHIVE.name}-{ARCHIVE.version}-{ARCHIVE.sha256[:8]}"


def _state(config: Config) -> Path:
    return config.state_dir / "registry"
