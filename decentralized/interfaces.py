"""The protocols between the parts, and the Context that an algorithm is given.

Shapes: `_P` marks a flat float32 vector of all P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from decentralized.types import (
    Buffer,
    Facts,
    Graph,
    Message,
    Mixed,
    Neighbors,
    NodeId,
    Payload,
    Quiet,
    Received,
    RoundReport,
    Rows,
    State,
)

if TYPE_CHECKING:
    from torch import nn

    from decentralized.types import Vector


@runtime_checkable
class Stateful(Protocol):
    """A component that remembers something from round to round. One without memory lacks these two methods."""

    def state(self) -> State:
        """All of its memory. Arrays may be live: they are to be written or copied before the component goes on."""

    def restore(self, state: State) -> None:
        """Go on as the component went on that gave `state`, bit for bit; what it holds is copied.

        Raises StateError, which says what differs, for the state of something else.
        """


class Transport(Protocol):
    """Moves whole messages (a few frames each) to and from peers."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Connections that were not taken, by reason."""

    def freeze(self, buffer: Buffer) -> Buffer:
        """A copy that never changes and can be sent to many peers at the cost of one."""

    def send(self, to: NodeId, frames: Sequence[Buffer]) -> None:
        """Queues; never blocks. What a broken connection loses is lost: the channel sends it again."""

    def poll(self, timeout_s: float) -> Sequence[tuple[NodeId, Sequence[Buffer]]]:
        """Progresses sends and receives; waits up to `timeout_s` seconds for something to arrive."""

    def disconnect(self, peer: NodeId) -> None:
        """Close the connection to the peer, if there is one, when what was queued has left; `send` opens a new one."""

    def close(self) -> None:
        """Frees sockets and threads; what was not delivered is dropped."""


class MessageChannel(Protocol):
    """Messages matched by (kind, round, step, sender); `channel.Channel` is the one implementation."""

    waited_s: float

    @property
    def bytes_sent(self) -> int:
        """Bytes of the messages that left, cumulative."""

    def send(self, to: NodeId, message: Message) -> None: ...

    def broadcast(self, peers: Sequence[NodeId], message: Message) -> None: ...

    def acknowledge(self, to: NodeId, message: Message) -> None: ...

    def collect(
        self, kind: str, round: int, senders: Sequence[NodeId], step: int = 0
    ) -> Iterator[tuple[NodeId, Message]]: ...

    def next(self, kind: str, give_up: Callable[[], bool] = ...) -> Message | None: ...

    def waiting(self, kind: str) -> int: ...

    def drain(self, done: Callable[[], bool]) -> None: ...

    def poll(self, kind: str) -> list[Message]: ...

    def reject(self, message: Message, why: str) -> None: ...

    def kept(self, kind: str) -> list[Message]: ...

    def put_back(self, messages: Sequence[Message]) -> None: ...

    def progress(self) -> None: ...


class Agreement(Protocol):
    """Small facts on which all nodes agree, through the agents; `agreement.NodeAgreement` is the one implementation."""

    def propose(self, topic: str, value: int) -> None:
        """The first proposal that agent 0 hears is decided."""

    def decided(self, topic: str) -> int | None:
        """The decision, once it is known here."""

    def contribute(self, topic: str, values: Mapping[str, int]) -> None:
        """Give this node's numbers, or newer ones."""

    def sums(self, topic: str) -> Mapping[str, int] | None:
        """The newest sums over all nodes; None until every node has contributed."""


class Learner(Protocol):
    """One node's model and data. It need not use gradients."""

    def fit(self, round: int, progress: Callable[[], None]) -> Mapping[str, float]:
        """Train locally for one round; calls `progress` for each batch. Returns metrics, `train_loss` among them."""

    def vector(self) -> Vector:
        """All parameters that may leave the node, as a view: it changes when the model does."""

    def load(self, vector_P: Vector) -> None:
        """Copy these parameters, in the order of `vector`, into the model."""

    def evaluate(self, split: str, progress: Callable[[], None]) -> Mapping[str, float]:
        """Metrics on "train", "validation" or "test", without prefix; empty without samples. Changes nothing."""

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The model's arrays by name, as they go into model.safetensors."""

    def rows(self) -> Rows | None:
        """The rows of the model, with those of the training samples as held; None for a model without rows."""

    def schema(self) -> str:
        """A short hash, equal exactly when two learners can exchange their vectors."""


@runtime_checkable
class Differentiable(Protocol):
    """A learner that can say the loss of its model at any parameters, and its gradient.

    The loss is the mean over samples, without any penalty, in evaluation mode: dropout is off, and batch norm uses its
    running statistics, which are entries of `vector` (or the node's own) without a gradient. Personal parameters are as
    they are. Samples are named by their numbers in the training data, from which validation samples are taken, too.
    Nothing changes but what `batch` draws.
    """

    def batch(self) -> np.ndarray:
        """The sample numbers of the next training mini-batch; training goes on behind it."""

    def samples(self, split: str) -> np.ndarray:
        """The sample numbers of the node's "train" or "validation" part, or of what is "common" to all nodes."""

    def loss_at(self, vector_P: Vector, split: str, indices: np.ndarray | None = None) -> float:
        """The mean loss of the model with the parameters `vector_P`, in the order of `Learner.vector`.

        Over all of "train", "validation" or "common", or over the samples with these numbers; NaN without samples.
        """

    def gradient_at(self, vector_P: Vector, split: str, indices: np.ndarray | None = None) -> tuple[float, Vector]:
        """The same loss, and its gradient (P,), a new vector; zeros without samples."""


@runtime_checkable
class PersonallyDifferentiable(Differentiable, Protocol):
    """A differentiable learner whose personal parameters, if it has any, have a gradient as well."""

    def gradients(self, split: str, progress: Callable[[], None]) -> tuple[Vector, Vector]:
        """Of the same loss at the model as it is: in what is shared, and in what is personal, which stays on the node.

        Calls `progress` for each batch.
        """


@runtime_checkable
class Alternating(Differentiable, Protocol):
    """A learner that trains its personal and its shared parameters apart, each when it is told to."""

    def fit_personal(self, progress: Callable[[], None]) -> Mapping[str, float]:
        """The personal parameters for one round, with the shared ones frozen; metrics, `personal_loss` among them."""

    def fit_shared(self, progress: Callable[[], None]) -> Mapping[str, float]:
        """The shared parameters for one round, with the personal ones frozen; metrics, `train_loss` among them."""


@runtime_checkable
class Steerable(Differentiable, Protocol):
    """A learner whose optimizer can be told which way to go."""

    def batches_per_round(self) -> int:
        """The mini-batches of one round, as its settings say."""

    def follow(self, gradients: Iterable[Vector], progress: Callable[[], None]) -> Mapping[str, float]:
        """One step of the optimizer down each gradient (P,), each taken when the step before it is done.

        It is one round: the learning-rate schedule goes on behind it. Calls `progress` for each step; its metrics.
        """


class Sharing(Protocol):
    """What goes out, and what it means when it comes in."""

    def begin(self, own_P: Vector) -> None:
        """The parameters before the first round."""

    def pack(self, own_P: Vector, peer: NodeId | None, round: int) -> Payload:
        """What to send. With `peer` None, the same goes to all peers."""

    def unpack(self, peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
        """The peer's parameters, dense, length P; raises CodecError for a payload that does not fit."""

    def commit(self, own_P: Vector, mixed_P: Vector) -> None:
        """The round's mixing turned own_P into mixed_P."""


class SelectiveSharing(Sharing, Protocol):
    """A sharing rule that can say which entries a payload of its own form holds."""

    def indices(self, payload: Payload, total: int) -> np.ndarray | None:
        """The increasing indices of the entries in "values"; None for all of them. Raises CodecError."""


class Mixer(Protocol):
    """Own and received parameters into new ones."""

    needs_start: bool
    """Whether `mix` reads `start_P`; if not, own_P is given in its place, and no copy is kept."""

    def mix(
        self, start_P: Vector, own_P: Vector, received: Iterable[Received], neighbors: Neighbors, context: Context
    ) -> Mixed:
        """`start_P`: before local training, `own_P`: after. `received` comes in node order and is consumed once."""


@runtime_checkable
class AttachingMixer(Mixer, Protocol):
    """A mixer that needs more of its neighbors than their parameters."""

    def attach(self, context: Context) -> Mapping[str, np.ndarray]:
        """Buffers that travel with this node's parameters; they come as `Received.extras`."""


@runtime_checkable
class CheckingMixer(Mixer, Protocol):
    """A mixer that reads more of what came than the vector."""

    def check(self, item: Received, context: Context) -> None:
        """Raises CodecError for what `mix` could not use; it is then left out."""


class Topology(Protocol):
    """One node's view of the graph."""

    def neighbors(self, round: int) -> Neighbors: ...

    def observe(self, round: int, mixed: Mixed, context: Context) -> None:
        """Told after each mixing, so that a graph can depend on what was learned."""


class GraphMaker(Protocol):
    """A topology component that makes one graph for the whole run."""

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError when there is no such graph with so many nodes."""


class ChangingGraph(Protocol):
    """The graph of each round: it follows from the round, and from nothing that happens in the run."""

    def neighbors(self, round: int, node: NodeId) -> Neighbors:
        """Of one node, in time of order N or less; rounds count from 1 and may be asked for in any order."""


# The graph of the settings of another topology, with a seed of its own: what a topology made of others needs.
MakeGraph = Callable[[Any, int], "Graph | ChangingGraph"]


@runtime_checkable
class ChangingGraphMaker(Protocol):
    """A topology component whose graph changes from round to round."""

    def changing(self, nodes: int, seed: int, make: MakeGraph) -> ChangingGraph:
        """Equal seeds give equal graphs. Raises TopologyError when there is no such graph with so many nodes."""


class ModelMaker(Protocol):
    """A model component."""

    def build(self, facts: Facts) -> nn.Module:
        """A freshly initialized model for data of this form; raises ConfigError if it does not fit the data."""


@runtime_checkable
class ModelWrapper(Protocol):
    """A model component that is made of other model components, which its settings name."""

    def wrap(self, make: Callable[[Any], nn.Module]) -> nn.Module:
        """The model. `make` gives a freshly initialized module for the settings of a model component."""


@runtime_checkable
class CheckingAlgorithm(Protocol):
    """An algorithm that does not go with every graph or every setting."""

    def check(self, graph: Graph, experiment: Any) -> None:
        """Raises TopologyError or ConfigError. `experiment` is the whole configuration."""


@runtime_checkable
class SlicingAlgorithm(Protocol):
    """An algorithm that exchanges parts of networks, which need not be equal as a whole."""

    def check_learner(self, node: NodeId, nodes: int, learner: Learner) -> None:
        """Raises ConfigError where the node's network does not have the parts."""

    def schema(self, learner: Learner) -> str:
        """In place of the learner's: equal exactly when two learners can exchange the parts."""

    def largest_message(self, nodes: int, learner: Learner) -> int:
        """Bytes of payload that a node sends at most at once, the same for the learner of any node."""


class Algorithm(Protocol):
    """The round, as a generator: the driver evaluates, logs and check-points between two yields."""

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport | Quiet]:
        """From round `first` on. One whose nodes have no common rounds also yields Quiet, where it can be resumed."""


@runtime_checkable
class LearningAlgorithm(Protocol):
    """An algorithm that learns more than models."""

    def learned(self) -> Mapping[str, np.ndarray]:
        """What it has learned by the end, by name, for a file beside the model; empty where there is nothing."""


class Pauses(Protocol):
    """When nodes without common rounds pause to check-point; `keeper.Keeper` is the one implementation."""

    synchronous: bool
    """Whether all nodes check-point after the same round, without a word from the algorithm."""
    begun: int
    """The round that this node is in; the driver counts it as long as rounds are synchronous."""
    number: int
    """The newest check-point of this node."""
    committed: int
    """The newest check-point that every node has."""

    @property
    def wanted(self) -> bool | None:
        """Whether somebody asks for a check-point: True to stop there, False to go on, None if nobody does."""

    def overdue(self, round: int) -> bool:
        """Whether it is time for the next check-point."""

    def resumed(self) -> None:
        """The run goes on after a pause."""


class WalkAccounts(Protocol):
    """Of models that walk, as messages of one kind."""

    kind: str

    def exchanged(self, peer: NodeId) -> tuple[int, int]:
        """How many this node has sent to the peer, and received of it."""


class Losses(Protocol):
    """The nodes that the run goes on without; `departures.Departures` is the one implementation."""

    lost: set[NodeId]
    reissues: int
    """Walks that this node is asked to start anew."""
    walks: WalkAccounts | None
    """Set by an algorithm whose models walk, for good: what they were is asked for later, too."""
    walking: bool
    """Whether a node without any walk would wait for ever."""

    @property
    def pending(self) -> bool:
        """Whether it is not known yet from when on a lost node is left out."""

    def left_out(self, round: int) -> set[NodeId]:
        """The nodes that are not part of the graph any more in this round."""


@dataclass
class Context:
    """What an algorithm works with: one node's parts."""

    node: NodeId
    nodes: int
    seed: int
    learner: Learner
    topology: Topology
    sharing: Sharing
    mixer: Mixer
    channel: MessageChannel
    agreement: Agreement
    pauses: Pauses
    losses: Losses
    deadline_s: float = 60.0
    """Seconds after which waiting for something that must come is an error."""
    accepts_non_finite: bool = False
    """Whether NaN and infinity of a peer are mixed."""
    graph: Graph = field(default_factory=lambda: Graph(()))
    """Of round 1, for algorithms in which all nodes draw alike who talks to whom."""
    totals: dict[str, int] = field(default_factory=dict)
    """What the algorithm counted, for the summary: sums over nodes are shown there."""
