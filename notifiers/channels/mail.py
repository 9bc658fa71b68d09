"""Mail by SMTP, text and HTML. The Message-ID is the batch's: a server or reader that sees it twice can tell."""

import contextlib
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache

from notifiers import messages
from notifiers.config import Email, read_secret
from notifiers.delivery import Batch, Outcome, Result


def send(channel: Email, link: str, batch: Batch, now_s: int) -> Outcome:
    """Accepted when the server has taken the message; refused when it said no, or could not be reached before."""
    message = compose(channel, link, batch, now_s)
    try:
        server = _connect(channel)
    except (smtplib.SMTPException, OSError) as error:
        return Outcome(Result.REFUSED, f"{channel.host}:{channel.port}: {error}")
    try:
        return _hand_over(server, channel, batch, message.as_bytes(policy=SMTP))
    finally:
        # The message is taken or not; how the parting goes changes nothing.
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.quit()
        server.close()


def compose(channel: Email, link: str, batch: Batch, now_s: int) -> EmailMessage:
    """The message as it is sent."""
    message = EmailMessage()
    message["Subject"] = messages.subject(batch.alerts)
    message["From"] = channel.sender
    message["To"] = batch.address
    message["Date"] = format_datetime(datetime.fromtimestamp(now_s, UTC))
    message["Message-ID"] = f"<{batch.batch_id}@{channel.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(messages.text(batch.alerts, link), cte="quoted-printable")
    message.add_alternative(messages.html(batch.alerts, link), subtype="html", cte="quoted-printable")
    return message


def _connect(channel: Email) -> smtplib.SMTP:
    if channel.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(channel.host, channel.port, timeout=channel.timeout_s, context=_trust())
    else:
        server = smtplib.SMTP(channel.host, channel.port, timeout=channel.timeout_s)
    try:
        if channel.security == "starttls":
            server.starttls(context=_trust())  # SMTPNotSupportedError when it is not offered: never in the clear
        server.ehlo_or_helo_if_needed()
        if channel.password_file is not None:
            server.login(channel.user, read_secret(channel.password_file))
    except BaseException:
        server.close()
        raise
    return server


@cache
def _trust() -> ssl.SSLContext:
    """Whom to believe. Reading the system's certificates took longer than sending a mail."""
    return ssl.create_default_context()


def _hand_over(server: smtplib.SMTP, channel: Email, batch: Batch, content: bytes) -> Outcome:
    try:
        for code, said in (server.mail(channel.sender), server.rcpt(batch.address)):
            if code not in (250, 251):
                return Outcome(Result.REFUSED, f"{code} {said.decode(errors='replace')}")
    except (smtplib.SMTPException, OSError) as error:
        return Outcome(Result.REFUSED, str(error))
    try:
        code, said = server.data(content)
    except smtplib.SMTPDataError as error:  # the server did not want to hear it
        return Outcome(Result.REFUSED, str(error))
    except (smtplib.SMTPException, OSError) as error:
        return Outcome(Result.DOUBTFUL, f"no answer: {error}")
    if code != 250:
        return Outcome(Result.REFUSED, f"{code} {said.decode(errors='replace')}")
    return Outcome(Result.ACCEPTED)
