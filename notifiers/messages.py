"""What people and programs read: pure text from alerts, for mail, chat and webhooks.

Names in an alert come from usage events, so from anybody: they are escaped, and kept to one line where a line counts.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import orjson

from notifiers.config import SEVERITIES
from notifiers.standing import standing
from schemas.calendar import LIFETIME
from schemas.money import grouped

Alert = dict[str, Any]  # alert.v1 with instants as text, and `contributors` where they are known
SUBJECT_CHARACTERS = 150
SLACK_SECTION_CHARACTERS = 2_900  # Slack refuses a section above 3 000
SLACK_SECTIONS = 45  # and a message above 50 blocks


def subject(alerts: Sequence[Alert]) -> str:
    """One line, short enough for a list of mails."""
    if len(alerts) > 1:
        worst = max((_rank(alert), alert["severity"]) for alert in alerts)[1]
        return f"[Tollbook] {len(alerts)} alerts, the most serious: {worst}"
    [alert] = alerts
    line = f"[Tollbook] {_headline(alert)}"
    return line if len(line) <= SUBJECT_CHARACTERS else line[: SUBJECT_CHARACTERS - 1] + "…"


def text(alerts: Sequence[Alert], link: str) -> str:
    """For mail without HTML, and for push."""
    parts = [
        "\n".join([_headline(alert), *(f"  {name}: {value}" for name, value in _facts(alert))]) for alert in alerts
    ]
    return "\n\n".join([*parts, link] if link else parts) + "\n"


def html(alerts: Sequence[Alert], link: str) -> str:
    """For mail. No picture, no script, nothing loaded from elsewhere."""
    parts = [f"<h3>{escape(_headline(alert))}</h3><table>{''.join(_html_rows(alert))}</table>" for alert in alerts]
    foot = f'<p><a href="{escape(link)}">{escape(link)}</a></p>' if link else ""
    return f"<!doctype html><html><body>{''.join(parts)}{foot}</body></html>"


def slack(alerts: Sequence[Alert], link: str) -> bytes:
    """The body for an incoming webhook of Slack; a digest too long for one message says how many it leaves out."""
    shown = alerts[:SLACK_SECTIONS]
    lines = [f"*{_slack_escape(_headline(alert))}*\n{_slack_facts(alert)}" for alert in shown]
    if len(shown) < len(alerts):
        lines.append(f"and {len(alerts) - len(shown)} more: `tollbook alerts`")
    if link:
        lines.append(f"<{_slack_escape(link)}>")
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": line[:SLACK_SECTION_CHARACTERS]}} for line in lines
    ]
    return orjson.dumps({"text": _slack_escape(subject(alerts)), "blocks": blocks})


def webhook(alerts: Sequence[Alert], link: str) -> bytes:
    """`type`, `timestamp` and `data` as Standard Webhooks advises; an alert has the fields of alert.v1,
    `contributors` where they are known, and `Standing`.

    The same alerts give the same bytes, at each attempt.
    """
    told = [{**alert, **(found._asdict() if (found := standing(alert)) else {})} for alert in alerts]
    if len(alerts) > 1:
        body = {"type": "alerts.digest", "data": {"alerts": told}}
    else:
        body = {"type": f"alert.{alerts[0]['state']}", "data": told[0]}
    newest = max(alert["raised_at"] for alert in alerts)
    return orjson.dumps(body | {"timestamp": newest, "link": link})


def _headline(alert: Alert) -> str:
    back = "taken back: " if alert["state"] == "retracted" else ""
    late = " (late)" if alert["late"] else ""
    return _one_line(f"{back}{alert['severity']}: {alert['detail'] or alert['type']}{late}")


def _facts(alert: Alert) -> Iterator[tuple[str, str]]:
    """What is known beyond the headline, as name and value."""
    if alert["budget_id"]:
        yield "budget", _one_line(alert["budget_id"])
    if alert["organization"] and alert["scope_kind"] != "organization":
        yield "organization", _one_line(alert["organization"])
    yield _one_line(alert["scope_kind"]), _one_line(alert["scope"]) or "(unassigned)"
    if alert["conditions"]:
        yield "only", _one_line(alert["conditions"])
    is_endless = alert["window_kind"] == LIFETIME
    if alert["window_kind"] and not is_endless:
        start, end = (alert[name][:16].replace("T", " ") for name in ("window_start", "window_end"))
        yield alert["window_kind"], f"{start} to {end} UTC"
    found = standing(alert)
    if found is not None:
        unit = "US dollars" if alert["unit"] == "cost" else alert["unit"].replace("_", " ")
        yield "used", f"{grouped(alert['used'])} of {grouped(alert['limit'])} {unit} ({found.percent} %)"
        left = "" if is_endless else f", {found.days_left} days left"
        yield "remaining", f"{grouped(found.remaining)} {unit}{left}"
        if not is_endless and alert["type"] != "plan":  # which have no pace
            yield "at the end", f"{grouped(found.projected)} {unit} at the pace so far"
    for each in alert.get("contributors", ()):
        name = _one_line(each["scope"]) or "(unassigned)"
        yield f"most by {each['scope_kind']}", f"{name}, {grouped(each['used'])} ({each['percent']} %)"
    yield "raised at", alert["raised_at"].replace("T", " ")
    yield "alert", alert["alert_id"]


def _html_rows(alert: Alert) -> Iterator[str]:
    for name, value in _facts(alert):
        yield f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"


def _slack_facts(alert: Alert) -> str:
    return "\n".join(f"{_slack_escape(name)}: {_slack_escape(value)}" for name, value in _facts(alert))


def _slack_escape(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(value: str) -> str:
    """No line break can begin a header or a line of its own; other control characters go too."""
    return " ".join("".join(character if character.isprintable() else " " for character in value).split())


def _rank(alert: Alert) -> int:
    severity = alert["severity"]
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
