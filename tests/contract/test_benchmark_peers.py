"""Each peer of the benchmark says whose page it follows and pins what it runs on."""

import re
from pathlib import Path

import pytest

from benchmarks.store import Section, read
from benchmarks.systems import PEERS_DIR, System, systems, versions

PEERS = [system for system in systems() if system.name != "tollbook"]


def test_every_folder_is_a_peer() -> None:
    folders = {path.parent.name for path in PEERS_DIR.glob("*/main.py")}
    assert folders == {peer.name for peer in PEERS}
    assert folders >= {"faust", "quix", "bytewax", "pathway", "plain", "reference"}


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_names_the_page_it_follows(peer: System) -> None:
    assert re.fullmatch(r"https://\S+", peer.link)
    assert 0 < peer.share <= 1


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_pins_every_package_with_its_hash(peer: System) -> None:
    text = (peer.folder / "requirements.lock").read_text()
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert all(re.match(r"[\w.\[\],-]+==\S+", each) and "--hash=sha256:" in each for each in requirements)
    asked = (peer.folder / "requirements.in").read_text().split()
    assert set(versions(peer)) == {re.split(r"[\[>]", name)[0] for name in asked}


def test_results_go_on_at_the_same_commit_and_begin_anew_at_another(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = Section("peers", {"commit": "a"}, {"events": 1}, path)
    first.add(kind="speed", run=0, system="plain", events_per_s=10)
    assert Section("peers", {"commit": "a"}, {"events": 1}, path).has(kind="speed", run=0, system="plain")
    assert not Section("peers", {"commit": "a"}, {"events": 1}, path).has(kind="speed", run=1, system="plain")
    assert not Section("peers", {"commit": "b"}, {"events": 1}, path).has(kind="speed", run=0)
    assert not Section("peers", {"commit": "a"}, {"events": 2}, path).has(kind="speed", run=0)
    Section("latency", {"commit": "b"}, {}, path).add(rate=0)
    assert read(path).keys() == {"peers", "latency"}
