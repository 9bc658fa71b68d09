"""Workers come and go under load."""

import itertools
from subprocess import Popen

import pytest

from .ground import Scenario, wait_until
from .load import load_of
from .test_kills import THRESHOLDS, most_used

KINDS = ("rating", "windows", "sink")


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_one_worker_three_and_one_again(scenario: Scenario) -> None:
    """Each kind grows to three and shrinks to one, a step whenever the group has settled on the one before."""
    ground = scenario.ground
    load = load_of(ground.settings, scenario.run, scenario.seed, 240_000)
    watched = scenario.watch(THRESHOLDS, most_used(load))
    sending = scenario.send(load, rate=3_000)
    helpers: list[tuple[str, Popen[bytes]]] = []
    try:
        for kind in itertools.cycle(KINDS):
            if sending.done:
                break
            mine = [(name, helper) for name, helper in helpers if name == kind]
            if len(mine) < 2:
                helpers.append((kind, ground.start_worker(kind)))
            else:
                for one in mine:
                    one[1].terminate()
                    assert one[1].wait(30) == 0, f"{kind} did not end in order"
                    helpers.remove(one)
            members = 1 + sum(1 for name, _ in helpers if name == kind)
            wait_until(lambda kind=kind, members=members: ground.members(kind) == members, f"{members} {kind}")  # type: ignore[misc]
            scenario.rounds += 1
        sending.finish()
    finally:
        for _, helper in helpers:
            helper.kill()
            helper.wait()
    scenario.over()
    scenario.check(watched)
