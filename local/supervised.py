"""One process under supervision: its state, and the moves from one state to the next."""

import logging
import os
import signal
import subprocess

from local import child_process, readiness, restarts
from local.config import Config
from local.processes import FILE, Process, ready_file

WAITING = "waiting"  # for what it needs
STARTING = "starting"
READY = "ready"
DONE = "done"  # a step that ended well
RESTARTING = "restarting"  # ended; started again after a pause
FAILED = "failed"  # ended too often in a row; still tried, seldom
STOPPED = "stopped"

GRACE_S = 10.0  # between SIGTERM and SIGKILL
LOG_LIMIT_BYTES = 20_000_000

log = logging.getLogger("supervisor")


class Supervised:
    """Starts, watches and ends one process. Times are monotonic seconds and passed in."""

    def __init__(self, process: Process, config: Config) -> None:
        self.process = process
        self.state = WAITING
        self.restarts = 0
        self._config = config
        self._popen: subprocess.Popen[bytes] | None = None
        self._exit_status: int | None = None
        self._failures = 0
        self._start_at = 0.0
        self._started_at = 0.0
        self._created_s = 0.0  # as the kernel tells it: with the pid, it names one process
        self._ready_at: float | None = None
        self._kill_at: float | None = None

    def describe(self) -> dict[str, object]:
        """What `supervisor.json` says of it."""
        return {
            "name": self.process.name,
            "step": self.process.is_step,
            "pid": self._popen.pid if self._popen else None,
            "state": self.state,
            "restarts": self.restarts,
            "started_at": self._created_s if self._popen else None,
            "exit_status": self._exit_status,
        }

    def start_if_due(self, now: float) -> None:
        """Starts it when it does not run, has not done its step, and its pause is over."""
        if self._popen or self.state == DONE or now < self._start_at:
            return
        if self.state != WAITING:
            self.restarts += 1
        ready_file(self._config, self.process.name).unlink(missing_ok=True)
        self._popen = self._start()
        self.state = STARTING
        self._started_at, self._ready_at, self._kill_at = now, None, None
        self._created_s = child_process.created_s(self._popen.pid)
        log.info("%s started, pid %d", self.process.name, self._popen.pid)

    def _start(self) -> subprocess.Popen[bytes]:
        path = self._config.logs_dir / f"{self.process.name}.log"
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        own = {"TOLLBOOK_READY_FILE": str(ready_file(self._config, self.process.name))}
        with path.open("ab") as output:
            return child_process.start(self.process.command, {**inherited, **self.process.environment, **own}, output)

    def notice_ready(self, now: float) -> None:
        """Asks a starting process whether it is ready; ends one that takes too long."""
        if self.state != STARTING or self._popen is None:
            return
        if not self.process.is_step and all(self._holds(condition) for condition in self.process.ready):
            self.state, self._ready_at = READY, now
            log.info("%s ready after %.1f s", self.process.name, now - self._started_at)
        elif now - self._started_at > self.process.start_timeout_s:
            self._end(now, f"not ready after {self.process.start_timeout_s} s")

    def _holds(self, condition: str) -> bool:
        assert self._popen
        if condition == FILE:
            return readiness.file_names(ready_file(self._config, self.process.name), self._popen.pid)
        scheme, address = condition.split("://")
        return readiness.kafka_answers(address) if scheme == "kafka" else readiness.http_answers(condition)

    def notice_end(self, now: float) -> None:
        """Sees whether it ended; plans the next start unless it was a step that went well or is to stop."""
        if self._popen is None:
            return
        status = child_process.reap(self._popen)
        if status is None:
            if self._kill_at is not None and now >= self._kill_at:
                child_process.signal_group(self._popen.pid, signal.SIGKILL)
            return
        self._popen, self._exit_status = None, status
        if self.process.is_step and status == 0:
            self.state, self._failures = DONE, 0
            log.info("%s done after %.1f s", self.process.name, now - self._started_at)
        else:
            self._plan_restart(now, status)

    def _plan_restart(self, now: float, status: int) -> None:
        served_s = now - self._ready_at if self._ready_at is not None else 0.0
        self._failures = restarts.failures_after(self._failures, served_s)
        self._start_at = now + restarts.delay_s(self._failures)
        self.state = FAILED if restarts.cannot_start(self._failures) else RESTARTING
        log.info("%s ended with status %d", self.process.name, status)

    def stop(self, now: float) -> None:
        """Asks it to end, and makes it end after the grace; to be called until its state is STOPPED."""
        if self._popen is None:
            self.state = STOPPED
        elif self._kill_at is None:
            self._end(now, "asked to stop")

    def _end(self, now: float, reason: str) -> None:
        assert self._popen
        if self._kill_at is None:
            log.info("%s: %s", self.process.name, reason)
            child_process.signal_group(self._popen.pid, signal.SIGTERM)
            self._kill_at = now + GRACE_S
