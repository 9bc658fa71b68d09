"""What the dashboard really asks: the datasets of a running Superset, over its REST interface."""

import tomllib
from pathlib import Path
from typing import Any

import httpx2

from schemas.settings import Settings
from stream_processors.audit.datasets import Dataset, dataset_of, source_of

TIMEOUT_S = 10.0
USER = "admin"
PAGE = 100


class SupersetError(Exception):
    """Superset is there and does not tell: wrong password, or an answer that is not Superset's."""


def datasets_from_superset(settings: Settings) -> list[Dataset] | None:
    """Superset's datasets; None when it is off, or when this machine does not hold its password.

    Raises SupersetError when it is on and cannot be read.
    """
    password = _password(settings.state_dir / "stack.toml")
    if password is None:
        return None
    with httpx2.Client(base_url=settings.superset, timeout=TIMEOUT_S) as client:
        try:
            client.get("/health").raise_for_status()
        except httpx2.HTTPError:
            return None
        try:
            return _read(client, password)
        except (httpx2.HTTPError, KeyError, ValueError) as error:
            raise SupersetError(f"Superset at {settings.superset}: {error!r}") from error


def _password(stack_file: Path) -> str | None:
    if not stack_file.exists():
        return None
    password = tomllib.loads(stack_file.read_text(encoding="utf-8")).get("superset_admin_password")
    return str(password) if password else None


def _read(client: httpx2.Client, password: str) -> list[Dataset]:
    credentials = {"username": USER, "password": password, "provider": "db", "refresh": False}
    answer = client.post("/api/v1/security/login", json=credentials).raise_for_status()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def get(path: str) -> Any:
        return client.get(path, headers=headers).raise_for_status().json()["result"]

    listed = get(f"/api/v1/dataset/?q=(page_size:{PAGE},order_column:table_name,order_direction:asc)")
    return [_dataset(get(f"/api/v1/dataset/{entry['id']}")) for entry in listed]


def _dataset(fields: dict[str, Any]) -> Dataset:
    return dataset_of(fields, source_of(fields["table_name"], fields["sql"]))
