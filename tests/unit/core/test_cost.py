"""The bytes that `topology` foretells are those that a run counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from decentralized.cost import message_bytes
from decentralized.in_memory import InMemoryRun
from decentralized.metrics import read_metrics


@pytest.mark.parametrize(
    ("settings", "rel"),
    [
        (("topology={name='epidemic', degree=2}", "mixing.name=uniform"), 0),
        # How many values are sub-sampled differs from message to message, by 1.9 % (one standard deviation).
        (("topology=random-matching", "sharing={name='sub-sampling', alpha=0.3}", "model.hidden=[90]"), 0.02),
        (("topology=ring", "model.hidden=[9000]"), 0),  # three chunks
    ],
)
def test_as_many_bytes_as_are_counted(
    settings: tuple[str, ...], rel: float, run_in_memory: Callable[..., InMemoryRun]
) -> None:
    run = run_in_memory("nodes=5", *settings)
    prepared = run._prepared
    messages = sum(len(prepared.topology(node).neighbors(round).send_to) for node in range(5) for round in (1, 2, 3))
    counted = 0.0
    for node in range(5):
        records = read_metrics(run._directory.node(node).metrics)
        last = [record for record in records if record["kind"] == "round"][-1]
        assert isinstance(last["bytes_sent"], int)
        counted += last["bytes_sent"]
    hellos = 0 if prepared.changing else 2 * 5
    assert counted == pytest.approx(messages * message_bytes(prepared), rel=rel, abs=hellos * 400)
