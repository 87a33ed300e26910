"""Which peers implement which partial models, and what a partial model averages.

Bouchra Pilet, Frey, Taiani 2019, sections II.3 and II.3.a; Algorithms 1 and 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field

from decentralized.settings import Settings
from decentralized.types import NodeId


class PartialModel(Settings):
    """One partial model: a global one (all peers) or a semi-local one. What is left of a network is local."""

    name: Annotated[str, Field(min_length=1)]
    """By which others depend on it."""
    peers: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"
    """The nodes that implement it."""
    neurons: tuple[Annotated[int, Field(ge=0)], ...]
    """Neurons in each layer, input and output included. On every peer they follow those of the models named before."""
    depends_on: tuple[str, ...] = ()
    """Models that all of its peers implement as well; weights between its neurons and theirs are averaged, too."""
    server: Annotated[int, Field(ge=0)] | None = None
    """With average = "server": the peer that averages it; the first one when not given."""


@dataclass(frozen=True)
class Scope:
    """What some peers average together. Models are numbers in the order of the declaration.

    `neurons`: the model whose biases are averaged, if any. `connections`: (source, target) pairs of models; the weights
    from neurons of the one into neurons of the other are averaged.
    """

    name: str
    number: int
    peers: tuple[NodeId, ...]
    server: NodeId
    neurons: int | None
    connections: frozenset[tuple[int, int]]


class Declaration:
    """Partial models without mistakes (see `mistakes_in`), for a number of nodes."""

    def __init__(self, models: Sequence[PartialModel], nodes: int) -> None:
        self.models, self.nodes = tuple(models), nodes
        self._number = {model.name: number for number, model in enumerate(models)}

    def peers(self, model: int) -> tuple[NodeId, ...]:
        """The nodes that implement the model, in increasing order."""
        named = self.models[model].peers
        return tuple(range(self.nodes)) if named == "all" else tuple(sorted(named))

    def dependencies(self, model: int) -> frozenset[int]:
        """All models on which it depends, directly or through others (the paper's m.deps)."""
        names = closure({other.name: other.depends_on for other in self.models})[self.models[model].name]
        return frozenset(self._number[name] for name in names)

    def scopes(self, cross_models: bool = False) -> list[Scope]:
        """What is averaged, model by model (Algorithm 1), and then for each pair of models (Algorithm 2).

        Those that one peer would average with itself are left out. Algorithm 2 goes through all ordered pairs; the
        second order averages nothing new, nor do pairs of which one depends on the other.
        """
        numbers = range(len(self.models))
        scopes = [self._of_model(number) for number in numbers]
        if cross_models:
            pairs = [(a, b) for a, b in combinations(numbers, 2) if not self._related(a, b)]
            scopes += [self._of_pair(a, b, len(numbers) + place) for place, (a, b) in enumerate(pairs)]
        return [scope for scope in scopes if len(scope.peers) > 1]

    def _of_model(self, number: int) -> Scope:
        """Lines 7 to 13 of Algorithm 1."""
        model, peers = self.models[number], self.peers(number)
        server = peers[0] if model.server is None else model.server
        around = self.dependencies(number)
        connections = {(number, number), *((other, number) for other in around), *((number, other) for other in around)}
        return Scope(model.name, number, peers, server, number, frozenset(connections))

    def _of_pair(self, a: int, b: int, number: int) -> Scope:
        """Lines 9 to 14 of Algorithm 2; the server of the pair is its first peer."""
        peers = tuple(sorted({*self.peers(a)} & {*self.peers(b)}))
        name = f"{self.models[a].name} and {self.models[b].name}"
        return Scope(name, number, peers, peers[0] if peers else 0, None, frozenset({(a, b), (b, a)}))

    def _related(self, a: int, b: int) -> bool:
        return a in self.dependencies(b) or b in self.dependencies(a)


def closure(depends_on: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """For each name all that it depends on, directly or through others: itself, too, if that is a circle."""
    reached: dict[str, set[str]] = {}
    for name in depends_on:
        found: set[str] = set()
        front = set(depends_on[name])
        while front:
            found |= front
            front = {other for known in front for other in depends_on.get(known, ())} - found
        reached[name] = found
    return reached


def mistakes_in(models: Sequence[PartialModel]) -> list[str]:
    """What is wrong with a declaration, as far as it can be seen without the number of nodes and their networks."""
    by_name = {model.name: model for model in models}
    mistakes = [
        f"two partial models have the name '{name}'"
        for name, count in Counter(model.name for model in models).items()
        if count > 1
    ]
    reached = closure({model.name: model.depends_on for model in models})
    for model in models:
        which = f"partial model '{model.name}'"
        if len(model.neurons) != len(models[0].neurons):
            mistakes.append(f"{which} has {len(model.neurons)} layers, '{models[0].name}' has {len(models[0].neurons)}")
        if not any(model.neurons):
            mistakes.append(f"{which} has no neurons")
        if model.peers != "all" and not model.peers:
            mistakes.append(f"{which} has no peers")
        if model.peers != "all" and len(set(model.peers)) < len(model.peers):
            mistakes.append(f"{which} names a peer twice")
        if model.peers != "all" and model.server is not None and model.server not in model.peers:
            mistakes.append(f"{which}: its server, node {model.server}, is none of its peers")
        unknown = [name for name in model.depends_on if name not in by_name]
        mistakes += [f"{which} depends on '{name}', which there is not" for name in unknown]
        if model.name in reached[model.name]:
            mistakes.append(f"{which} depends on itself, directly or through others")
        mistakes += _peers_without(model, [by_name[name] for name in model.depends_on if name in by_name])
    return mistakes


def _peers_without(model: PartialModel, dependencies: Sequence[PartialModel]) -> list[str]:
    """Every peer of a model implements its dependencies."""
    mistakes = []
    for other in dependencies:
        if other.peers == "all":
            continue
        if model.peers == "all":
            mistakes.append(
                f"partial model '{model.name}' is for all peers, and depends on '{other.name}', which is not"
            )
        elif missing := sorted(set(model.peers) - set(other.peers)):
            nodes = ", ".join(map(str, missing))
            mistakes.append(f"partial model '{model.name}' depends on '{other.name}', which node {nodes} does not have")
    return mistakes


def nodes_beyond(models: Sequence[PartialModel], nodes: int) -> list[str]:
    """What is wrong when there are so many nodes."""
    named = [(model.name, "peer", peer) for model in models if model.peers != "all" for peer in model.peers]
    named += [(model.name, "server", model.server) for model in models if model.server is not None]
    return [
        f"partial model '{name}': {role} {node}, and the last node is {nodes - 1}"
        for name, role, node in named
        if node >= nodes
    ]
