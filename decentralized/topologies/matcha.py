"""MATCHA: the matchings of a base graph, each used in a round with a probability of its own.

Wang et al., "MATCHA: Speeding up decentralized SGD via matching decomposition sampling", 2019, sections 3.1 to 3.4:

1. the edges of the base graph are divided into M matchings (Misra & Gries, as there);
2. the probabilities p_j maximize the algebraic connectivity of the expected graph,

       max lambda_2(sum_j p_j L_j)    subject to  sum_j p_j <= budget * M,  0 <= p_j <= 1        (its problem 4)

   where L_j is the Laplacian of matching j: edges without which the graph would fall apart are used more often;
3. in each round every matching is used or not, independently of the others;
4. each edge has the same weight alpha in every round, which matcha_weight.py chooses.

The problem is concave. It is solved here by projected supergradient ascent with numpy alone: the supergradient of
lambda_2 is tr(L_j Q) with Q the projector on its eigenspace, divided by its dimension, so that equal eigenvalues (as
every ring has them) do not make it depend on the library of linear algebra. Probabilities are then rounded to 1/4096;
machines compare the graphs that follow.

The topology brings the weights of step 4, and [mixing] name = "from-topology" uses them. Any other mixing rule weighs
the graph of a round as any other graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from decentralized.errors import TopologyError
from decentralized.seeding import derive
from decentralized.settings import Component, Family
from decentralized.topologies.changing import EachRound
from decentralized.topologies.edge_coloring import matchings
from decentralized.topologies.matcha_weight import best_weight, laplacian
from decentralized.topologies.one_peer import ALONE
from decentralized.types import Graph, Neighbors, NodeId

if TYPE_CHECKING:
    from decentralized.interfaces import ChangingGraph, MakeGraph

STEPS = 100  # of the ascent; the best point of all is taken
SAME = 1e-6  # relative difference of eigenvalues that count as equal
FINEST = 4096  # probabilities are multiples of 1 / FINEST


class Matcha:
    """Some matchings of a base graph in each round: undirected, at a share of the base graph's cost."""

    class Config(Component):
        """Settings of MATCHA."""

        base: Annotated[Component, Family("topology")]
        """The base graph, a topology that is undirected and does not change."""
        budget: Annotated[float, Field(gt=0, le=1)] = 0.5
        """Expected share of the base graph's matchings that are used in a round; 1 is the base graph."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def changing(self, nodes: int, seed: int, make: MakeGraph) -> ChangingGraph:
        """Raises TopologyError for a base graph that changes, is directed or is in pieces."""
        base = make(self._config.base, derive(seed, "matcha"))
        name = self._config.base.name
        if not isinstance(base, Graph):
            raise TopologyError(f'matcha: its base graph must not change, as "{name}" does')
        if not base.undirected:
            raise TopologyError(f'matcha: its base graph "{name}" has edges that go one way only')
        if len(base.pieces()) > 1:
            raise TopologyError(f'matcha: its base graph "{name}" is in pieces')
        partners_MN = _partners(matchings(base), nodes)
        return _Used(partners_MN, probabilities(partners_MN, self._config.budget), seed)


class _Used:
    def __init__(self, partners_MN: np.ndarray, probabilities_M: np.ndarray, seed: int) -> None:
        self._partners_MN = partners_MN
        self._weight = best_weight(partners_MN, probabilities_M)
        self._rounds = EachRound(seed, lambda generator: generator.random(len(probabilities_M)) < probabilities_M)

    def neighbors(self, round: int, node: NodeId) -> Neighbors:
        partners = self._partners_MN[self._rounds.of(round), node]
        around = tuple(np.sort(partners[partners != ALONE]).tolist())
        own = {node: 1.0 - self._weight * len(around)}
        return Neighbors(around, around, dict.fromkeys(around, self._weight) | own)


def _partners(found: Sequence[Sequence[tuple[NodeId, NodeId]]], nodes: int) -> np.ndarray:
    """(M, N) int64: the partner of each node in each matching, or ALONE."""
    partners_MN = np.full((len(found), nodes), ALONE)
    for partners_N, matching in zip(partners_MN, found, strict=True):
        for i, j in matching:
            partners_N[i], partners_N[j] = j, i
    return partners_MN


def probabilities(partners_MN: np.ndarray, budget: float) -> np.ndarray:
    """(M,): how often each matching is used, multiples of 1 / FINEST. The graph of all of them is connected."""
    total = budget * len(partners_MN)
    point_M = np.full(len(partners_MN), budget)
    best_M, best = point_M, -1.0
    for step in range(1, STEPS + 1 if len(partners_MN) > 1 and budget < 1 else 1):
        reached, slope_M = connectivity(partners_MN, point_M)
        if reached > best * (1 + SAME):
            best_M, best = point_M, reached
        uphill_M = slope_M - slope_M.mean()
        length = float(np.linalg.norm(uphill_M))
        if length <= SAME * float(np.linalg.norm(slope_M)):  # no way up that keeps the budget
            break
        point_M = _onto_budget(point_M + uphill_M / (length * step**0.5), total)
    return np.round(best_M * FINEST) / FINEST


def connectivity(partners_MN: np.ndarray, point_M: np.ndarray) -> tuple[float, np.ndarray]:
    """lambda_2 of the Laplacian of the expected graph, and a supergradient (M,)."""
    nodes = partners_MN.shape[1]
    values_N, vectors_NN = np.linalg.eigh(laplacian(partners_MN, point_M))
    second = float(values_N[1])
    equal_N = (np.arange(nodes) > 0) & (values_N <= second + SAME * float(values_N[-1]))
    basis_NE = vectors_NN[:, equal_N]
    slope_M = np.zeros(len(partners_MN))
    for k, partners_N in enumerate(partners_MN):
        (matched,) = np.nonzero(partners_N != ALONE)
        across = basis_NE[matched] - basis_NE[partners_N[matched]]  # tr(L Q) = sum over edges |q_i - q_j|^2
        slope_M[k] = (across**2).sum() / 2 / basis_NE.shape[1]
    return second, slope_M


def _onto_budget(point_M: np.ndarray, total: float) -> np.ndarray:
    """The nearest point with 0 <= p <= 1 and sum p = total: a common shift, found by bisection."""
    low, high = -float(point_M.max()), 1.0 - float(point_M.min())
    for _ in range(60):
        shift = (low + high) / 2
        low, high = (shift, high) if np.clip(point_M + shift, 0, 1).sum() < total else (low, shift)
    nearest_M: np.ndarray = np.clip(point_M + (low + high) / 2, 0, 1)
    return nearest_M
