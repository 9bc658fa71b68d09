"""Where the parts of the ledger are: one settings object for every command and process.

Sources, first wins: `TOLLBOOK_*` environment variables, `tollbook.toml` in the working directory, and the
`stack.toml` that `tollbook up` writes into the state directory (addresses and generated passwords, mode 0600).
Nothing in the code knows whether it runs on one machine or on a server: only these values differ.
"""

import os
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class Settings(BaseSettings):
    """Addresses, credentials and sizes; every field has a `TOLLBOOK_` variable of the same name."""

    model_config = SettingsConfigDict(env_prefix="TOLLBOOK_", extra="ignore", frozen=True)

    state_dir: Path = Path(".tollbook")
    kafka: str = "127.0.0.1:9092"
    registry: str = "http://127.0.0.1:8081/apis/ccompat/v7"
    clickhouse: str = "http://127.0.0.1:8123"
    clickhouse_database: str = "tollbook"
    clickhouse_user: str = "tollbook"
    clickhouse_password: SecretStr = SecretStr("")
    superset: str = "http://127.0.0.1:8088"
    collector: str = "http://127.0.0.1:8090"
    console: str = "http://127.0.0.1:8091"
    calendar: Path = Path("calendar.toml")
    notify: Path = Path("notify.toml")
    partitions: int = 4
    replication: int = 1
    instance: str = ""  # a worker's own name, the same after a restart: it finds its partitions again at once
    fault: str = ""  # a named fault point; only tests set it

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, Path("tollbook.toml"))
        state_dir = os.environ.get("TOLLBOOK_STATE_DIR") or file().get("state_dir", ".tollbook")
        stack = TomlConfigSettingsSource(settings_cls, Path(state_dir) / "stack.toml")
        return (init_settings, env_settings, file, stack)
