"""I6: the groups begin again at the first record kept, and nothing changes."""

from typing import Any

from schemas.settings import Settings
from stream_processors import warehouse

from .ground import MODULES, Ground
from .kafka_state import beginnings, commit, commits

REPLAYED_S = 300.0  # all that the scenarios of a file have left


def begin_again(ground: Ground) -> None:
    """For stopped workers."""
    for name in MODULES:
        commit(ground, name, beginnings(ground, commits(ground, name)))


def assert_replay_changes_nothing(ground: Ground) -> None:
    """Stops the workers, begins again, and compares the books with what they were; AssertionError naming the table."""
    ground.wait_landed()
    before = snapshot(ground.settings)
    with ground.stopped(*MODULES) as killed:
        begin_again(ground)
    for name, dead in killed.items():
        ground.wait_restarted(name, dead)
    ground.wait_landed(REPLAYED_S)
    after = snapshot(ground.settings)
    changed = {table: (before[table], after[table]) for table in before if before[table] != after[table]}
    assert not changed, changed


def snapshot(settings: Settings) -> dict[str, Any]:
    """A fingerprint of all that the books hold."""
    return {
        table: warehouse.ask(settings, f"SELECT count() AS n, sum(cityHash64({columns})) AS h FROM {table}")
        for table, columns in {
            "usage": "event_id, src_epoch, src_partition, src_offset, src_entry, input_tokens, cost_usd",
            "rejected": "src_epoch, src_partition, src_offset, reason, value",
            "blocks FINAL": "src_partition, block_offset, first_offset, last_offset, row_count",
            "windows": "window_kind, window_start, organization, scope_kind, scope, input_tokens, requests, cost_usd",
            "alerts": "alert_id, state, used",
            "usage_hourly FINAL": "hour, organization, department, model, feature, status, requests, cost_usd",
            "usage_daily FINAL": "day, organization, department, user, project, model, requests, cost_usd",
            "budget_status": "budget_id, organization, scope_kind, scope, window_start, used",
        }.items()
    }
