"""The warm parent must be safe to fork, and everything it started must go when it goes."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.control import AnyFact, Exited, Listening, Prepare, Refused, Start, Warm
from decentralized.run_directory import RunDirectory
from launch.warm_parent import WarmParent
from tests.processes.runs import ROOT

PATIENCE_S = 60


def next_fact(parent: WarmParent, kind: type, count: int = 1) -> list[AnyFact]:
    """The next `count` facts of a kind."""
    found: list[AnyFact] = []
    until = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < until, f"no {kind.__name__}"
        if select.select([parent.descriptor], [], [], 0.1)[0]:
            facts = list(parent.hear())
            assert not any(isinstance(fact, Refused) for fact in facts), facts
            found += [fact for fact in facts if isinstance(fact, kind)]
    return found


@pytest.fixture
def warm_parent(tmp_path: Path) -> Iterator[WarmParent]:
    parent = WarmParent(tmp_path / "log.txt")
    experiment = config.load(ROOT / "configs" / "demo.toml", BuiltIn(), ["nodes=3"])
    parent.tell(Prepare(config.dump(experiment), str(tmp_path), "127.0.0.1", "127.0.0.1"))
    next_fact(parent, Warm)
    yield parent
    parent.end()


def start_nodes(parent: WarmParent, out: Path) -> list[int]:
    """Three nodes, up and waiting; their process ids."""
    RunDirectory.join(out)
    parent.tell(Start([0, 1, 2], "00" * 8, "token", False, str(out)))
    return [fact.pid for fact in next_fact(parent, Listening, 3) if isinstance(fact, Listening)]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_one_thread_and_no_zeromq_context_when_it_forks(warm_parent: WarmParent) -> None:
    assert psutil.Process(warm_parent.pid).num_threads() == 1
    descriptors = Path(f"/proc/{warm_parent.pid}/fd")
    targets = [os.readlink(entry) for entry in descriptors.iterdir()]
    # A ZeroMQ context signals its threads through eventfds; the one epoll instance is the server's own selector.
    assert not [target for target in targets if "eventfd" in target]
    assert len([target for target in targets if "eventpoll" in target]) == 1


def test_nodes_go_when_the_parent_is_killed(warm_parent: WarmParent, tmp_path: Path) -> None:
    nodes = [psutil.Process(pid) for pid in start_nodes(warm_parent, tmp_path / "run")]
    psutil.Process(warm_parent.pid).kill()
    gone, alive = psutil.wait_procs(nodes, timeout=5)
    assert len(gone) == 3 and not alive


def test_nodes_go_when_the_agent_closes_its_end(warm_parent: WarmParent, tmp_path: Path) -> None:
    nodes = [psutil.Process(pid) for pid in start_nodes(warm_parent, tmp_path / "run")]
    warm_parent.end()
    gone, alive = psutil.wait_procs(nodes, timeout=5)
    assert len(gone) == 3 and not alive


def test_a_killed_node_is_reported_with_its_signal(warm_parent: WarmParent, tmp_path: Path) -> None:
    pids = start_nodes(warm_parent, tmp_path / "run")
    psutil.Process(pids[1]).kill()
    (exited,) = next_fact(warm_parent, Exited)
    assert isinstance(exited, Exited) and exited.status == -9
