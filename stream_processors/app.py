"""The Faust apps: `python -m stream_processors.app rating|windows`.

`rating` has no tables, so it has no recovery and rebalances fast; `windows` holds rollup and budgets. They are two
processes: merged they would share one interpreter lock, and rating would gain tables and recovery.
"""

import gc
import logging
import os
import sys
from pathlib import Path
from typing import Any

import faust
import mode.loop
import pyarrow

from schemas.settings import Settings
from schemas.topics import BLOCKS, EVENTS, PARTIALS
from stream_processors import connections, logs
from stream_processors.budget_log import BudgetFollower
from stream_processors.transport import SequencedApp, SequencedTransport, fetch_in_batches


def make_app(name: str, tracked: set[str], settings: Settings, **more: Any) -> SequencedApp:
    """A Faust app on the sequenced transport, with the settings argued in docs/design.md, section 4."""
    datadir = settings.state_dir / "faust" / name
    datadir.mkdir(parents=True, exist_ok=True)
    app = SequencedApp(
        f"tollbook-{name}",
        broker=f"kafka://{settings.kafka}",
        store="memory://",
        datadir=str(datadir),
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=17 << 20,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.5,
        broker_rebalance_timeout=20.0,
        broker_request_timeout=20.0,
        broker_commit_interval=1.0,
        consumer_group_instance_id=settings.instance or None,
        table_standby_replicas=0,
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        producer_acks=-1,
        producer_linger=0.0,
        producer_max_request_size=17 << 20,
        **more,
    )
    app.transport = SequencedTransport(app.conf.broker_consumer, app, app.loop)
    app.tracked = frozenset(tracked)
    return app


def rating(settings: Settings) -> SequencedApp:
    """Prices events."""
    from stream_processors.agents.rating import install

    fetch_in_batches(80, 1 << 20, {EVENTS})
    app = make_app("rating", {EVENTS}, settings, broker_max_poll_records=10_000)
    install(app, settings)
    return app


def windows(settings: Settings) -> SequencedApp:
    """Adds blocks up, and watches budgets."""
    from stream_processors.agents.budgets import install as install_budgets
    from stream_processors.agents.rollup import install as install_rollup

    fetch_in_batches(20, 1, {BLOCKS, PARTIALS})
    app = make_app("windows", {BLOCKS, PARTIALS}, settings, broker_max_poll_records=64)
    follower = BudgetFollower(settings.kafka)
    rollup = install_rollup(app, settings, follower)
    budgets = install_budgets(app, settings, follower)

    async def start_positions(tps: Any) -> Any:
        return {
            **await rollup.start_positions({tp for tp in tps if tp.topic == BLOCKS}),
            **await budgets.start_positions({tp for tp in tps if tp.topic == PARTIALS}),
        }

    app.start_positions = start_positions
    return app


def announce() -> None:
    """Tell the supervisor that this worker is at work."""
    if "TOLLBOOK_READY_FILE" in os.environ:
        Path(os.environ["TOLLBOOK_READY_FILE"]).write_text(str(os.getpid()))


APPS = {"rating": rating, "windows": windows}


def main() -> None:
    """Run one worker until SIGTERM."""
    if len(sys.argv) != 2 or sys.argv[1] not in APPS:
        raise SystemExit(f"usage: python -m stream_processors.app {'|'.join(APPS)}")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("tollbook").setLevel(logging.INFO)
    mode.loop.use("uvloop")
    connections.use()
    pyarrow.set_cpu_count(1)  # its thread pool costs more than it saves at our batch sizes
    pyarrow.set_io_thread_count(1)
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # a fetch makes 10 000 records; the default went through them 14 times
    settings = Settings()
    logs.wait_for_broker(settings.kafka)
    app = APPS[sys.argv[1]](settings)
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True)

    app.settled = announce
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
