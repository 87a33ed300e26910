"""Small experiments that run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.in_memory import InMemoryRun
from decentralized.prepare import Prepared, prepare
from decentralized.run_directory import RunDirectory

DEMO = Path(__file__).resolve().parents[3] / "configs" / "demo.toml"
SMALL = ("algorithm.rounds=3", "data.samples=160", "evaluation.every=0", "model.hidden=[8]")

Prepare = Callable[..., Prepared]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(tmp_path: Path) -> Prepare:
    """Digits on a few nodes; arguments are KEY=VALUE overrides."""

    def make(*overrides: str) -> Prepared:
        text = DEMO.read_text().replace("local_epochs = 1\n", "")  # its default, which tests want to replace
        return prepare(config.parse(text, BuiltIn(), "demo", [*SMALL, *overrides]), tmp_path)

    return make


@pytest.fixture
def directed(tmp_path: Path) -> Callable[..., str]:
    """Settings of a graph that a user brings: to whom each node sends."""

    def topology(*targets: Sequence[int]) -> str:
        file = tmp_path / "edges.txt"
        file.write_text("\n".join(f"{i} {j}" for i, of_node in enumerate(targets) for j in of_node))
        return f"topology={{name='edge-list', path='{file}', directed=true}}"

    return topology


@pytest.fixture
def run_in_memory(small: Prepare, tmp_path: Path) -> Callable[..., InMemoryRun]:
    """A whole run of such an experiment."""

    def run(*overrides: str) -> InMemoryRun:
        result = InMemoryRun(small(*overrides), RunDirectory.join(tmp_path / "run"), lambda *a, **k: None, print)
        result.run()
        return result

    return run
