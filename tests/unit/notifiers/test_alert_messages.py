"""What people and programs read."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP
from email.policy import default as default_policy

import orjson
import pytest
from notify_alerts import stored_alert

from notifiers import messages
from notifiers.channels.mail import compose
from notifiers.config import Email
from notifiers.delivery import Batch

EVIL = 'x\r\nBcc: all@example.com\n<script>alert(1)</script>&"'


def test_the_numbers_are_the_alert_s_own() -> None:
    alert = stored_alert(raised_at=datetime(2026, 3, 11, 8, tzinfo=UTC))  # a third of March
    told = messages.text([alert], "https://d.example")
    assert told.splitlines() == [
        "caution: department engineering of acme reached 90 %",
        "  budget: department-month",
        "  organization: acme",
        "  department: engineering",
        "  month: 2026-03-01 00:00 to 2026-04-01 00:00 UTC",
        "  used: 135.000000000001 of 150.00 US dollars (90.0 %)",
        "  remaining: 14.999999999999 US dollars, 20.6 days left",
        "  at the end: 405.00 US dollars at the pace so far",
        "  raised at: 2026-03-11 08:00:00Z",
        "  alert: a1",
        "",
        "https://d.example",
    ]


def test_an_organization_is_named_once_and_amounts_are_grouped() -> None:
    whole = stored_alert(scope_kind="organization", scope="acme", unit="tokens", used="13500000", limit="15000000")
    told = messages.text([whole], "").splitlines()
    assert [line for line in told if "acme" in line][1:] == ["  organization: acme"]
    assert "  used: 13,500,000 of 15,000,000 tokens (90.0 %)" in told
    assert "  remaining: 1,500,000 tokens, 21.5 days left" in told


def test_what_a_budget_counts_is_said() -> None:
    told = messages.text([stored_alert(conditions="feature=search&model=gpt-4o|o3")], "")
    assert "  only: feature=search&model=gpt-4o|o3\n" in told


def test_who_contributed_most_is_said() -> None:
    ada = {"scope_kind": "user", "scope": "ada", "used": "1234.50", "percent": 41}
    nobody = {"scope_kind": "user", "scope": "", "used": "5.00", "percent": 0}
    alert = stored_alert() | {"contributors": [ada, nobody]}
    told = messages.text([alert], "").splitlines()
    assert [line for line in told if "most" in line and "by user" in line] == [
        "  most by user: ada, 1,234.50 (41 %)",
        "  most by user: (unassigned), 5.00 (0 %)",
    ]
    assert orjson.loads(messages.webhook([alert], ""))["data"]["contributors"] == [ada, nobody]


def test_a_percentage_is_never_rounded_up() -> None:
    assert "(99.9 %)" in messages.text([stored_alert(used="149.999999999999")], "")


def test_an_alert_without_budget_and_window_says_what_it_has() -> None:
    alert = stored_alert(
        type="pipeline", budget_id="", organization="", scope_kind="partition", scope="usage.blocks[2]",
        window_kind="", limit="0", used="0", unit="",
    )  # fmt: skip
    told = messages.text([alert], "")
    assert "  partition: usage.blocks[2]\n" in told
    assert "used" not in told
    assert "1970" not in told


@pytest.mark.parametrize("field", ["detail", "scope", "budget_id", "organization"])
def test_names_from_outside_can_add_neither_headers_nor_markup(field: str) -> None:
    alerts = (stored_alert(**{field: EVIL}),)
    channel = Email(kind="email", host="h", sender="tollbook@example.com", to=("ops@example.com",))
    sent = compose(channel, "", Batch("b1", "ops@example.com", alerts), 0).as_bytes(policy=SMTP)
    mail = message_from_bytes(sent, policy=default_policy)
    assert "Bcc" not in mail
    assert mail["Message-ID"] == "<b1@example.com>"
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert "<script>" not in mail.get_body(("html",)).get_content()
    assert b"<script>" not in messages.slack(alerts, "")
    assert all(line.isprintable() for line in messages.text(alerts, "").splitlines())


def test_a_digest_counts_and_names_the_worst() -> None:
    alerts = [stored_alert(alert_id=str(number), severity=severity) for number, severity in enumerate(["info", "critical", "warning"])]  # fmt: skip # noqa: E501
    assert messages.subject(alerts) == "[Tollbook] 3 alerts, the most serious: critical"
    body = orjson.loads(messages.webhook(alerts, ""))
    assert body["type"] == "alerts.digest"
    assert [alert["alert_id"] for alert in body["data"]["alerts"]] == ["0", "1", "2"]


def test_a_webhook_carries_the_alert_and_how_the_budget_stood() -> None:
    alert = stored_alert(state="retracted")
    body = orjson.loads(messages.webhook([alert], "https://d.example"))
    assert body == {
        "type": "alert.retracted",
        "timestamp": "2026-03-10T11:59:00Z",
        "link": "https://d.example",
        "data": alert | {"percent": "90.0", "remaining": "14.999999999999", "days_left": "21.5", "projected": "440.56"},
    }


def test_slack_takes_no_more_than_fifty_blocks() -> None:
    body = orjson.loads(messages.slack([stored_alert(alert_id=str(number)) for number in range(60)], "https://d"))
    assert len(body["blocks"]) <= 50
    assert "and 15 more" in str(body["blocks"])


def test_a_subject_is_short() -> None:
    assert len(messages.subject([stored_alert(detail="x" * 500)])) == messages.SUBJECT_CHARACTERS
