"""The notifier: reads alerts into the outbox, lets the channels' threads empty it, and follows notify.toml."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from notifiers.alert_topic import AlertTopic
from notifiers.channels import sender
from notifiers.config import Config, ConfigError, load_config
from notifiers.deliver import STOP_S, Worker
from notifiers.outbox import Outbox
from notifiers.routing import Decision, decide
from schemas.responses import Snooze

READ_S = 0.25

Contributors = Callable[[Sequence[dict[str, Any]]], list[list[dict[str, Any]]]]

log = logging.getLogger("tollbook.notifier")


class WorkerEndedError(Exception):
    """A channel's thread ended by an error that is not the channel's; the process must start anew."""


class Notifier:
    """`clock` tells microseconds UTC, `chance` a number in [0, 1), `contributors` who used most, for each alert,
    `snoozes` what is not to be told for now.
    """

    def __init__(
        self,
        file: Path,
        zone: ZoneInfo,
        outbox: Outbox,
        topic: AlertTopic,
        clock: Callable[[], int],
        chance: Callable[[], float],
        contributors: Contributors,
        snoozes: Callable[[], Sequence[Snooze]],
    ) -> None:
        """Raises ConfigError when `file` (notify.toml) is wrong at the start; later a wrong one is only logged."""
        self._file, self._zone, self._outbox, self._topic = file, zone, outbox, topic
        self._clock, self._chance, self._contributors = clock, chance, contributors
        self._snoozes = snoozes
        self._stopping = threading.Event()
        self._workers: list[Worker] = []
        self._seen = _version(file)
        self._use(load_config(file))

    def stop(self) -> None:
        """Asks it to end; what is being sent then is finished within a few seconds, or is in doubt."""
        self._stopping.set()

    def run(self) -> None:
        """Returns after `stop`. Raises KafkaException, RegistryAwayError, WorkerEndedError: a new start may mend it."""
        try:
            while not self._stopping.is_set():
                self._follow_file()
                self.read()
                self._report()
        finally:
            self._stop_workers()

    def read(self) -> None:
        """Takes in what is new, all of it or nothing."""
        received = self._topic.read(READ_S)
        now = self._clock()
        if received:
            decided = self._decide([each.alert for each in received if each.alert is not None], now)
            with self._outbox.intake() as intake:
                for each in received:
                    if each.alert is None:
                        log.error("%s: no alert: %s; its bytes are kept", each.place, each.reason)
                        intake.undecodable(each.place, each.value, each.reason)
                    else:
                        intake.alert(each.place, *next(decided), now)
                for number in {each.partition for each in received}:
                    intake.chain(number, self._topic.chains[number])
            for worker in self._workers:
                worker.wake()
        dead = [worker.channel for worker in self._workers if not worker.is_alive()]
        if dead:
            raise WorkerEndedError(f"the thread of channel {dead[0]} ended")

    def _decide(self, alerts: Sequence[dict[str, Any]], now: int) -> Iterator[tuple[dict[str, Any], Decision]]:
        """Each alert as it is kept, and what becomes of it; those that are told say who contributed most."""
        snoozes, began_at = self._snoozes(), self._outbox.began_at
        decisions = [decide(alert, self._config, self._zone, now, began_at, snoozes) for alert in alerts]
        texts = [as_text(alert) for alert in alerts]
        told = [text for text, decision in zip(texts, decisions, strict=True) if decision.targets]
        for text, found in zip(told, self._contributors(told), strict=True):
            if found:
                text["contributors"] = found
        for alert in alerts:
            unknown = set(alert["recipients"]).difference(self._config.channel)
            if unknown:
                log.error("%s: budget %s names %s: no channel has this name", self._file, alert["budget_id"], unknown)
        return zip(texts, decisions, strict=True)

    def _report(self) -> None:
        for disabled in self._outbox.unreported():
            log.error("channel %s is disabled: %s", disabled.channel, disabled.reason)
            self._topic.report(disabled)
            self._outbox.reported(disabled)

    def _follow_file(self) -> None:
        version = _version(self._file)
        if version == self._seen:
            return
        self._seen = version
        try:
            config = load_config(self._file)
        except ConfigError as error:
            log.error("%s\nthe configuration before stays in force", error)
            return
        self._stop_workers()
        self._use(config)

    def _use(self, config: Config) -> None:
        self._config = config
        if not config.channel:
            log.info("%s configures no channel: alerts are recorded, none is delivered", self._file)
        for name, channel in config.channel.items():
            worker = Worker(name, sender(channel, config.link), self._outbox, self._clock, self._chance)
            self._workers.append(worker)
            worker.start()
        log.info("channels: %s", ", ".join(config.channel) or "none")

    def _stop_workers(self) -> None:
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join(STOP_S)
        self._workers = []


def as_text(alert: dict[str, Any]) -> dict[str, Any]:
    """The alert with instants as `2026-11-01T00:00:00Z`, as JSON has them."""
    return {name: _instant(value) if isinstance(value, datetime) else value for name, value in alert.items()}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _version(file: Path) -> tuple[int, int] | None:
    """What changes when the file does."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
