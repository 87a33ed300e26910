"""Everything that the nodes of one machine share, made once before they are forked: data, partition, graph.

Making it finds every mistake that the configuration file alone does not show.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from decentralized import build
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.channel import REMEMBERED
from decentralized.config import Experiment
from decentralized.data.dataset import DataSet, DataSettings, NodeParts
from decentralized.data.parts import divide
from decentralized.data.relabel import check_relabelling, relabelled
from decentralized.departures import LivingTopology
from decentralized.errors import ConfigError
from decentralized.graphs import check_graphs, first_graphs, make_topology
from decentralized.interfaces import (
    Agreement,
    ChangingGraph,
    CheckingAlgorithm,
    Context,
    Learner,
    Losses,
    MessageChannel,
    ModelWrapper,
    Pauses,
    Sharing,
    SlicingAlgorithm,
    Topology,
)
from decentralized.lazy import torch
from decentralized.learners.on_device import OnDevice, on_device
from decentralized.learners.sgd import SGD
from decentralized.seeding import derive, numpy_generator
from decentralized.settings import Component
from decentralized.sharing.deltas import Deltas
from decentralized.sharing.settings import SharingSettings
from decentralized.topologies.changing import ChangingTopology
from decentralized.topologies.static import StaticTopology
from decentralized.types import Graph, NodeId

if TYPE_CHECKING:
    from torch import nn


HASHED_SAMPLES = 1000  # of each part, for the hash of the data


@dataclass(frozen=True)
class Prepared:
    """What all nodes of a machine share, read-only. `template` is the model as the run's seed initializes it.

    `graph` is that of round 1, and of all rounds unless `changing` has those of the others.
    """

    experiment: Experiment
    data: DataSet
    parts: Sequence[NodeParts]
    graph: Graph
    template: nn.Module
    data_hash: str = ""
    largest_message: int = 0
    """Bytes of payload that a node sends at most at once; 0 where the algorithm does not say."""
    devices: Sequence[str] = ()
    """Where nodes train, in turns; on the processor when there are none."""
    changing: ChangingGraph | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters, and of the statistics that may travel with them."""
        tensors = [*self.template.parameters(), *self.template.buffers()]
        return sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())

    @cached_property
    def graphs(self) -> list[Graph]:
        """Those of the first few rounds; one if it does not change."""
        return first_graphs(self.changing or self.graph, self.experiment.nodes)

    @cached_property
    def graph_hash(self) -> str:
        targets = [graph.targets for graph in self.graphs] if self.changing else self.graph.targets
        return hashlib.blake2b(msgspec.json.encode(targets), digest_size=8).hexdigest()

    @property
    def connections(self) -> int:
        """The most peers with which a node is connected at a time, as far as the first rounds show it."""
        nodes, network = self.experiment.nodes, self.experiment.network
        around = max((len(targets) for graph in self.graphs for targets in graph.targets), default=0)
        return min(nodes - 1, max(around, network.connections)) if self.changing else around

    def topology(self, node: NodeId) -> Topology:
        """The node's view of the graph."""
        return ChangingTopology(self.changing, node) if self.changing else StaticTopology(self.graph, node)


@dataclass(frozen=True)
class Memory:
    """Bytes that one node holds, by what they are for. `messages`: sent and not acknowledged, and received, at most.

    `algorithm`: what it holds besides these, at most.
    """

    parameters: int
    gradient: int
    optimizer: int
    messages: int
    algorithm: int


def make_graph(experiment: Experiment) -> Graph:
    """The graph of round 1; raises TopologyError."""
    return first_graphs(make_topology(experiment.topology, experiment.nodes, experiment.seed), experiment.nodes)[0]


def prepare(experiment: Experiment, root: Path) -> Prepared:
    """Load the data below `root`, divide it, make the graph. Raises DataError, TopologyError or ConfigError."""
    settings = experiment.data
    if not isinstance(settings, DataSettings):
        raise ConfigError([f"[data] {settings.name}: its Config should be a DataSettings"])
    made = make_topology(experiment.topology, experiment.nodes, experiment.seed)
    changing = None if isinstance(made, Graph) else made
    graphs = first_graphs(made, experiment.nodes)
    check_graphs(made, graphs, experiment)
    graph = graphs[0]
    algorithm = build.create("algorithm", experiment.algorithm)
    if isinstance(algorithm, CheckingAlgorithm):
        algorithm.check(graph, experiment)
    data: DataSet = build.create("data", settings).load(root, experiment.seed)
    check_relabelling(data, settings, experiment.nodes)
    partition = build.create("partition", settings.partition)
    parts = divide(data, settings, partition, experiment.nodes, experiment.seed)
    template = _build_model(experiment, data, None)
    bounded = _bounded(parts, experiment)
    prepared = Prepared(experiment, data, bounded, graph, template, _hash_of(data), changing=changing)
    if isinstance(algorithm, SlicingAlgorithm):
        largest = algorithm.largest_message(experiment.nodes, build_learner(prepared, 0))
        return replace(prepared, largest_message=largest)
    return prepared


def _hash_of(data: DataSet) -> str:
    """Of the sizes, and of so many evenly spread samples that it takes no time: has the data changed since?"""
    digest = hashlib.blake2b(digest_size=8)
    for samples in (data.train, data.test):
        step = max(1, len(samples) // HASHED_SAMPLES)
        for array in (samples.inputs[::step], samples.targets[::step]):
            digest.update(repr((len(samples), array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    if data.tasks is not None:
        digest.update(repr(data.tasks.names).encode())
    return digest.hexdigest()


def build_learner(prepared: Prepared, node: NodeId) -> Learner:
    """The node's model and data, ready to train. Raises ConfigError where its device is missing or of no use."""
    experiment = prepared.experiment
    training = experiment.training
    template = prepared.template
    same_start = getattr(training, "same_start", True)
    if not same_start or _model_of(experiment, node) != experiment.model:
        template = _build_model(experiment, prepared.data, node, same_start)
    device = prepared.devices[node % len(prepared.devices)] if prepared.devices else "cpu"
    if device != "cpu":
        template = on_device(copy.deepcopy(template), device)
    generator = numpy_generator(experiment.seed, "batches", node)
    data = relabelled(prepared.data.of_node(node), experiment.data, node)
    learner: Learner = build.create("learner", training, template, data, prepared.parts[node], generator)
    if same_start and not getattr(training, "same_personal_start", True):
        other = on_device(_build_model(experiment, prepared.data, node), device)
        own: Learner = build.create("learner", training, other, data, prepared.parts[node], generator)
        own.load(learner.vector())
        learner = own
    if device == "cpu":
        return learner
    if not isinstance(learner, SGD):
        raise ConfigError([f'[processes] or IP map, devices: learner "{training.name}" trains on the processor only'])
    return OnDevice(learner, device)


def _model_of(experiment: Experiment, node: NodeId | None) -> Component:
    """The settings of the node's model, which may differ from those of the others; node None: of the template."""
    of_node: Callable[[NodeId], Component] | None = getattr(experiment.model, "of_node", None)
    return experiment.model if node is None or of_node is None else of_node(node)


def build_context(
    prepared: Prepared,
    node: NodeId,
    learner: Learner,
    channel: MessageChannel,
    agreement: Agreement,
    pauses: Pauses,
    losses: Losses,
) -> Context:
    """Everything that the node's algorithm works with."""
    experiment = prepared.experiment
    sharing = build_sharing(experiment, node)
    sharing.begin(learner.vector())
    return Context(
        node=node,
        nodes=experiment.nodes,
        seed=experiment.seed,
        learner=learner,
        topology=LivingTopology(prepared.topology(node), losses),
        sharing=sharing,
        mixer=build.create("mixing", experiment.mixing),
        channel=channel,
        agreement=agreement,
        pauses=pauses,
        losses=losses,
        graph=prepared.graph,
        deadline_s=experiment.network.deadline_s,
        accepts_non_finite=experiment.network.non_finite == "accept",
    )


def build_sharing(experiment: Experiment, node: NodeId) -> Sharing:
    """The node's sharing rule; wrapped where changes travel instead of parameters."""
    settings = experiment.sharing
    rule = build.create("sharing", settings, numpy_generator(experiment.seed, "sharing", node))
    if isinstance(settings, SharingSettings) and settings.payload == "deltas":
        return Deltas(rule)
    sharing: Sharing = rule
    return sharing


def rehearsal(prepared: Prepared) -> Callable[[], None]:
    """A round of node 0 with itself, of one training step and without a network: warms up, and shows what it costs."""
    learner = build_learner(_one_step(prepared), 0)
    sharing = build_sharing(prepared.experiment, 0)
    sharing.begin(learner.vector())

    def one_round() -> None:
        learner.fit(1, lambda: None)
        own_P = learner.vector()
        payload = sharing.pack(own_P, None, 1)
        sharing.commit(own_P, sharing.unpack(0, payload, own_P))

    return one_round


def try_out(prepared: Prepared) -> Memory:
    """Let a spare copy of node 0 take one training step and look at one test sample: does everything fit together?

    Raises ConfigError when it does not. Nothing of it reaches the run.
    """
    experiment = prepared.experiment
    learner: Any = build_learner(_one_step(prepared), 0)
    names = f"{experiment.model.name} on {experiment.data.name}"
    try:
        learner.fit(1, lambda: None)
        learner.evaluate("test", lambda: None)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ConfigError([f"[model] or [training]: one training step of {names} fails: {error}"]) from error
    _check_learners(prepared)
    size = learner.vector().nbytes
    degree = max((len(targets) for graph in prepared.graphs for targets in graph.targets), default=0)
    kept = 1 + degree if getattr(experiment.sharing, "payload", "values") == "deltas" else 0  # copies of edges
    if experiment.network.on_peer_loss == "continue":
        kept += REMEMBERED * degree
    # Sent: this round's snapshot, shared by all neighbors, and the last one until they answer. Received: a neighbor
    # can be one round ahead.
    messages = (2 + 2 * degree + kept) * size
    own = sum(array.nbytes for array in learner.arrays().values())  # what is personal included
    algorithm = experiment.algorithm
    held = algorithm.vectors_held(degree) * size if isinstance(algorithm, AlgorithmSettings) else 0
    return Memory(own, own, getattr(learner, "optimizer_bytes", int)(), messages, held)


def _check_learners(prepared: Prepared) -> None:
    """Raises ConfigError, with all mistakes, where networks lack what the algorithm wants to exchange of them."""
    nodes, mistakes = prepared.experiment.nodes, list[str]()
    algorithm = build.create("algorithm", prepared.experiment.algorithm)
    for node in range(nodes) if isinstance(algorithm, SlicingAlgorithm) else ():
        try:
            algorithm.check_learner(node, nodes, build_learner(prepared, node))
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(list(dict.fromkeys(mistakes)))


def _one_step(prepared: Prepared) -> Prepared:
    """The same, with rounds of one mini-batch and one test sample for node 0: enough to try things out."""
    experiment, part = prepared.experiment, prepared.parts[0]
    training = experiment.training.model_copy(update={"local_steps": 1, "local_epochs": None})
    small = replace(part, validation=part.validation[:1], test=part.test[:1])
    return replace(
        prepared, experiment=experiment.model_copy(update={"training": training}), parts=[small, *prepared.parts[1:]]
    )


def _bounded(parts: Sequence[NodeParts], experiment: Experiment) -> list[NodeParts]:
    """Test parts cut to `evaluation.samples`; nodes that share a test part go on sharing it."""
    limit = experiment.evaluation.samples
    cut: dict[int, np.ndarray] = {}
    bounded = []
    for part in parts:
        test = part.test
        if limit is not None and len(test) > limit:
            if id(test) not in cut:
                chosen = numpy_generator(experiment.seed, "evaluation").choice(test, limit, replace=False)
                cut[id(test)] = np.sort(chosen)
            test = cut[id(test)]
        bounded.append(replace(part, test=test))
    return bounded


def _build_model(experiment: Experiment, data: DataSet, node: NodeId | None, same_start: bool = False) -> nn.Module:
    """The model of `node`, initialized by its own seed or by that of the run; the global generator is left as it was.

    Without a node it is that of all nodes whose settings do not differ.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(derive(experiment.seed, "model", None if same_start else node))
    try:
        return _make_model(_model_of(experiment, node), data)
    finally:
        torch.set_rng_state(state)


def _make_model(settings: Component, data: DataSet) -> nn.Module:
    kind = build.find("model", settings.name)
    if isinstance(kind, type) and issubclass(kind, torch.nn.Module):  # a user's own module
        arguments = settings.arguments if isinstance(settings, build.AnySettings) else {}
        try:
            own: nn.Module = kind(**arguments)
        except (TypeError, ValueError) as error:
            raise ConfigError([f"[model] {settings.name} does not take these arguments: {error}"]) from None
        return own
    maker = kind(settings)
    if isinstance(maker, ModelWrapper):
        return maker.wrap(lambda base: _make_model(base, data))
    model: nn.Module = maker.build(data.facts)
    return model
