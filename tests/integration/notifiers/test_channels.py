"""Each channel against a real receiver: accepted, refused, stalled, cut after acceptance, gone."""

import base64
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from receivers import CUT, STALL, Inbox, mail_server, web_receiver
from standardwebhooks.webhooks import Webhook as Verifier

from notifiers.channels import sender
from notifiers.channels.web import post
from notifiers.commands import sample
from notifiers.config import Apprise, Email, Slack, Webhook
from notifiers.delivery import Batch, Outcome, Result

KEY = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
ALERT = sample("here", datetime(2026, 3, 10, tzinfo=UTC)) | {"detail": "user ada <é> of acme reached 90 %"}
BATCH = Batch("b-1", "ops@example.com", (ALERT,))
QUICK_S = 0.3


def written(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    return path


def mail(port: int, **fields: object) -> Email:
    values = {"kind": "email", "host": "127.0.0.1", "port": port, "security": "none", "timeout_s": QUICK_S}
    return Email.model_validate(values | {"sender": "tollbook@example.com", "to": ["ops@example.com"]} | fields)


def hook(folder: Path, url: str, **fields: object) -> Webhook:
    key = written(folder / "key", KEY)
    values = {"kind": "webhook", "url": url, "secret_files": [key], "allow_private": True, "timeout_s": QUICK_S}
    return Webhook.model_validate(values | fields)


def sent(channel: Apprise | Email | Slack | Webhook, batch: Batch = BATCH) -> Outcome:
    return sender(channel, "https://d.example")(batch, int(time.time()))


def test_mail_arrives_as_text_and_html_with_the_batch_s_id() -> None:
    inbox = Inbox()
    with mail_server(inbox) as port:
        assert sent(mail(port)) == Outcome(Result.ACCEPTED)
    [message] = inbox.mails
    assert inbox.recipients == ["ops@example.com"]
    assert message["Message-ID"] == "<b-1@example.com>"
    assert message["Subject"] == "[Tollbook] info: user ada <é> of acme reached 90 %"
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "user ada <é> of acme" in text.get_content()
    assert "user ada &lt;é&gt; of acme" in html.get_content()


def test_mail_that_is_refused_is_refused_and_one_that_is_cut_after_acceptance_is_in_doubt() -> None:
    inbox = Inbox(451, CUT)
    with mail_server(inbox) as port:
        refused = sent(mail(port))
        assert (refused.result, refused.reason) == (Result.REFUSED, "451 not now")
        assert sent(mail(port)).result is Result.DOUBTFUL
        assert sent(mail(port)).result is Result.ACCEPTED
        assert sent(mail(port), Batch("b-2", "nobody@example.com", (ALERT,))).reason == "550 no such user"
    assert [message["Message-ID"] for message in inbox.mails] == ["<b-1@example.com>"] * 2


def test_mail_is_never_sent_in_the_clear_when_tls_is_asked_for() -> None:
    inbox = Inbox()
    with mail_server(inbox) as port:
        refused = sent(mail(port, security="starttls"))
    assert refused.result is Result.REFUSED
    assert "STARTTLS" in refused.reason
    assert inbox.mails == []


def test_a_mail_server_that_is_away_is_a_refusal() -> None:
    with mail_server(Inbox()) as port:
        pass
    assert sent(mail(port)).result is Result.REFUSED


def test_a_webhook_is_verified_by_the_specification_s_own_library(tmp_path: Path) -> None:
    with web_receiver(204) as receiver:
        assert sent(hook(tmp_path, receiver.url)) == Outcome(Result.ACCEPTED)
    [(headers, body)] = receiver.requests
    assert Verifier(KEY).verify(body, headers)["data"] == ALERT
    assert headers["webhook-id"] == "b-1"


def test_while_keys_are_changed_both_verify(tmp_path: Path) -> None:
    new = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    with web_receiver(200) as receiver:
        channel = hook(tmp_path, receiver.url)
        both = [written(tmp_path / "new", new), *channel.secret_files]
        assert sent(hook(tmp_path, receiver.url, secret_files=both)).result is Result.ACCEPTED
    [(headers, body)] = receiver.requests
    for key in (KEY, new):
        Verifier(key).verify(body, headers)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (500, Result.REFUSED),
        (429, Result.REFUSED),
        (410, Result.GONE),
        (STALL, Result.DOUBTFUL),
        (CUT, Result.DOUBTFUL),
        (302, Result.REFUSED),
        (307, Result.REFUSED),
    ],
)
def test_a_webhook_s_answer_decides(tmp_path: Path, answer: int, result: Result) -> None:
    with web_receiver(answer, 200) as receiver:
        assert sent(hook(tmp_path, receiver.url)).result is result
        assert len(receiver.requests) == 1  # no redirect is followed
        assert sent(hook(tmp_path, receiver.url)).result is Result.ACCEPTED
    (first, body), (second, again) = receiver.requests
    assert (first["webhook-id"], body) == (second["webhook-id"], again)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"])
def test_a_target_on_this_machine_is_refused_before_a_byte_is_sent(host: str) -> None:
    with web_receiver(200) as receiver:
        port = receiver.url.rpartition(":")[2].partition("/")[0]
        for scheme in ("http", "https"):
            outcome = post(f"{scheme}://{host}:{port}/in", b"{}", {}, allow_private=False, timeout_s=QUICK_S)
            assert outcome.result is Result.REFUSED
            assert "not a public address" in outcome.reason
    assert receiver.requests == []


def test_a_secret_that_is_missing_is_told(tmp_path: Path) -> None:
    channel = hook(tmp_path, "http://127.0.0.1:1/in", secret_files=[tmp_path / "none"])
    with pytest.raises(FileNotFoundError):
        sent(channel)


def test_slack_gets_blocks_with_names_escaped(tmp_path: Path) -> None:
    with web_receiver(200) as receiver:
        address = written(tmp_path / "slack", receiver.url)
        assert sent(Slack(kind="slack", url_file=address, allow_private=True)) == Outcome(Result.ACCEPTED)
    [(_, body)] = receiver.requests
    said = orjson.loads(body)
    assert said["text"] == "[Tollbook] info: user ada &lt;é&gt; of acme reached 90 %"
    assert said["blocks"][0]["type"] == "section"


def test_ntfy_pushes_by_apprise(tmp_path: Path) -> None:
    with web_receiver(500, 200) as receiver:
        place = receiver.url.removeprefix("http://").partition("/")[0]
        channel = Apprise(kind="apprise", url_file=written(tmp_path / "ntfy", f"ntfy://{place}/tollbook"))
        assert sent(channel).result is Result.DOUBTFUL
        assert sent(channel) == Outcome(Result.ACCEPTED)
    assert b"user ada" in receiver.requests[1][1]


def test_an_address_that_apprise_does_not_know_is_told(tmp_path: Path) -> None:
    refused = sent(Apprise(kind="apprise", url_file=written(tmp_path / "odd", "pigeon://loft")))
    assert refused.result is Result.REFUSED
    assert "no address that Apprise knows" in refused.reason
