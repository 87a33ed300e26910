"""What `check` says of memory where an algorithm holds more of its neighbors than a message of one vector a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from torch import Tensor

from decentralized.collaboration.attention import CHANGE, Attention
from decentralized.collaboration.rule import Update
from decentralized.in_memory import InMemoryRun
from decentralized.prepare import Prepared, try_out
from launch.commands.check import node_bytes

HEADS = "training={name='partial', personal='output', method='fedalt', optimizer={name='SGD', lr=0.1}}"
EVERYBODY = ("topology=full", "data.validation=0.2", "data.common=20")


@pytest.mark.parametrize(
    ("algorithm", "vectors"),
    [
        ("name='dpsgd'", lambda d: 0),
        ("name='l2c'", lambda d: 6),
        ("name='meta-l2c'", lambda d: 6 + 4 * (1 + d)),
        ("name='cga'", lambda d: 7 + d),
        ("name='transference'", lambda d: 0),
        ("name='transference', definition='exact'", lambda d: d),
        ("name='fomo'", lambda d: (1 + d) + (1 + d) * min(d, 5)),
        ("name='fomo', clients_per_round=2, models=3", lambda d: (1 + d) + 2 * min(d, 3)),
    ],
)
def test_the_vectors_of_an_algorithm(
    algorithm: str, vectors: Callable[[int], int], small: Callable[..., Prepared]
) -> None:
    training = (HEADS,) if "transference" in algorithm else ()
    for nodes in (3, 5):
        prepared = small(f"nodes={nodes}", *EVERYBODY, f"algorithm={{rounds=2, {algorithm}}}", *training)
        memory, usual = try_out(prepared), 2 + 2 * (nodes - 1)
        assert memory.algorithm * usual == memory.messages * vectors(nodes - 1)
        assert node_bytes(memory) > memory.algorithm + memory.messages + memory.parameters


def test_meta_l2c_holds_as_much_as_is_said(
    run_in_memory: Callable[..., InMemoryRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came in one round; as much may be waiting for the next."""
    held: list[int] = []
    weigh = Attention.weigh

    def counting(rule: Attention, updates: Sequence[Update]) -> Tensor:
        held.append(sum(update.delta_P.nbytes + update.extras[CHANGE].nbytes for update in updates[1:]))
        return weigh(rule, updates)

    monkeypatch.setattr(Attention, "weigh", counting)
    run = run_in_memory("nodes=5", *EVERYBODY, "algorithm={rounds=2, name='meta-l2c'}")
    memory = try_out(run._prepared)
    assert memory.messages < 2 * max(held) <= memory.messages + memory.algorithm
