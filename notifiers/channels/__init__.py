"""One function per kind of channel: a batch in, an outcome out. None of them decides what to tell or when to repeat."""

from collections.abc import Callable
from typing import assert_never

from notifiers.channels import mail, push, web
from notifiers.config import Apprise, Channel, Email, Slack, Webhook
from notifiers.delivery import Batch, Outcome

Send = Callable[[Batch, int], Outcome]


def sender(channel: Channel, link: str) -> Send:
    """How to send to a channel: (batch, now in seconds UTC) to an outcome. Raises OSError, ValueError for its secrets.

    Secrets are read at each attempt, so that a changed key needs no restart.
    """
    match channel:
        case Email():
            return lambda batch, now_s: mail.send(channel, link, batch, now_s)
        case Slack():
            return lambda batch, now_s: web.send_slack(channel, link, batch)
        case Webhook():
            return lambda batch, now_s: web.send_webhook(channel, link, batch, now_s)
        case Apprise():
            return lambda batch, now_s: push.send(channel, link, batch)
        case _:
            assert_never(channel)
