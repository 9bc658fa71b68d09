"""A thread for each channel: one that fails or stalls holds up no other."""

import logging
import threading
from collections.abc import Callable

from notifiers.channels import Send
from notifiers.delivery import Batch, Outcome, Result
from notifiers.faults import crash
from notifiers.outbox import Outbox

IDLE_S = 0.5
STOP_S = 5.0
SECOND_US = 1_000_000

log = logging.getLogger("tollbook.notifier")


class Worker(threading.Thread):
    """Sends what is due on one channel, one batch after the other. `clock` tells microseconds UTC, `chance` [0, 1)."""

    def __init__(
        self, channel: str, send: Send, outbox: Outbox, clock: Callable[[], int], chance: Callable[[], float]
    ) -> None:
        super().__init__(name=f"channel-{channel}", daemon=True)
        self.channel = channel
        self._send, self._outbox, self._clock, self._chance = send, outbox, clock, chance
        self._wake, self._stopping = threading.Event(), threading.Event()

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def stop(self) -> None:
        """Asks it to end after the attempt that is running."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            if not self.deliver_next():
                self._wake.wait(IDLE_S)
                self._wake.clear()

    def deliver_next(self) -> bool:
        """One attempt, when one is due; whether there was one."""
        batch = self._outbox.take(self.channel, self._clock())
        if batch is None:
            return False
        outcome = self._attempt(batch)
        if outcome.result is Result.ACCEPTED:
            crash("notifier.accepted")
        else:
            log.warning("channel %s: %s %s: %s", self.channel, batch.batch_id, outcome.result, outcome.reason)
        self._outbox.settle(self.channel, batch, outcome, self._clock(), self._chance())
        return True

    def _attempt(self, batch: Batch) -> Outcome:
        try:
            return self._send(batch, self._clock() // SECOND_US)
        except (OSError, ValueError) as error:  # its secret is missing or is none
            return Outcome(Result.REFUSED, str(error))
        except Exception as error:  # a mistake of ours or of a library: the alert waits, and the channel goes on
            log.exception("channel %s: %s", self.channel, batch.batch_id)
            return Outcome(Result.DOUBTFUL, repr(error))
