"""Superset as it is delivered, on a ledger whose rows are known: started once for the tests of this folder."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from local.processes import NAMES

from . import ledger_rows
from .chromium import FLAGS, find_chromium
from .rest import Rest, login

STACK = (
    *("clickhouse", "migrate", "superset-provision", "superset"),
    *("kafka", "registry", "provision", "console"),  # where budgets are, and where people change them
)
TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))
PIXEL = "gateway.scarf.sh"  # Superset's telemetry: asked for by its pages, stopped by our content security policy


@pytest.fixture(scope="package")
def stack_environment(new_stack_environment: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The variables by which the stack is started and commands find it."""
    return new_stack_environment()


@pytest.fixture(scope="package")
def state_dir(stack_environment: dict[str, str]) -> Path:
    return Path(stack_environment["TOLLBOOK_STATE_DIR"])


@pytest.fixture(scope="package")
def stack(stack_environment: dict[str, str], state_dir: Path) -> Iterator[dict[str, str]]:
    """Addresses and passwords (the values of stack.toml) of ClickHouse, Superset and the console, running."""
    environment = os.environ | stack_environment
    without = [argument for name in NAMES if name not in STACK for argument in ("--without", name)]
    try:
        _run(environment, "up", "--detach", *without)
        yield {name: str(value) for name, value in tomllib.loads((state_dir / "stack.toml").read_text()).items()}
    finally:
        _run(environment, "down")


def _run(environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [TOLLBOOK, *arguments], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="package")
def ledger(stack: dict[str, str]) -> Client:
    """The ledger's owner at ClickHouse, after the known rows were put in."""
    address = urlsplit(stack["clickhouse"])
    client = clickhouse_connect.get_client(
        host=address.hostname,
        port=address.port,
        username="tollbook",
        password=stack["clickhouse_password"],
        database="tollbook",
    )
    ledger_rows.fill(client, datetime.now(UTC))
    return client


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """As long as it lives, no test of another folder can run an event loop of its own."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def admin(playwright: Playwright, stack: dict[str, str], ledger: Client) -> Rest:
    """Superset's REST interface, as its administrator."""
    return login(playwright, stack["superset"], "admin", stack["superset_admin_password"])


@pytest.fixture(scope="package")
def make_user(playwright: Playwright, stack: dict[str, str], admin: Rest) -> Callable[..., Rest]:
    """Makes a user with the roles named and logs in as that user."""

    def make(name: str, *roles: str) -> Rest:
        known = {role["name"]: role["id"] for role in admin.get("/api/v1/security/roles/?q=(page_size:100)")["result"]}
        password = f"of {name}"
        user = {"username": name, "first_name": name, "last_name": "Test", "email": f"{name}@localhost.invalid"}
        made = admin.post(
            "/api/v1/security/users/",
            user | {"active": True, "password": password, "roles": [known[role] for role in roles]},
        )
        assert made.status == 201, made.text()
        return login(playwright, stack["superset"], name, password)

    return make


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = find_chromium(playwright)
    print(f"browser: {path}")
    running = playwright.chromium.launch(executable_path=path, args=FLAGS)
    yield running
    running.close()


@pytest.fixture(scope="package")
def session_state(browser: Browser, stack: dict[str, str], ledger: Client, tmp_path_factory: pytest.TempPathFactory):
    """Cookies of the administrator, after a login by the form, as a person does it.

    Not before the form's page has loaded all it asks for: an answer to somebody unknown that comes late would take the
    session's cookie away, and who is sent back to log in is on a page whose address also ends in the welcome's.
    """
    page = browser.new_page()
    page.goto(f"{stack['superset']}/login/", wait_until="networkidle")
    page.locator("input[name=username], #username").fill("admin")
    page.locator("input[name=password], #password").fill(stack["superset_admin_password"])
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"^[^?]*/superset/welcome"))
    path = tmp_path_factory.mktemp("browser") / "cookies.json"
    page.context.storage_state(path=path)
    page.close()
    return path


@pytest.fixture
def page(browser: Browser, stack: dict[str, str], session_state: Path) -> Iterator[Page]:
    """A page of a logged-in administrator; fails the test on an error in the page or a word to another host."""
    context = browser.new_context(
        base_url=stack["superset"], storage_state=session_state, viewport={"width": 1400, "height": 1000}
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    own_host = urlsplit(stack["superset"]).netloc
    errors: list[str] = []
    abroad: set[str] = set()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if _is_error(line.type, line.text) else None)
    page.on("response", lambda answer: errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.on("request", lambda request: abroad.add(request.url) if _leaves(request.url, own_host) else None)
    page.on("requestfailed", lambda request: abroad.discard(request.url) if request.failure == "csp" else None)
    yield page
    context.close()
    assert errors == []
    assert abroad == set(), "requests to other hosts that the content security policy did not stop"


def _is_error(kind: str, text: str) -> bool:
    return kind == "error" and not (PIXEL in text and "violates the following Content Security Policy" in text)


def _leaves(url: str, own_host: str) -> bool:
    return urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).netloc != own_host
