"""Algorithms 1 and 2 of Bouchra Pilet, Frey, Taiani 2019 line by line, neuron by neuron, on networks of a few neurons.

A neuron is known by its layer, its model (or its peer, where it is local) and its number in that model's slice, so that
equivalent neurons of two peers have the same name. A network is {(neuron,): bias} and {(neuron, input neuron): weight}.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from statistics import fmean

from decentralized.partial_models.declaration import PartialModel
from decentralized.partial_models.layout import Biases, Layout, Weights

Neuron = tuple[int, str, int]
Network = dict[tuple[Neuron, ...], float]


def implements(peer: int, model: PartialModel) -> bool:
    return model.peers == "all" or peer in model.peers


def dependencies(model: PartialModel, models: Sequence[PartialModel]) -> set[str]:
    direct = [other for other in models if other.name in model.depends_on]
    return {other.name for other in direct}.union(*(dependencies(other, models) for other in direct))


def neurons_of(peer: int, models: Sequence[PartialModel], sizes: Sequence[int]) -> list[list[Neuron]]:
    """The neurons of each layer in the order in which the network holds them."""
    layers = []
    for layer, size in enumerate(sizes):
        held = [
            (layer, model.name, number)
            for model in models
            if implements(peer, model)
            for number in range(model.neurons[layer])
        ]
        held += [(layer, f"only {peer}", number) for number in range(size - len(held))]
        layers.append(held)
    return layers


def dense(sizes: Sequence[int]) -> Layout:
    """Dense layers in the order of torch: weights, biases, weights, biases."""
    parameters: list[Biases | Weights] = []
    offset = 0
    for part in range(1, len(sizes)):
        parameters.append(Weights(part - 1, part, offset))
        offset += sizes[part - 1] * sizes[part]
        parameters.append(Biases(part, offset))
        offset += sizes[part]
    return Layout(tuple(sizes), tuple(parameters))


def entries(peer: int, models: Sequence[PartialModel], sizes: Sequence[int]) -> list[tuple[Neuron, ...]]:
    """What each entry of the flat vector of `dense(sizes)` is."""
    layers = neurons_of(peer, models, sizes)
    names: list[tuple[Neuron, ...]] = []
    for below, here in itertools.pairwise(layers):
        names += [(neuron, source) for neuron in here for source in below]
        names += [(neuron,) for neuron in here]
    return names


def average(networks: Sequence[Network], models: Sequence[PartialModel], cross_models: bool) -> None:
    """In place: lines 5 to 13 of Algorithm 1, or 5 to 14 of Algorithm 2."""
    peers = range(len(networks))
    for m in models:
        deps = dependencies(m, models)
        over = [networks[p] for p in peers if implements(p, m)]
        average_q(over, lambda k, m=m: k == m.name)  # type: ignore[misc]
        average_w(over, lambda k, m=m: k == m.name, lambda j, m=m, deps=deps: j == m.name or j in deps)  # type: ignore[misc]
        average_w(over, lambda k, deps=deps: k in deps, lambda j, m=m: j == m.name)  # type: ignore[misc]
    if cross_models:
        for m1 in models:
            for m2 in models:
                if m1.name != m2.name:
                    over = [networks[p] for p in peers if implements(p, m1) and implements(p, m2)]
                    one, two = m1.name, m2.name
                    average_w(over, lambda k, one=one: k == one, lambda j, two=two: j == two)  # type: ignore[misc]
                    average_w(over, lambda k, two=two: k == two, lambda j, one=one: j == one)  # type: ignore[misc]


def average_q(networks: Sequence[Network], is_averaged: Callable[[str], bool]) -> None:
    for entry in list(networks[0]) if networks else ():
        if len(entry) == 1 and is_averaged(entry[0][1]):
            _average(networks, entry)


def average_w(networks: Sequence[Network], of: Callable[[str], bool], among: Callable[[str], bool]) -> None:
    for entry in list(networks[0]) if networks else ():
        if len(entry) == 2 and of(entry[0][1]) and among(entry[1][1]):
            _average(networks, entry)


def _average(networks: Sequence[Network], entry: tuple[Neuron, ...]) -> None:
    mean = fmean(network[entry] for network in networks)
    for network in networks:
        network[entry] = mean
