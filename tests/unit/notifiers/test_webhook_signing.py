"""Signatures as the library `standardwebhooks` verifies them, also while keys are changed."""

import base64
import secrets
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from notifiers.signing import parse_key, signed_headers

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(3))
BODY = '{"type":"alert.raised","data":"é"}'.encode()


def headers_by(*keys: str) -> dict[str, str]:
    return signed_headers([parse_key(key) for key in keys], "msg_1", int(time.time()), BODY)


@pytest.mark.parametrize("known", [OLD, NEW], ids=["old", "new"])  # keys differ from run to run, names must not
def test_a_receiver_with_either_key_verifies(known: str) -> None:
    assert Webhook(known).verify(BODY, headers_by(NEW, OLD)) == {"type": "alert.raised", "data": "é"}


def test_another_key_another_body_or_another_id_does_not() -> None:
    headers = headers_by(NEW, OLD)
    for key, body, changed in (
        (OTHER, BODY, {}),
        (NEW, BODY + b" ", {}),
        (NEW, BODY, {"webhook-id": "msg_2"}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(body, headers | changed)


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_!!!!", OLD.removeprefix("whsec_"), "whsec_" + base64.b64encode(b"x" * 23).decode()],
    ids=["empty", "no key", "no base64", "no prefix", "too short"],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="a signing key must be") as told:
        parse_key(text)
    assert text in ("", "whsec_") or text not in str(told.value)
