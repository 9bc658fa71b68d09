"""What docs/notifications.md shows works as it stands there."""

import re
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from notify_alerts import stored_alert

from notifiers import messages
from notifiers.config import load_config
from notifiers.signing import parse_key, signed_headers

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "notifications.md").read_text()


def snippet(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_file_it_shows_is_a_whole_configuration(tmp_path: Path) -> None:
    (tmp_path / "notify.toml").write_text(snippet("toml"))
    config = load_config(tmp_path / "notify.toml")
    assert {channel.kind for channel in config.channel.values()} == {"email", "slack", "webhook", "apprise"}
    used = {name for route in config.route for name in route.channels}
    assert used == set(config.channel)


def test_the_example_is_what_the_page_shows() -> None:
    assert (DOCS.parent / "notify.example.toml").read_text().partition("\n\n")[2] == snippet("toml")


def test_the_receiver_it_shows_verifies_what_we_sign() -> None:
    shown: dict[str, Any] = {}
    exec(snippet("python"), shown)  # noqa: S102 (the page's own text)
    key = "whsec_" + "QUJD" * 11
    body = messages.webhook([stored_alert()], "")
    headers = signed_headers([parse_key(key)], "b1", int(time.time()), body)
    assert shown["alert_of"](headers, body, key) == orjson.loads(body)["data"]
    with pytest.raises(Exception, match="No matching signature"):
        shown["alert_of"](headers, body + b" ", key)


def test_the_body_it_shows_has_our_fields() -> None:
    assert orjson.loads(snippet("json")).keys() == orjson.loads(messages.webhook([stored_alert()], "")).keys()


def test_the_file_that_the_walk_through_budgets_shows_leads_to_an_inbox(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (DOCS / "budgets.md").read_text(), re.DOTALL)
    [shown] = [block for block in blocks if "[channel" in block]
    (tmp_path / "notify.toml").write_text(shown)
    config = load_config(tmp_path / "notify.toml")
    assert config.route[0].channels == tuple(config.channel) == ("inbox",)
