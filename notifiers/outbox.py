"""The outbox: what is known, what is to be told to whom, and what has been told. SQLite, durable at each commit.

Alerts, their deliveries and how far the topic was read are committed together: nothing is lost and nothing is taken in
twice. An attempt is marked before it begins and after it ended. One found begun at a start ended in a crash: it is
counted as doubtful and repeated, with the same id.
"""

import fcntl
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notifiers.chain import Chain
from notifiers.delivery import Batch, Outcome, Result
from notifiers.retry import next_attempt
from notifiers.routing import Decision

SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
    alert_id TEXT, state TEXT, place TEXT NOT NULL, record TEXT NOT NULL, outcome TEXT NOT NULL,
    noted_at INTEGER NOT NULL, PRIMARY KEY (alert_id, state)
) STRICT;
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY, delivery_id TEXT NOT NULL UNIQUE, alert_id TEXT NOT NULL, state TEXT NOT NULL,
    channel TEXT NOT NULL, address TEXT NOT NULL, digest INTEGER NOT NULL, batch_id TEXT,
    status TEXT NOT NULL DEFAULT 'waiting', due_at INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    doubtful INTEGER NOT NULL DEFAULT 0, first_tried_at INTEGER, settled_at INTEGER, reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS due ON deliveries (channel, due_at, number) WHERE status = 'waiting';
CREATE INDEX IF NOT EXISTS batches ON deliveries (batch_id);
CREATE TABLE IF NOT EXISTS chains (
    partition INTEGER PRIMARY KEY, epoch TEXT NOT NULL, start INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    head INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS disabled (
    channel TEXT PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL, reported INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS undecodable (place TEXT PRIMARY KEY, value BLOB NOT NULL, reason TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS began (at INTEGER NOT NULL) STRICT;
"""
# The oldest batch that is due; a digest is made of all that is due for one address and not in a batch yet.
NEXT = """
SELECT delivery_id, batch_id, address, digest FROM deliveries
WHERE channel = ? AND status = 'waiting' AND due_at <= ? ORDER BY due_at, number LIMIT 1
"""
JOINED = """
SELECT delivery_id FROM deliveries
WHERE channel = ? AND address = ? AND digest = 1 AND batch_id IS NULL AND status = 'waiting' AND due_at <= ?
ORDER BY number LIMIT 200
"""
BATCH = """
SELECT alerts.record FROM deliveries JOIN alerts USING (alert_id, state) WHERE batch_id = ? ORDER BY number
"""
STATUS = """
SELECT channel, sum(status IN ('waiting', 'sending')) AS waiting, sum(status = 'delivered') AS delivered,
    sum(status = 'given_up') AS given_up, sum(status = 'delivered' AND doubtful > 0) AS perhaps_repeated,
    min(CASE WHEN status IN ('waiting', 'sending') THEN due_at END) AS next_due_at,
    max(CASE WHEN status <> 'delivered' THEN reason END) AS reason
FROM deliveries GROUP BY channel
"""


class OutboxInUseError(Exception):
    """Another notifier has this outbox. Stop it, or give this one a state directory of its own."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """A channel that answered that it is gone."""

    channel: str
    at: int
    reason: str


class Outbox:
    """Safe to share between threads. Instants are microseconds UTC and passed in."""

    def __init__(self, folder: Path, now: int) -> None:
        """Makes the outbox in `folder` when there is none, and takes it. Raises OutboxInUseError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._taken = (folder / "lock").open("w")
        try:
            fcntl.flock(self._taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._taken.close()
            raise OutboxInUseError(f"{folder}: another notifier uses this outbox") from error
        self._db = connect(folder)
        self._lock = threading.Lock()
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM began").fetchone() is None:
                db.execute("INSERT INTO began VALUES (?)", (now,))
            db.execute("UPDATE deliveries SET status = 'waiting', doubtful = doubtful + 1 WHERE status = 'sending'")
        [(self.began_at,)] = self._db.execute("SELECT at FROM began")

    def close(self) -> None:
        with self._lock:
            self._db.close()
        self._taken.close()

    # ---- in

    def chains(self) -> dict[int, Chain]:
        """How far each partition has been read."""
        with self._lock:
            rows = self._db.execute("SELECT partition, epoch, start, next_offset, head FROM chains").fetchall()
        return {partition: Chain(*rest) for partition, *rest in rows}

    @contextmanager
    def intake(self) -> Iterator["Intake"]:
        """Everything noted inside is committed together, or not at all."""
        with self._transaction() as db:
            yield Intake(db)

    # ---- out

    def take(self, channel: str, now: int) -> Batch | None:
        """The next batch that is due, marked as being sent; None when there is none or the channel is disabled."""
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM disabled WHERE channel = ?", (channel,)).fetchone():
                return None
            row = db.execute(NEXT, (channel, now)).fetchone()
            if row is None:
                return None
            delivery_id, batch_id, address, digest = row
            if batch_id is None:
                members = [each for (each,) in db.execute(JOINED, (channel, address, now))] if digest else [delivery_id]
                batch_id = _name("batch", *members) if len(members) > 1 else delivery_id
                marks = [(batch_id, each) for each in members]
                db.executemany("UPDATE deliveries SET batch_id = ? WHERE delivery_id = ?", marks)
            db.execute(
                "UPDATE deliveries SET status = 'sending', attempts = attempts + 1,"
                " first_tried_at = coalesce(first_tried_at, ?) WHERE batch_id = ?",
                (now, batch_id),
            )
            records = [json.loads(record) for (record,) in db.execute(BATCH, (batch_id,))]
        return Batch(batch_id, address, tuple(records))

    def settle(self, channel: str, batch: Batch, outcome: Outcome, now: int, chance: float) -> None:
        """Notes how an attempt ended, and when the next is due; `chance` is in [0, 1)."""
        where = (batch.batch_id,)
        with self._transaction() as db:
            if outcome.result is Result.ACCEPTED:
                update = "UPDATE deliveries SET status = 'delivered', settled_at = ?, reason = '' WHERE batch_id = ?"
                db.execute(update, (now, *where))
                return
            tried = "SELECT attempts, first_tried_at FROM deliveries WHERE batch_id = ? LIMIT 1"
            attempts, first = db.execute(tried, where).fetchone()
            due_at = next_attempt(attempts, first, now, chance)
            db.execute(
                "UPDATE deliveries SET status = ?, due_at = coalesce(?, due_at), doubtful = doubtful + ?, reason = ?"
                " WHERE batch_id = ?",
                (
                    "given_up" if due_at is None else "waiting",
                    due_at,
                    outcome.result is Result.DOUBTFUL,
                    outcome.reason,
                    *where,
                ),
            )
            if outcome.result is Result.GONE:
                insert = "INSERT INTO disabled (channel, at, reason) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
                db.execute(insert, (channel, now, outcome.reason))

    def unreported(self) -> list[Disabled]:
        """Disabled channels of which the ledger has not been told."""
        with self._lock:
            rows = self._db.execute("SELECT channel, at, reason FROM disabled WHERE NOT reported").fetchall()
        return [Disabled(*row) for row in rows]

    def reported(self, disabled: Disabled) -> None:
        with self._transaction() as db:
            db.execute("UPDATE disabled SET reported = 1 WHERE channel = ?", (disabled.channel,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


class Intake:
    """One transaction of what was read from the topic."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def alert(self, place: str, record: dict[str, Any], decision: Decision, now: int) -> None:
        """Notes an alert (instants as text) and whom to tell; one that is known already changes nothing."""
        key = (record["alert_id"], record["state"])
        insert = "INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        values = (*key, place, json.dumps(record), decision.outcome, now)
        if not self._db.execute(insert, values).rowcount:
            return
        rows = [(_name(*key, *target), *key, *target, due.digest, due.at) for target, due in decision.targets.items()]
        insert = (
            "INSERT INTO deliveries (delivery_id, alert_id, state, channel, address, digest, due_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        self._db.executemany(insert, rows)

    def undecodable(self, place: str, value: bytes, reason: str) -> None:
        """Keeps a record that is no alert, with its bytes."""
        self._db.execute("INSERT INTO undecodable VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (place, value, reason))

    def chain(self, partition: int, chain: Chain) -> None:
        row = (partition, chain.epoch, chain.start, chain.next_offset, chain.head)
        self._db.execute("INSERT OR REPLACE INTO chains VALUES (?, ?, ?, ?, ?)", row)


def connect(folder: Path) -> sqlite3.Connection:
    """The outbox's database; to read it while a notifier runs needs no lock."""
    db = sqlite3.connect(folder / "outbox.sqlite", isolation_level=None, check_same_thread=False, timeout=30)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(SCHEMA)
    return db


def read_status(db: sqlite3.Connection) -> dict[str, Any]:
    """Counts by channel, disabled channels, alerts by outcome, records that were no alerts."""
    names = ("waiting", "delivered", "given_up", "perhaps_repeated", "next_due_at", "reason")
    channels = {row[0]: dict(zip(names, row[1:], strict=True)) for row in db.execute(STATUS)}
    return {
        "channels": channels,
        "disabled": dict(db.execute("SELECT channel, reason FROM disabled").fetchall()),
        "alerts": dict(db.execute("SELECT outcome, count(*) FROM alerts GROUP BY outcome").fetchall()),
        "undecodable": db.execute("SELECT count(*) FROM undecodable").fetchone()[0],
    }


def resume(db: sqlite3.Connection, channel: str, now: int) -> int:
    """Enables a channel again and makes all that it has not delivered due; how many deliveries that are."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM disabled WHERE channel = ?", (channel,))
    update = (
        "UPDATE deliveries SET status = 'waiting', due_at = min(due_at, ?), first_tried_at = NULL, attempts = 0"
        " WHERE channel = ? AND status IN ('waiting', 'given_up')"
    )
    count = db.execute(update, (now, channel)).rowcount
    db.execute("COMMIT")
    return count


def _name(*parts: str) -> str:
    """The same parts have the same name, in every attempt and after every crash."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
