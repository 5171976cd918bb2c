"""The comparison with other queues: its catalog is complete, and it says of given figures what they say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks.peers import adapters
from benchmarks.peers.catalog import OURS, PEERS, chosen
from benchmarks.peers.compare import losses, ratios
from benchmarks.peers.outcome import Failure, Outcome, Row
from benchmarks.peers.report import markdown
from benchmarks.peers.workloads import FIGURES, WORKLOADS

FOLDER = Path(adapters.__file__).parent


def test_every_peer_is_pinned_and_has_an_adapter_and_a_line_in_the_readme() -> None:
    modules = {path.stem: ast.parse(path.read_text()) for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    readme = (FOLDER.parent / "README.md").read_text()

    assert set(modules) == set(PEERS)
    for name, peer in PEERS.items():
        defined = {getattr(node, "name", "") for node in modules[name].body}
        methods = {
            getattr(node, "name", "") for each in modules[name].body for node in ast.walk(each) if each is not node
        }
        words = {node.value for node in ast.walk(modules[name]) if isinstance(node, ast.Constant)}

        assert {"commands", "session", "Session"} <= defined, name
        assert {"send", "call"} <= methods, name
        assert {"noop", "nap", "spin"} <= words | defined | {"nap", "noop"} & methods | _from_bodies(modules[name]), (
            name
        )
        assert name == OURS or "==" in peer.requires[0], name
        assert peer.settings and peer.cpu and peer.recovery and set(peer.kinds) <= {"async", "sync"}, name
        assert f"| {peer.title} | {peer.settings} | {peer.cpu} | {peer.recovery} |" in readme, name
    assert all(heading.workload in WORKLOADS for heading in FIGURES.values())

    assert [peer.name for peer in chosen("rq, ardiq")] == [OURS, "rq", "ardiq"]
    assert len(chosen("all")) == len(PEERS)
    with pytest.raises(ValueError, match='no peer "qr"'):
        chosen("qr")


def _from_bodies(module: ast.Module) -> set[str]:
    """The tasks that come with one of the dictionaries of bodies."""
    used = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    return {"noop", "nap"} if used & {"ASYNC", "SYNC"} else set()


def test_report_tells_ratios_losses_and_failures(tmp_path: Path) -> None:
    outcome = Outcome(
        {
            "date": "2026-01-02",
            "machine": "Box, 2 cores",
            "server": "Redis 7",
            "repetitions": 3,
            "quick": False,
            "recovery": 75,
        },
        [
            Row(OURS, "aiotask", "0.1.0", "3.11.7"),
            Row("ardiq", "ArdiQ", "1.2.0", "3.12.1"),
            Row("rq", "RQ", "3", "3.11.7"),
        ],
        skipped={"huey": "no such version"},
        failures=[Failure("rq", "trips", 1, "its workers ended.")],
    )
    for send, memory in ((90_000.0, 60.0), (110_000.0, 61.0), (100_000.0, 62.0)):
        outcome.add(OURS, {"send": send, "drain_sync_1": 60_000.0, "drain_async_1": 50_000.0, "memory": memory})
    outcome.add("ardiq", {"send": 30_000.0, "drain_async_1": 15_000.0, "memory": 70.0})
    outcome.add("rq", {"send": 5_000.0, "drain_sync_1": 100.0, "memory": 40.0})
    # Quicker than ours, but what was lost did not come back at all.
    outcome.add(OURS, {"one_p50": 0.4, "one_max": 0.5, "one_done": 1.0, "one_lost": 0.0, "one_twice": 0.0})
    outcome.add("rq", {"one_p50": 0.1, "one_max": 0.1, "one_done": 0.2, "one_lost": 1.0, "one_twice": 0.0})
    outcome.add("ardiq", {"one_p50": 5.0, "one_max": 5.0, "one_done": 5.0, "one_lost": 0.0, "one_twice": 2.0})
    path = tmp_path / "figures.json"
    outcome.write(path)
    outcome = Outcome.read(path)

    found = {(each.title.partition(",")[0], each.against): (round(each.ratio, 2), each.met) for each in ratios(outcome)}
    assert found["send", "ArdiQ"] == (3.33, True)
    assert found["drain", "ArdiQ"] == (4.0, False)
    assert found["drain", "RQ"] == (600.0, True)
    assert found["kill a worker: the last one of the interrupted jobs runs again", "ArdiQ"] == (10.0, True)
    assert losses(outcome) == ["two idle workers: aiotask 61.0 MB, RQ 40.0."]

    page = markdown(outcome, ["plots/send.svg"])
    assert "| aiotask | **100,000** (90,000-110,000) |" in page
    assert "| RQ | 5,000 | - | 100 |" in page
    assert "✗ 5x" in page and "✓ 20x" in page
    assert "- two idle workers: aiotask 61.0 MB, RQ 40.0." in page
    assert "no such version" in page and "its workers ended." in page
    assert "![send](plots/send.svg)" in page
