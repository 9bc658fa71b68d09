"""A past for a ledger: how many windows it opens."""

from benchmarks.job import Job
from benchmarks.preload import KEYS_PER_EVENT, own_scopes

START = 1_790_000_000_000_000 // 3_600_000_000 * 3_600_000_000


def test_each_of_the_chosen_events_has_a_user_and_a_project_of_its_own() -> None:
    job = Job(seed=1, events=30_000, start=START)
    batches = list(own_scopes(job, 700))
    users = [user for batch in batches for user in batch.column("user").to_pylist()]
    projects = [project for batch in batches for project in batch.column("project").to_pylist()]
    own = [user for user in users if user.startswith("user-own-")]
    assert len(users) == 30_000
    assert len(own) == len(set(own)) == 700
    assert [place for place, user in enumerate(users) if user.startswith("user-own-")] == [
        place for place, project in enumerate(projects) if project.startswith("project-own-")
    ]
    assert 700 * KEYS_PER_EVENT == 4_200


def test_no_keys_are_no_change() -> None:
    job = Job(seed=1, events=20_000, start=START)
    users = {user for batch in own_scopes(job, 0) for user in batch.column("user").to_pylist()}
    assert not any(user.startswith("user-own-") for user in users)
