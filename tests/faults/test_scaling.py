"""Workers come and go under load."""

from subprocess import Popen

import pytest

from .ground import MODULES
from .scenario import Scenario

STEPS = [(kind, size) for kind in MODULES for size in (2, 3, 1)]


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_one_worker_three_and_one_again(scenario: Scenario) -> None:
    """Each kind grows to three and shrinks to one, a step whenever the group has settled on the one before."""
    ground = scenario.ground
    sending = scenario.send(scenario.load(450_000), rate=3_000)
    helpers: list[Popen[bytes]] = []
    try:
        for kind, size in STEPS:
            if size == 1:
                for helper in helpers:
                    helper.terminate()
                    assert helper.wait(30) == 0, f"{kind} did not end in order"
                helpers.clear()
            else:
                helpers.append(ground.start_worker(kind))
            ground.wait_members(kind, size)
            assert not sending.done, "the load ended before the steps"
            scenario.rounds += 1
        sending.finish()
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
    scenario.over()
    scenario.check()
