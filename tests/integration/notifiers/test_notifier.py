"""The notifier as a process on the real broker: killed at random, with channels that fail in every way.

It has an outbox of its own; the alerts are ones about nothing, beside the chains of the shared ledger.
"""

import base64
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from receivers import CUT, STALL, Inbox, WebReceiver, mail_server, web_receiver

from notifiers.commands import sample
from producers.client import Producer as UsageProducer
from schemas.codec import encode
from schemas.event import UsageEvent
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import ALERTS
from stream_processors import warehouse
from tollbook import main

Environment = dict[str, str]
RunTollbook = Callable[..., subprocess.CompletedProcess[str]]
DEADLINE_S = 120
ALERT_COUNT = 40


def hook(name: str, receiver: WebReceiver, timeout_s: float = 2) -> str:
    return (
        f'[channel.{name}]\nkind = "webhook"\nurl = "{receiver.url}"\nsecret_files = ["key"]\n'
        f"allow_private = true\ntimeout_s = {timeout_s}\n"
    )


def mail(name: str, port: int) -> str:
    return (
        f'[channel.{name}]\nkind = "email"\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n'
        'sender = "tollbook@example.com"\nto = ["ops@example.com"]\n'
    )


class Place:
    """A state directory with a notify.toml, and the notifier that runs there."""

    def __init__(self, folder: Path, stack: Environment) -> None:
        self.folder = folder
        self.environment = stack | {"TOLLBOOK_STATE_DIR": str(folder), "TOLLBOOK_NOTIFY": str(folder / "notify.toml")}
        (folder / "key").write_text(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}")
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, *parts: str) -> None:
        (self.folder / "notify.toml").write_text("\n".join(parts))

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        """Starts it, and returns when it is at work."""
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        environment = os.environ | self.environment | {"TOLLBOOK_READY_FILE": str(ready)} | variables
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "notifiers"], env=environment, stderr=log)
        until(ready.exists)
        return self._process

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def tell(self, *arguments: str) -> Result:
        """Runs a command in this process, which is quicker than one process each."""
        return CliRunner().invoke(main, ["notify", *arguments], env=self.environment)

    def status(self) -> tuple[int, dict[str, Any]]:
        told = self.tell("status", "--json")
        return told.exit_code, json.loads(told.stdout)

    def waiting(self, channel: str) -> int:
        """How many deliveries of a channel are not done."""
        return int(self.status()[1]["channels"][channel]["waiting"])


@pytest.fixture
def place(tmp_path: Path, stack: Environment) -> Iterator[Place]:
    place = Place(tmp_path, stack)
    yield place
    place.kill()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.05)


def append(settings: Settings, scope: str, names: list[str]) -> None:
    """Alerts about `channel:SCOPE` beside the chains."""
    schema_id = Registry(settings.registry).schema_id(ALERTS)
    producer = Producer({"bootstrap.servers": settings.kafka, "acks": "all", "partitioner": "murmur2_random"})
    for name in names:
        now = datetime.now(UTC)
        record = sample(scope, now) | dict.fromkeys(("window_start", "window_end", "raised_at"), now)
        producer.produce(ALERTS, encode(record | {"alert_id": name}, "alert.v1", schema_id), name)
    assert producer.flush(DEADLINE_S) == 0


def new_names(count: int) -> tuple[str, list[str]]:
    """A scope that no other test has, and names of alerts about it."""
    scope = f"notifier-{secrets.token_hex(4)}"
    return scope, [f"{scope}-{number}" for number in range(count)]


def route(scope: str, *channels: str) -> str:
    return f'[[route]]\nchannels = {json.dumps(channels)}\nscopes = ["channel:{scope}"]\n'


def told(receiver: WebReceiver) -> Counter[str]:
    return Counter(json.loads(body)["data"]["alert_id"] for _, body in list(receiver.requests))


def about(scope: str, receiver: WebReceiver) -> list[dict[str, Any]]:
    alerts = [json.loads(body)["data"] for _, body in list(receiver.requests)]
    return [alert for alert in alerts if alert["scope"] == scope]


def ids_by_alert(receiver: WebReceiver) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for headers, body in list(receiver.requests):
        found.setdefault(json.loads(body)["data"]["alert_id"], set()).add(headers["webhook-id"])
    return found


def test_killed_at_random_it_loses_nothing_and_repeats_under_the_same_id(place: Place, settings: Settings) -> None:
    scope, names = new_names(ALERT_COUNT)
    inbox = Inbox(451, 250, CUT)
    with (
        mail_server(inbox) as port,
        web_receiver(200) as good,
        web_receiver(500, CUT, 200) as shaky,
        web_receiver(STALL) as stalled,
    ):
        place.configure(
            mail("mail", port), hook("good", good), hook("shaky", shaky), hook("stalled", stalled, timeout_s=30),
            route(scope, "mail", "good", "shaky", "stalled"),
        )  # fmt: skip
        kills = 2
        for part in range(kills):
            place.start()
            append(settings, scope, names[part::kills])
            # Somewhere in the middle, before everything has been told.
            until(lambda: len(told(good)) >= random.randint(1, ALERT_COUNT // 4))
            place.kill()
        place.start()
        wanted = set(names)
        until(lambda: wanted <= told(good).keys() and wanted <= told(shaky).keys())
        until(lambda: wanted <= {line.removeprefix("  alert: ") for line in bodies(inbox).splitlines()})
        until(lambda: all(place.waiting(name) == 0 for name in ("mail", "good", "shaky")))  # what was in doubt, too
        code, status = place.status()

    assert code == 0
    assert status["channels"]["stalled"]["delivered"] == 0  # and yet it held up no other
    assert status["channels"]["stalled"]["waiting"] == len(names)
    for name, receiver in (("good", good), ("shaky", shaky)):
        assert all(len(ids) == 1 for ids in ids_by_alert(receiver).values())
        channel = status["channels"][name]
        assert channel["delivered"] == len(names)
        repeated = sum(count > 1 for count in told(receiver).values())
        assert repeated <= channel["perhaps_repeated"] + (name == "shaky")  # its 500 is a refusal that we saw
    message_ids = {str(message["Message-ID"]) for message in inbox.mails}
    assert len(message_ids) == len(names)


def bodies(inbox: Inbox) -> str:
    found = [message.get_body(("plain",)) for message in list(inbox.mails)]
    return "\n".join(body.get_content() for body in found if body is not None)


def test_a_crash_between_acceptance_and_mark_repeats_once_and_is_counted(place: Place, settings: Settings) -> None:
    scope, [name] = new_names(1)
    with web_receiver(200) as receiver:
        place.configure(hook("good", receiver), route(scope, "good"))
        process = place.start(TOLLBOOK_FAULT="notifier.accepted")
        append(settings, scope, [name])
        assert process.wait(DEADLINE_S) == 9
        assert told(receiver)[name] == 1
        place.start()
        until(lambda: place.status()[1]["channels"]["good"]["delivered"] == 1)
    assert told(receiver)[name] == 2
    assert len(ids_by_alert(receiver)[name]) == 1
    assert place.status()[1]["channels"]["good"]["perhaps_repeated"] == 1


def test_a_channel_that_is_gone_is_disabled_the_others_are_told_and_it_can_be_resumed(
    place: Place, settings: Settings
) -> None:
    scope, [name] = new_names(1)
    channel = f"gone-{secrets.token_hex(4)}"
    with web_receiver(410, 200) as gone, web_receiver(200) as other:
        routes = route(scope, channel) + route(channel, "other")
        place.configure(hook(channel, gone), hook("other", other), routes)
        place.start()
        append(settings, scope, [name])
        until(lambda: bool(about(channel, other)))
        [report] = about(channel, other)
        assert (report["type"], report["severity"], report["scope"]) == ("pipeline", "critical", channel)
        code, status = place.status()
        assert code == 1
        assert status["channels"][channel]["disabled"] == "status 410: "
        assert place.tell("resume", channel).exit_code == 0
        until(lambda: told(gone)[name] == 2)
        until(lambda: place.status()[0] == 0)


def test_a_changed_file_is_in_force_without_a_restart_and_a_wrong_one_is_not(place: Place, settings: Settings) -> None:
    scope, [first, second] = new_names(2)
    with web_receiver(200) as receiver:
        process = place.start()  # without a file it runs idle
        append(settings, scope, [first])
        until(lambda: "configures no channel" in (place.folder / "log").read_text())
        place.configure("[channel.good]\nkind = 'pigeon'\n")
        until(lambda: "stays in force" in (place.folder / "log").read_text())
        place.configure(hook("good", receiver), route(scope, "good"))
        until(lambda: "channels: good" in (place.folder / "log").read_text())
        append(settings, scope, [second])
        until(lambda: bool(told(receiver)[second]))
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def test_usage_that_crosses_a_threshold_reaches_inbox_and_webhook_once_unless_it_is_snoozed(
    place: Place, settings: Settings, run_tollbook: RunTollbook
) -> None:
    organization = f"notified-{secrets.token_hex(4)}"
    (place.folder / "budgets.toml").write_text(
        f'[[budget]]\nid = "{organization}"\nscope = "organization:{organization}"\nperiod = "month"\n'
        'unit = "tokens"\nlimit = 100\nthresholds = [50, 75, 90, 100]\nnotify = { 75 = { to = ["team"] } }\n'
    )
    applied = run_tollbook(place.environment, "budgets", "apply", str(place.folder / "budgets.toml"))
    assert applied.returncode == 0, applied.stdout + applied.stderr
    inbox = Inbox()
    with mail_server(inbox) as port, web_receiver(200) as receiver, web_receiver(200) as named:
        routes = f'[[route]]\nchannels = ["mail", "good"]\norganizations = ["{organization}"]\n'
        place.configure(mail("mail", port), hook("good", receiver), hook("team", named), routes)
        place.start()
        with UsageProducer(settings) as producer:
            producer.emit(usage(organization, "ada", 30))
            producer.emit(usage(organization, "bob", 10))
        landed = run_tollbook(place.environment, "wait", "--timeout", "60")
        assert landed.returncode == 0, landed.stderr
        with UsageProducer(settings) as producer:
            producer.emit(usage(organization, "ada", 40))
        until(lambda: len(inbox.mails) >= 2 and len(receiver.requests) >= 2)
        waited = run_tollbook(place.environment, "wait", "--timeout", "60")
        assert waited.returncode == 0, waited.stderr
        assert place.waiting("mail") == 0
        until(lambda: len(named.requests) >= 1)
        seen = json.loads(named.requests[0][1])["data"]["alert_id"]
        snoozed_before = place.status()[1]["alerts"].get("snoozed", 0)  # alerts that other tests have raised
        for answer in (("acknowledge", seen), ("snooze", organization)):
            answered = run_tollbook(place.environment, "alerts", *answer, "--author", "mia")
            assert answered.returncode == 0, answered.stdout + answered.stderr
        again = run_tollbook(place.environment, "alerts", "acknowledge", seen)
        assert (again.returncode, "acknowledged by mia already" in again.stderr) == (2, True)
        for tokens in (12, 10):  # 92 %, which nobody is told, and 102 %, which is critical
            with UsageProducer(settings) as producer:
                producer.emit(usage(organization, "ada", tokens))
            waited = run_tollbook(place.environment, "wait", "--timeout", "60")
            assert waited.returncode == 0, waited.stderr
        until(lambda: len(receiver.requests) >= 3)
        assert place.status()[1]["alerts"]["snoozed"] == snoozed_before + 1
    standing = "SELECT threshold, acknowledged_by, note FROM standing_alerts WHERE organization = {o:String} ORDER BY 1"
    found = [tuple(row.values()) for row in warehouse.ask(settings, standing, {"o": organization})]
    assert found == [(50, "", ""), (75, "mia", ""), (90, "", ""), (100, "", "")]
    assert [json.loads(body)["data"]["threshold"] for _, body in receiver.requests] == [50, 75, 100]
    assert [json.loads(body)["data"]["threshold"] for _, body in named.requests] == [75]
    for _, body in receiver.requests[:2]:  # as far as usage had landed
        contributors = json.loads(body)["data"]["contributors"]
        assert [(each["scope_kind"], each["scope"]) for each in contributors] == [("user", "ada"), ("user", "bob")]
    subjects = [str(message["Subject"]) for message in inbox.mails[:2]]
    assert [subject.split(":")[0] for subject in subjects] == ["[Tollbook] info", "[Tollbook] warning"]
    assert all(f"reached {share} %" in subject for subject, share in zip(subjects, (50, 75), strict=True))


def usage(organization: str, user: str, tokens: int) -> UsageEvent:
    return UsageEvent(
        event_id=secrets.token_hex(8),
        source="notifier-test",
        occurred_at=datetime.now(UTC),
        organization=organization,
        user=user,
        provider="openai",
        model="gpt-4o-mini",
        input_tokens=tokens,
    )


def test_a_channel_can_be_tried(place: Place) -> None:
    with web_receiver(500, 200) as receiver:
        place.configure(hook("good", receiver))
        refused = place.tell("test", "good")
        assert (refused.exit_code, refused.stdout) == (1, "good: refused: status 500: \n")
        taken = place.tell("test", "good")
        assert (taken.exit_code, taken.stdout) == (0, "good: accepted\n")
    assert place.tell("test", "bad").exit_code == 2
    assert place.tell("status").exit_code == 3  # no notifier has run there
