"""Superset's REST interface for one user: a token, and the CSRF token that writes need."""

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import APIRequestContext, APIResponse, Playwright


@dataclass(frozen=True)
class Rest:
    """Requests as one user."""

    requests: APIRequestContext

    def get(self, path: str) -> Any:
        """The body of a GET that succeeds."""
        answer = self.requests.get(path)
        assert answer.ok, f"{path}: {answer.status} {answer.text()}"
        return answer.json()

    def post(self, path: str, body: dict[str, Any]) -> APIResponse:
        return self.requests.post(path, data=body)


def login(playwright: Playwright, address: str, name: str, password: str) -> Rest:
    """A session of the user `name`."""
    anonymous = playwright.request.new_context(base_url=address)
    credentials = {"username": name, "password": password, "provider": "db"}
    answer = anonymous.post("/api/v1/security/login", data=credentials)
    assert answer.ok, answer.text()
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    started = playwright.request.new_context(base_url=address, extra_http_headers=bearer)
    token = started.get("/api/v1/security/csrf_token/").json()["result"]
    headers = bearer | {"X-CSRFToken": token, "Referer": f"{address}/"}
    state = started.storage_state()  # the CSRF token belongs to this session
    return Rest(playwright.request.new_context(base_url=address, extra_http_headers=headers, storage_state=state))
