"""What averaging a slice costs, per shared parameter, against averaging a whole network: `docs/papers` has the figures.

Both go from the messages that have arrived to the parameters in the network, without a network in between. The network
is 784=300=100=10, of which a partial model has 784-250-80-10 (or as `--level` says). Processor time, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from decentralized import exchange
from decentralized.algorithms.group_averages import Group, over_all
from decentralized.mixing.uniform import Uniform
from decentralized.models.mlp import Mlp
from decentralized.parameters import FlatParameters
from decentralized.partial_models.declaration import Declaration, PartialModel
from decentralized.partial_models.entries import Entries
from decentralized.partial_models.layout import chain_layout
from decentralized.partial_models.slices import Slices
from decentralized.sharing.full import Full
from decentralized.types import Facts, Message, Neighbors, Payload

LEVELS = {15: (50, 15), 30: (100, 30), 60: (200, 60), 80: (250, 80), 100: (300, 100)}


class Arrived:
    """A channel in which all messages have arrived."""

    def __init__(self, length: int, peers: int) -> None:
        self._values = [np.random.default_rng(peer).normal(size=length).astype(np.float32) for peer in range(peers)]

    def broadcast(self, peers: Sequence[int], message: Message) -> None: ...

    def collect(self, kind: str, round: int, senders: Sequence[int], step: int = 0) -> Iterator[tuple[int, Message]]:
        for sender in senders:
            payload = Payload({"values": self._values[sender].copy()}, {"degree": len(senders)})
            yield sender, Message(kind, round, sender, payload, step)


def context_of(length: int, peers: int) -> Any:
    return SimpleNamespace(
        node=0,
        channel=Arrived(length, peers),
        accepts_non_finite=False,
        mixer=Uniform(Uniform.Config(name="uniform")),
        sharing=Full(Full.Config(name="full"), np.random.default_rng(0)),
    )


def median_s(work: Callable[[], None], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=16)
    parser.add_argument("--level", type=int, choices=list(LEVELS), default=80)
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    peers, facts = tuple(range(arguments.peers)), Facts(input_shape=(1, 28, 28), classes=10)
    network = FlatParameters(Mlp(Mlp.Config(name="mlp", hidden=(300, 100))).build(facts))
    whole_P = network.vector
    model = PartialModel(name="global", neurons=(784, *LEVELS[arguments.level], 10))
    declaration = Declaration([model], len(peers))
    slices = Slices(declaration, 0, chain_layout(network.model, network.slots))
    entries = Entries(slices.indices(declaration.scopes()[0]))

    context = context_of(len(whole_P), len(peers))
    neighbors = Neighbors(peers[1:], peers[1:])

    def complete() -> None:
        exchange.send(context, whole_P, neighbors, 1)
        received = exchange.receive(context, whole_P, neighbors, 1)
        network.load(context.mixer.mix(whole_P, whole_P, received, neighbors, context).vector_P)

    part, group = context_of(len(entries), len(peers)), Group(0, peers, 0, 1, 1)

    def restricted() -> None:
        entries.put(whole_P, over_all(part, group, entries.take(whole_P)))

    full = median_s(complete, arguments.repeats) / len(whole_P)
    sliced = median_s(restricted, arguments.repeats) / len(entries)
    print(f"{len(whole_P):,} parameters, {len(entries):,} of them shared by {len(peers)} peers")
    print(f"complete {1e9 * full:.2f} ns, restricted {1e9 * sliced:.2f} ns a shared parameter")
    print(f"ratio {sliced / full:.2f}")


if __name__ == "__main__":
    main()
