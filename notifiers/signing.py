"""Signatures of webhooks as Standard Webhooks 1.0 says: HMAC-SHA256 over id, time and body, one per key."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes of a key, as the specification asks


def parse_key(text: str) -> bytes:
    """The key in `whsec_<base64>`; ValueError when it is not one."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a signing key must be base64 after `whsec_`") from error
    if not text.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(f"a signing key must be `whsec_` and {SHORTEST} to {LONGEST} bytes in base64")
    return key


def signed_headers(keys: Sequence[bytes], webhook_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers; a receiver that knows any one of the keys can verify."""
    signed = b".".join((webhook_id.encode(), str(at_s).encode(), body))
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
