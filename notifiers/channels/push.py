"""Everything else, by Apprise: ntfy and web push, Teams, Matrix, Telegram and a hundred more."""

import apprise

from notifiers import messages
from notifiers.config import Apprise, read_secret
from notifiers.delivery import Batch, Outcome, Result


def send(channel: Apprise, link: str, batch: Batch) -> Outcome:
    """Apprise says yes or no and passes on no id of ours; "no" may be an answer that was cut off.

    Where it connects to is not checked: its addresses are trusted as much as the file they stand in.
    """
    target = apprise.Apprise()
    if not target.add(read_secret(channel.url_file)):
        return Outcome(Result.REFUSED, f"{channel.url_file}: no address that Apprise knows")
    title, body = messages.subject(batch.alerts), messages.text(batch.alerts, link)
    if target.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
        return Outcome(Result.ACCEPTED)
    return Outcome(Result.DOUBTFUL, "Apprise did not succeed; its reason is in the log")
