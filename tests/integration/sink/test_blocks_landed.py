"""Whatever happens to the sink or to ClickHouse, each row is there once and the rollups agree."""

import signal

import pytest
from confluent_kafka import Producer

from schemas.topics import ALERTS, BLOCKS
from stream_processors.lag import SINK_GROUP
from stream_processors.sink.halt import halt_id
from tests.conftest import group_members

from .conftest import Ledger, delete_group, wait_until

FAULTS = ["sink.after_plan", "sink.after_usage", "sink.before_blocks", "sink.before_commit"]
YEAR_US = 366 * 86_400_000_000


def test_rows_rejects_and_rollups_land_exactly(quiet: Ledger) -> None:
    quiet.start_sink()
    for chain in quiet.chains[:4]:
        chain.append(300, rejects=2)
        chain.append(0, rejects=1)
        chain.append(50)
    quiet.wait_landed()
    quiet.assert_exact()
    assert quiet.stop_sink() == 0


def test_blocks_that_do_not_extend_the_chain_are_ignored(quiet: Ledger) -> None:
    quiet.chains[0].append(10)
    quiet.chains[0].append_zombie(25)
    quiet.chains[0].append(10)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_crash_at_any_point_neither_loses_nor_doubles(quiet: Ledger, fault: str) -> None:
    for chain in quiet.chains[:4]:
        chain.append(200, rejects=1)
    quiet.start_sink(fault, wait=False)
    assert quiet.wait_for_death() == 9
    for chain in quiet.chains[:4]:
        chain.append(30)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


def test_a_crash_during_the_repair_is_repaired(quiet: Ledger) -> None:
    quiet.chains[2].append(100)
    for fault in ("sink.after_usage", "sink.before_repair"):
        quiet.start_sink(fault, wait=False)
        assert quiet.wait_for_death() == 9
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


def test_half_an_insert_is_completed_and_the_rollups_with_it(quiet: Ledger) -> None:
    """What a crash of ClickHouse may leave: some rows of the table, other rows of the rollups, a known token."""
    head = quiet.chains[1].append(400)
    quiet.start_sink("sink.before_blocks", wait=False)
    assert quiet.wait_for_death() == 9
    now = {"mutations_sync": 2}
    block = f"src_partition = 1 AND block_offset = {head}"
    quiet.warehouse.run(f"ALTER TABLE usage DELETE WHERE {block} AND src_offset % 3 = 0", now)
    quiet.warehouse.run("ALTER TABLE usage_hourly DELETE WHERE src_partition = 1 AND department = 'legal'", now)
    quiet.warehouse.run("ALTER TABLE usage_daily DELETE WHERE src_partition = 1 AND user = 'user3'", now)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


def test_an_insert_that_vanished_with_its_token_known_is_repeated(quiet: Ledger) -> None:
    """ClickHouse answers "ok" to the repeat of a known token and inserts nothing: only reading back finds that."""
    head = quiet.chains[3].append(150)
    quiet.start_sink("sink.after_usage", wait=False)
    assert quiet.wait_for_death() == 9
    quiet.warehouse.run(
        f"ALTER TABLE usage DELETE WHERE src_partition = 3 AND block_offset = {head}", {"mutations_sync": 2}
    )
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


def test_forgotten_offsets_double_nothing(quiet: Ledger) -> None:
    for chain in quiet.chains[:4]:
        chain.append(120)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.stop_sink()
    delete_group(quiet)
    for chain in quiet.chains[:4]:
        chain.append(80)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


def test_frozen_for_longer_than_its_session_it_goes_on(quiet: Ledger) -> None:
    """Its partitions are taken away and given back to it, without a new start."""
    process = quiet.start_sink()
    quiet.chains[0].append(60)
    quiet.wait_landed()
    process.suspend()
    wait_until(lambda: group_members(quiet.settings.kafka, SINK_GROUP) == 0, 60)
    process.resume()
    for chain in quiet.chains[:4]:
        chain.append(40)
    quiet.wait_landed()
    quiet.assert_exact()
    assert process.is_running()


def test_forgotten_by_its_group_in_the_middle_of_an_insert_it_goes_on(quiet: Ledger) -> None:
    """What it would commit is refused then, and what it inserted is found when it begins again."""
    process = quiet.start_sink()
    quiet.front.fail("stall", 1, "usage")
    quiet.chains[0].append(50)
    wait_until(lambda: quiet.planned(0), 60)
    process.suspend()
    wait_until(lambda: group_members(quiet.settings.kafka, SINK_GROUP) == 0, 60)
    process.resume()
    quiet.front.fail("none")
    quiet.chains[0].append(50)
    quiet.wait_landed()
    quiet.assert_exact()
    assert process.is_running()


def test_a_commit_that_fell_back_doubles_nothing(quiet: Ledger) -> None:
    """Offsets restored from an older copy: the blocks after them are in ClickHouse already."""
    quiet.chains[1].append(70)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.stop_sink()
    older = quiet.committed(1)
    quiet.chains[1].append(70, rejects=1)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.stop_sink()
    quiet.commit(older)
    quiet.chains[1].append(70)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


def test_more_months_than_clickhouse_takes_by_default_are_one_insert(quiet: Ledger) -> None:
    chain = quiet.chains[0]
    start, span = chain.start, chain.span_us
    chain.start, chain.span_us = start - 10 * YEAR_US, 10 * YEAR_US
    chain.append(3000)
    chain.start, chain.span_us = start, span
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


@pytest.mark.parametrize("mode", ["error500", "disk_full", "cut_after_commit"])
def test_a_failed_or_cut_insert_is_read_back_and_repeated(quiet: Ledger, mode: str) -> None:
    quiet.start_sink()
    quiet.front.fail(mode, 2)
    quiet.chains[2].append(250, rejects=1)
    quiet.wait_landed()
    quiet.assert_exact()


def test_an_insert_that_still_waits_in_clickhouse_is_not_doubled(quiet: Ledger) -> None:
    quiet.start_sink()
    quiet.front.fail("stall", 1, "usage")  # an alert's row that came first would hold up the sink before it plans
    quiet.chains[0].append(90)
    wait_until(lambda: quiet.planned(0), 60)
    quiet.stop_sink(signal.SIGKILL)
    quiet.front.fail("none")
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_clickhouse_away_and_back(quiet: Ledger, number: signal.Signals) -> None:
    process = quiet.start_sink()
    quiet.chains[0].append(10)
    quiet.wait_landed()
    said = quiet.log.read_bytes().count(b"waits, nothing is lost")
    quiet.front.stop(number)
    for _ in range(3):
        for chain in quiet.chains[:4]:
            chain.append(2000)
    wait_until(lambda: quiet.log.read_bytes().count(b"waits, nothing is lost") == said + 1, 60)
    quiet.front.start()
    quiet.wait_landed()
    quiet.assert_exact()
    assert process.is_running()


def test_a_refused_insert_halts_its_partition_with_an_alert_and_no_other(quiet: Ledger) -> None:
    quiet.warehouse.run("ALTER TABLE usage ADD CONSTRAINT refused CHECK src_partition != 4")
    refused = quiet.chains[4].append(60)
    quiet.chains[0].append(60)
    quiet.start_sink()
    quiet.wait_landed(range(1))
    alert_id = halt_id(BLOCKS, 4, refused)
    wait_until(lambda: bool(quiet.query(f"SELECT 1 AS one FROM alerts WHERE alert_id = '{alert_id}'")), 30)
    quiet.chains[4].append(60)
    quiet.chains[0].append(60)
    quiet.wait_landed(range(1))
    quiet.assert_exact(range(4))
    [found] = quiet.query(f"SELECT type, severity, detail FROM alerts WHERE alert_id = '{alert_id}'")
    assert (found["type"], found["severity"]) == ("pipeline", "critical")
    assert "refused" in found["detail"]
    assert quiet.query(
        "SELECT count() AS n FROM usage WHERE src_partition = 4 AND block_offset >= " + str(refused)
    ) == [{"n": 0}]
    quiet.stop_sink()
    quiet.warehouse.run("ALTER TABLE usage DROP CONSTRAINT refused")
    quiet.start_sink()
    quiet.wait_landed(range(5))
    quiet.assert_exact(range(5))


def test_a_hole_halts_its_partition_with_an_alert(quiet: Ledger) -> None:
    chain = quiet.chains[5]
    last = chain.append(40)
    hole = chain.append_hole(10)
    quiet.start_sink()
    alert_id = halt_id(BLOCKS, 5, hole)
    wait_until(lambda: bool(quiet.query(f"SELECT 1 AS one FROM alerts WHERE alert_id = '{alert_id}'")), 60)
    quiet.wait_landed(range(5, 6))
    quiet.assert_exact(range(5, 6))
    assert chain.head == last


def test_a_record_that_is_no_alert_halts_only_its_partition(quiet: Ledger) -> None:
    producer = Producer({"bootstrap.servers": quiet.settings.kafka})
    producer.produce(ALERTS, b"\x01not Avro", "x", partition=5)
    assert producer.flush(20) == 0
    quiet.chains[0].append(20)
    quiet.start_sink()
    quiet.wait_landed()
    quiet.assert_exact()
    wait_until(lambda: b"usage.alerts[5] stands still" in quiet.log.read_bytes(), 30)
