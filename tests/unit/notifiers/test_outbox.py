"""The outbox: taken in once, given out until accepted, the same id at each attempt, whatever crashes between."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notify_alerts import NOON_US, stored_alert

from notifiers.chain import Chain
from notifiers.delivery import Batch, Outcome, Result
from notifiers.outbox import Outbox, OutboxInUseError, connect, read_status, resume
from notifiers.retry import GIVE_UP_S, SECOND_US
from notifiers.routing import NO_ROUTE, ROUTED, Decision, Due, Target

HOOK = Target("hook", "")
ACCEPTED = Outcome(Result.ACCEPTED)
REFUSED = Outcome(Result.REFUSED, "status 500")
WEEK_US = GIVE_UP_S * SECOND_US


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], Outbox]]:
    """Opens the outbox, as a start after a crash does: without the last one having been closed in order."""
    opened: list[Outbox] = []

    def again() -> Outbox:
        for outbox in opened:
            outbox.close()
        opened.append(Outbox(tmp_path, NOON_US))
        return opened[-1]

    yield again
    opened[-1].close()


def note(outbox: Outbox, alert_id: str, *targets: Target, due: Due = Due(NOON_US, False)) -> None:  # noqa: B008 (frozen)
    with outbox.intake() as intake:
        decision = Decision(ROUTED if targets else NO_ROUTE, dict.fromkeys(targets, due))
        intake.alert("usage.alerts[0]:0", stored_alert(alert_id=alert_id), decision, NOON_US)


def note_and_fail(outbox: Outbox) -> None:
    with outbox.intake() as intake:
        intake.alert("p", stored_alert(), Decision(ROUTED, {HOOK: Due(NOON_US, False)}), NOON_US)
        intake.chain(0, Chain("e", 0, 7, 6))
        raise RuntimeError("crash")


def taken(outbox: Outbox, now: int = NOON_US, channel: str = "hook") -> Batch:
    batch = outbox.take(channel, now)
    assert batch is not None
    return batch


def ids(batch: Batch) -> list[str]:
    return [alert["alert_id"] for alert in batch.alerts]


def test_an_alert_that_comes_again_is_told_once(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    note(outbox, "a", HOOK)
    note(outbox, "a", HOOK)
    outbox.settle("hook", taken(outbox), ACCEPTED, NOON_US, 0)
    note(outbox, "a", HOOK)
    assert outbox.take("hook", NOON_US + WEEK_US) is None


def test_an_order_is_kept(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    for alert_id in ("c", "a", "b"):
        note(outbox, alert_id, HOOK)
    assert [ids(taken(outbox)) for _ in range(3)] == [["c"], ["a"], ["b"]]


def test_a_crash_while_sending_repeats_with_the_same_id_and_is_counted(
    reopen: Callable[[], Outbox], tmp_path: Path
) -> None:
    outbox = reopen()
    note(outbox, "a", HOOK)
    first = taken(outbox)
    assert outbox.take("hook", NOON_US) is None
    outbox = reopen()
    again = taken(outbox)
    assert again == first
    outbox.settle("hook", again, ACCEPTED, NOON_US, 0)
    assert read_status(connect(tmp_path))["channels"]["hook"]["perhaps_repeated"] == 1


def test_what_is_refused_comes_again_after_the_pause(reopen: Callable[[], Outbox], tmp_path: Path) -> None:
    outbox = reopen()
    note(outbox, "a", HOOK)
    first = taken(outbox)
    outbox.settle("hook", first, REFUSED, NOON_US, 0)
    assert outbox.take("hook", NOON_US + 2_499_999) is None
    assert taken(outbox, NOON_US + 2_500_000) == first
    state = read_status(connect(tmp_path))["channels"]["hook"]
    assert (state["reason"], state["perhaps_repeated"], state["delivered"]) == ("status 500", 0, 0)


def test_one_that_is_refused_holds_up_no_other(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    note(outbox, "poison", HOOK)
    note(outbox, "fine", HOOK)
    outbox.settle("hook", taken(outbox), REFUSED, NOON_US, 0.5)
    assert ids(taken(outbox)) == ["fine"]


def test_after_a_week_it_is_given_up_kept_and_can_be_resumed(reopen: Callable[[], Outbox], tmp_path: Path) -> None:
    outbox = reopen()
    note(outbox, "a", HOOK)
    first = taken(outbox)
    outbox.settle("hook", first, REFUSED, NOON_US + WEEK_US, 0)
    assert outbox.take("hook", NOON_US + 2 * WEEK_US) is None
    reader = connect(tmp_path)
    assert read_status(reader)["channels"]["hook"]["given_up"] == 1
    assert resume(reader, "hook", NOON_US + WEEK_US) == 1
    assert taken(outbox, NOON_US + WEEK_US) == first


def test_a_channel_that_is_gone_is_disabled_reported_and_can_be_resumed(
    reopen: Callable[[], Outbox], tmp_path: Path
) -> None:
    outbox = reopen()
    for target in (HOOK, Target("mail", "a@x")):
        note(outbox, f"for-{target.channel}", target)
    outbox.settle("hook", taken(outbox), Outcome(Result.GONE, "status 410"), NOON_US, 0)
    later = NOON_US + WEEK_US
    assert outbox.take("hook", later) is None
    assert ids(taken(outbox, later, "mail")) == ["for-mail"]
    [disabled] = outbox.unreported()
    assert (disabled.channel, disabled.reason) == ("hook", "status 410")
    outbox.reported(disabled)
    outbox = reopen()
    assert outbox.unreported() == []
    assert outbox.take("hook", later) is None
    resume(connect(tmp_path), "hook", later)
    assert ids(taken(outbox, later)) == ["for-hook"]


def test_a_digest_is_one_message_that_nothing_joins_later(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    due = Due(NOON_US + 10, True)
    for alert_id in ("a", "b"):
        note(outbox, alert_id, HOOK, due=due)
    note(outbox, "of-another", Target("mail", "a@x"), due=due)
    assert outbox.take("hook", NOON_US + 9) is None
    first = taken(outbox, NOON_US + 10)
    assert ids(first) == ["a", "b"]
    outbox.settle("hook", first, REFUSED, NOON_US + 10, 0)
    note(outbox, "c", HOOK, due=due)
    assert ids(taken(outbox, NOON_US + 10)) == ["c"]
    assert taken(outbox, NOON_US + 10 + 5 * SECOND_US) == first


def test_positions_and_alerts_are_committed_together(reopen: Callable[[], Outbox]) -> None:
    outbox = reopen()
    with pytest.raises(RuntimeError, match="crash"):
        note_and_fail(outbox)
    assert outbox.take("hook", NOON_US) is None
    assert outbox.chains() == {}
    with outbox.intake() as intake:
        intake.chain(0, Chain("e", 0, 7, 6))
    assert reopen().chains() == {0: Chain("e", 0, 7, 6)}


def test_two_notifiers_cannot_have_one_outbox(reopen: Callable[[], Outbox], tmp_path: Path) -> None:
    reopen()
    with pytest.raises(OutboxInUseError, match="another notifier"):
        Outbox(tmp_path, NOON_US)


def test_bytes_that_are_no_alert_are_kept(reopen: Callable[[], Outbox], tmp_path: Path) -> None:
    outbox = reopen()
    with outbox.intake() as intake:
        intake.undecodable("usage.alerts[1]:4", b"\x00poison", "value: not a record")
    assert connect(tmp_path).execute("SELECT * FROM undecodable").fetchall() == [
        ("usage.alerts[1]:4", b"\x00poison", "value: not a record")
    ]


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_nothing_is_lost_and_repeats_are_only_where_there_was_doubt(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any mix of refusals, cuts after acceptance and crashes, before or after it."""
    folder = tmp_path_factory.mktemp("outbox")
    outbox = Outbox(folder, NOON_US)
    wanted = [f"a{number}" for number in range(data.draw(st.integers(1, 4)))]
    digest = data.draw(st.booleans())
    for alert_id in wanted:
        note(outbox, alert_id, HOOK, due=Due(NOON_US, digest))
    received: list[Batch] = []
    doubts = 0
    now = NOON_US
    for _ in range(data.draw(st.integers(0, 12))):
        batch = outbox.take("hook", now)
        if batch is None:
            now += 3_600 * SECOND_US
            continue
        what = data.draw(st.sampled_from(["accepted", "refused", "cut", "crash before", "crash after"]))
        if what in ("accepted", "cut", "crash after"):
            received.append(batch)
        doubts += what in ("cut", "crash after")
        if what.startswith("crash"):
            outbox.close()
            outbox = Outbox(folder, NOON_US)
        else:
            result = {"accepted": Result.ACCEPTED, "refused": Result.REFUSED, "cut": Result.DOUBTFUL}[what]
            outbox.settle("hook", batch, Outcome(result), now, 0.5)
    for _ in range(8):
        while (batch := outbox.take("hook", now)) is not None:
            received.append(batch)
            outbox.settle("hook", batch, ACCEPTED, now, 0.5)
        now += 3_600 * SECOND_US
    outbox.close()
    by_id: dict[str, set[tuple[str, ...]]] = {}
    for batch in received:
        by_id.setdefault(batch.batch_id, set()).add(tuple(ids(batch)))
    assert all(len(contents) == 1 for contents in by_id.values())  # the same id, the same content
    told = [alert_id for contents in by_id.values() for each in contents for alert_id in each]
    assert sorted(told) == sorted(wanted)
    assert len(received) <= len(by_id) + doubts
