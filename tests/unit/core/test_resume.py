"""Each component with memory goes on from a file as if nothing had happened, bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from decentralized import checkpoint
from decentralized.data.dataset import DataSet, NodeParts, Samples
from decentralized.errors import StateError
from decentralized.interfaces import Stateful
from decentralized.learners.batches import EpochSampler
from decentralized.learners.sgd import SGD
from decentralized.mixing.metropolis_hastings import MetropolisHastings
from decentralized.mixing.row_presence import MASK, RowPresence
from decentralized.mixing.uniform import Uniform
from decentralized.sharing.deltas import Deltas
from decentralized.sharing.full import Full
from decentralized.sharing.random_alpha import RandomAlpha
from decentralized.sharing.sub_sampling import SubSampling
from decentralized.sharing.top_k import TopK
from decentralized.state_tree import flatten
from decentralized.types import Facts, Neighbors, Payload, Received, Rows, State

SAMPLES, WIDTH, CLASSES = 37, 6, 3  # five batches of 8 in an epoch


def pcg(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def through_a_file(state: State, folder: Path) -> Any:
    checkpoint.write(folder, 1, state)
    return checkpoint.read(folder, 1)


def bits(state: State) -> object:
    """Everything in a state, comparable."""
    text, arrays = flatten(state)
    return text, {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}


class DropoutAndNorm(nn.Sequential):
    """Memory of all kinds: batch-norm statistics, and draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, CLASSES))


class SparseTable(nn.Module):
    """Its gradients are sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, CLASSES, sparse=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.table(inputs).mean(dim=1)  # type: ignore[no-any-return]


def learner(template: Callable[[], nn.Module] = DropoutAndNorm, **training: Any) -> SGD:
    generator = pcg(1)
    inputs: np.ndarray = generator.normal(size=(SAMPLES, WIDTH)).astype(np.float32)
    if template is SparseTable:
        inputs = generator.integers(50, size=(SAMPLES, WIDTH))
    samples = Samples(inputs, generator.integers(CLASSES, size=SAMPLES))
    data = DataSet("classification", samples, samples, Facts((WIDTH,), CLASSES))
    everything = np.arange(SAMPLES)
    torch.manual_seed(2)
    config = SGD.Config.model_validate({"name": "sgd", "batch_size": 8, "local_steps": 3, **training})
    return SGD(config, template(), data, NodeParts(everything, everything[:5], everything), pcg(3))


def train(node: SGD, rounds: range) -> list[Mapping[str, float]]:
    """Rounds with a look at the model after each, and a mixing that the optimizer does not see."""
    seen: list[Mapping[str, float]] = []
    for round in rounds:
        seen += [node.fit(round, lambda: None), node.evaluate("test", lambda: None)]
        node.load(node.vector() * 0.9)
    return seen


def goes_on_the_same(make: Callable[[], SGD], folder: Path) -> None:
    first = make()
    train(first, range(1, 5))
    saved = through_a_file(first.state(), folder)
    expected = train(first, range(5, 9))
    end = bits(first.state())
    second = make()
    torch.manual_seed(99)
    vector, views = second.vector(), [parameter.data_ptr() for parameter in second.parameters.model.parameters()]
    second.restore(saved)
    assert second.vector() is vector
    assert [parameter.data_ptr() for parameter in second.parameters.model.parameters()] == views
    assert train(second, range(5, 9)) == expected
    assert bits(second.state()) == end


OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "SGD", "lr": 0.1},
    {"name": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"name": "Adam"},
    {"name": "Adam", "amsgrad": True, "foreach": True},
    {"name": "AdamW", "lr": 0.01, "fused": True},
    {"name": "RMSprop", "centered": True, "momentum": 0.5},
    {"name": "Adagrad"},
    {"name": "Adadelta"},
    {"name": "Adamax"},
    {"name": "NAdam"},
    {"name": "RAdam"},
    {"name": "Rprop"},
    {"name": "ASGD", "t0": 2},
    {"name": "Adafactor"},
    {"name": "LBFGS", "lr": 0.1, "max_iter": 4, "history_size": 3},
    {"name": "LBFGS", "lr": 0.5, "line_search_fn": "strong_wolfe"},
]
IDS = [" ".join(map(str, optimizer.values())) for optimizer in OPTIMIZERS]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=IDS)
def test_every_optimizer(optimizer: dict[str, Any], tmp_path: Path) -> None:
    if not hasattr(torch.optim, optimizer["name"]):
        pytest.skip(f"this version of torch has no {optimizer['name']}")
    goes_on_the_same(lambda: learner(optimizer=optimizer), tmp_path)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    "optimizer", [{"name": "SparseAdam"}, {"name": "Adagrad"}, {"name": "SGD", "lr": 0.1, "momentum": 0.9}]
)
def test_sparse_gradients(optimizer: dict[str, Any], tmp_path: Path) -> None:
    goes_on_the_same(lambda: learner(SparseTable, optimizer=optimizer), tmp_path)


def test_matrices_only(tmp_path: Path) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this version of torch has no Muon")
    goes_on_the_same(lambda: learner(lambda: nn.Linear(WIDTH, CLASSES, bias=False), optimizer="Muon"), tmp_path)


MOMENTUM = {"name": "SGD", "lr": 0.1, "momentum": 0.9}


@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "StepLR", "step_size": 3},
        {"name": "MultiStepLR", "milestones": [2, 5, 5]},
        {"name": "LinearLR"},
        {"name": "PolynomialLR", "power": 2.0},
        {"name": "ExponentialLR", "gamma": 0.9},
        {"name": "CosineAnnealingLR", "T_max": 6},
        {"name": "CosineAnnealingWarmRestarts", "T_0": 3},
        {"name": "OneCycleLR", "max_lr": 0.5, "total_steps": 10},
        {"name": "CyclicLR", "base_lr": 0.01, "max_lr": 0.5, "step_size_up": 3},
    ],
    ids=lambda schedule: str(schedule["name"]),
)
def test_every_schedule(schedule: dict[str, Any], tmp_path: Path) -> None:
    goes_on_the_same(lambda: learner(optimizer=MOMENTUM, schedule=schedule), tmp_path)


def test_schedules_one_after_the_other(tmp_path: Path) -> None:
    """No configuration can say this one; the state of a user's own schedule may be as deep."""

    def make() -> SGD:
        made = learner(optimizer=MOMENTUM)
        parts = [
            torch.optim.lr_scheduler.ConstantLR(made._descent.optimizer),
            torch.optim.lr_scheduler.StepLR(made._descent.optimizer, 2),
        ]
        made._descent.schedule = torch.optim.lr_scheduler.SequentialLR(made._descent.optimizer, parts, [5])
        return made

    goes_on_the_same(make, tmp_path)


@pytest.mark.parametrize(
    "training",
    [
        {"buffers": "local"},
        {"buffers": "averaged"},
        {"reset_optimizer": True},
        {"local_steps": 0},
        {"local_steps": None, "local_epochs": 1},
    ],
)
def test_other_settings(training: dict[str, Any], tmp_path: Path) -> None:
    goes_on_the_same(lambda: learner(optimizer="Adam", **training), tmp_path)


def test_an_optimizer_that_is_reset_needs_no_state() -> None:
    forgetful = learner(optimizer="Adam", reset_optimizer=True)
    train(forgetful, range(1, 3))
    assert forgetful.optimizer_bytes() > 0
    state: Any = forgetful.state()
    assert state["optimizer"]["state"] == {}


@pytest.mark.parametrize("part", ["vector", "buffers", "optimizer", "schedule", "sampler", "torch"])
def test_no_part_of_a_learner_is_kept_in_vain(part: str, tmp_path: Path) -> None:
    """With any one part of a fresh learner instead, training goes on differently."""

    def make() -> SGD:
        schedule = {"name": "StepLR", "step_size": 3}
        return learner(optimizer="Adam", schedule=schedule, buffers="local")

    first = make()
    train(first, range(1, 5))
    saved = through_a_file(first.state(), tmp_path)
    expected = train(first, range(5, 9))
    second = make()
    fresh: Any = second.state()
    second.restore({**saved, part: fresh[part]})
    assert train(second, range(5, 9)) != expected


def test_a_restored_learner_shares_no_memory_with_the_state() -> None:
    first, second = learner(optimizer="Adam"), learner(optimizer="Adam")
    train(first, range(1, 3))
    second.restore(first.state())
    before = bits(first.state())
    random = torch.get_rng_state()
    train(second, range(3, 5))
    torch.set_rng_state(random)
    assert bits(first.state()) == before


@pytest.mark.parametrize(
    ("template", "training", "said"),
    [
        (
            lambda: nn.Linear(WIDTH, CLASSES),
            {},
            r"\[model\]: weight is \(3, 6\) here, missing in the state; .* and \d more",
        ),
        (DropoutAndNorm, {"buffers": "local"}, r"\[model\]: 1.running_mean is missing here, \(8,\) in the state"),
        (DropoutAndNorm, {"optimizer": "Adam"}, r"\[training\]: optimizer is Adam here, SGD in the state"),
        (
            DropoutAndNorm,
            {"schedule": {"name": "StepLR", "step_size": 1}},
            "schedule is StepLR here, None in the state",
        ),
    ],
)
def test_the_state_of_another_learner(template: Any, training: dict[str, Any], said: str) -> None:
    with pytest.raises(StateError, match=said):
        learner(template, **training).restore(learner().state())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vector": None}, r"parameters: expected a tensor, the state holds a NoneType"),
        ({"vector": torch.zeros(5)}, r"parameters: torch.float32 \(\d+,\) here, torch.float32 \(5,\) in the state"),
        ({"buffers": {}}, r"buffers: expected 1.num_batches_tracked, the state holds nothing"),
        ({"optimizer": {}}, "SGD does not take this state"),
        ({"optimizer": {"state": {}, "param_groups": []}}, "SGD does not take this state"),
        ({"sampler": {"order": np.arange(3)}}, "expected generator, order, the state holds order"),
        ({"sampler": {"order": np.array([SAMPLES]), "generator": {}}}, "does not hold"),
        ({"sampler": {"order": np.array([0.5]), "generator": {}}}, "no sample numbers"),
        ({"sampler": {"order": np.array([1]), "generator": np.random.MT19937(1).state}}, "random generator"),
        ({"torch": torch.zeros(3, dtype=torch.uint8)}, "torch's generator"),
        ({"more": 1}, "the state holds buffers, classes, more"),
    ],
)
def test_a_state_with_parts_that_do_not_fit(change: dict[str, object], said: str) -> None:
    node = learner()
    with pytest.raises(StateError, match=said):
        node.restore({**node.state(), **change})


def test_a_sampler_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    first, second = (EpochSampler(np.arange(10, 20), 4, pcg(seed)) for seed in (1, 2))
    list(first.steps(5))
    second.restore(through_a_file(first.state(), tmp_path))
    for one, other in zip(first.steps(8), second.steps(8), strict=True):
        assert np.array_equal(one, other)


P, NODES = 40, 3


class Exchange:
    """Three nodes that train (at random), share and average, without a network.

    Each neighbor gets its own message, and from round `to_all` on all get the same.
    """

    def __init__(self, rule: Callable[[np.random.Generator], Any], to_all: int = 3) -> None:
        self._to_all = to_all
        self.vectors = [torch.zeros(P) for _ in range(NODES)]
        self.rules = [rule(pcg(node)) for node in range(NODES)]
        for own_P, sharing in zip(self.vectors, self.rules, strict=True):
            sharing.begin(own_P)

    def go(self, rounds: range) -> list[object]:
        """Everything that is sent."""
        return [sent for round in rounds for sent in self._round(round)]

    def _round(self, round: int) -> list[object]:
        for node, own_P in enumerate(self.vectors):
            own_P += torch.from_numpy(pcg(100 * round + node).normal(size=P).astype(np.float32))
        sent: dict[tuple[int, int], Payload] = {}
        for node, (own_P, sharing) in enumerate(zip(self.vectors, self.rules, strict=True)):
            peers = [peer for peer in range(NODES) if peer != node]
            to_all = sharing.pack(own_P, None, round) if round >= self._to_all else None
            for peer in peers:
                sent[node, peer] = to_all or sharing.pack(own_P, peer, round)
        for node, (own_P, sharing) in enumerate(zip(self.vectors, self.rules, strict=True)):
            theirs = [sharing.unpack(peer, sent[peer, node], own_P) for peer in range(NODES) if peer != node]
            mixed_P = torch.stack([own_P, *theirs]).mean(dim=0)
            sharing.commit(own_P, mixed_P)
            own_P.copy_(mixed_P)
        return [
            (edge, payload.scalars, {name: buffer.tobytes() for name, buffer in payload.buffers.items()})
            for edge, payload in sent.items()
        ]


def top_k(generator: np.random.Generator, **settings: Any) -> TopK:
    return TopK(TopK.Config(name="top-k", alpha=0.2, **settings), generator)


def random_alpha(generator: np.random.Generator) -> RandomAlpha:
    return RandomAlpha(RandomAlpha.Config(name="random-alpha", alphas=(0.1, 0.3, 1.0)), generator)


def sub_sampling(generator: np.random.Generator) -> SubSampling:
    return SubSampling(SubSampling.Config(name="sub-sampling", alpha=0.3), generator)


def full(generator: np.random.Generator) -> Full:
    return Full(Full.Config(name="full"), generator)


RULES: dict[str, Callable[[np.random.Generator], Any]] = {
    "top-k": top_k,
    "top-k without accumulation": lambda generator: top_k(generator, accumulate=False),
    "random-alpha": random_alpha,
    "sub-sampling": sub_sampling,
}
DELTAS: dict[str, Callable[[np.random.Generator], Any]] = {
    "deltas of full": lambda generator: Deltas(full(generator)),
    "deltas of top-k": lambda generator: Deltas(top_k(generator)),
    "deltas of random-alpha": lambda generator: Deltas(random_alpha(generator)),
    "deltas of sub-sampling": lambda generator: Deltas(sub_sampling(generator)),
}


@pytest.mark.parametrize("to_all", [3, 99])
@pytest.mark.parametrize("name", [*RULES, *DELTAS])
def test_every_sharing_rule(name: str, to_all: int, tmp_path: Path) -> None:
    rule = {**RULES, **DELTAS}[name]
    first = Exchange(rule, to_all)
    first.go(range(1, 5))
    saved = through_a_file({"rules": [sharing.state() for sharing in first.rules]}, tmp_path)["rules"]
    vectors = [own_P.clone() for own_P in first.vectors]
    expected = first.go(range(5, 12))
    end = [bits(sharing.state()) for sharing in first.rules]
    second = Exchange(rule, to_all)
    for node, sharing in enumerate(second.rules):
        second.vectors[node].copy_(vectors[node])
        sharing.restore(saved[node])
    assert second.go(range(5, 12)) == expected
    assert [bits(sharing.state()) for sharing in second.rules] == end


@pytest.mark.parametrize("name", DELTAS)
def test_restored_copies_are_the_nodes_own(name: str) -> None:
    first, second = Exchange(DELTAS[name]), Exchange(DELTAS[name])
    first.go(range(1, 5))
    for one, other in zip(first.rules, second.rules, strict=True):
        other.restore(one.state())
    before = [bits(sharing.state()) for sharing in first.rules]
    second.go(range(5, 8))
    assert [bits(sharing.state()) for sharing in first.rules] == before


@pytest.mark.parametrize(
    ("rule", "other", "said"),
    [
        ("top-k", "random-alpha", "expected residual, start, the state holds changes, generator"),
        ("random-alpha", "sub-sampling", "expected changes, generator, the state holds generator"),
        ("sub-sampling", "top-k", "expected generator, the state holds residual, start"),
        ("deltas of full", "top-k", "expected received, rule, sent"),
        ("deltas of full", "deltas of top-k", "rule without memory: expected nothing"),
        ("deltas of top-k", "deltas of full", "expected residual, start, the state holds nothing"),
    ],
)
def test_the_state_of_another_rule(rule: str, other: str, said: str) -> None:
    all_rules = {**RULES, **DELTAS}
    with pytest.raises(StateError, match=said):
        Exchange(all_rules[rule]).rules[0].restore(Exchange(all_rules[other]).rules[0].state())


@pytest.mark.parametrize("name", ["top-k", "deltas of full"])
def test_vectors_of_another_length(name: str) -> None:
    exchange = Exchange({**RULES, **DELTAS}[name])
    exchange.go(range(1, 3))
    longer = {**RULES, **DELTAS}[name](pcg(1))
    longer.begin(torch.zeros(P + 1))
    with pytest.raises(StateError, match=r"\(41,\) here, torch.float32 \(40,\) in the state"):
        longer.restore(exchange.rules[0].state())


@pytest.mark.parametrize(
    "change", [{"sent": None}, {"received": {1: {}}}, {"sent": {"all": {"vector": torch.zeros(P), "messages": "1"}}}]
)
def test_copies_that_are_none(change: dict[str, object]) -> None:
    deltas = Exchange(DELTAS["deltas of full"]).rules[0]
    with pytest.raises(StateError):
        deltas.restore({**deltas.state(), **change})


ROWS = 9


def rows_context(rows: int = ROWS) -> Any:
    def fresh() -> Rows:
        return Rows(np.repeat(np.arange(rows), 2), np.arange(rows) < 3)

    return SimpleNamespace(node=0, sharing=full(pcg(0)), learner=SimpleNamespace(rows=fresh))


def row_presence() -> RowPresence:
    return RowPresence(RowPresence.Config(name="row-presence"))


def meet(mixer: RowPresence, context: Any, theirs: list[int]) -> bytes:
    """Mix with a neighbor that holds these rows."""
    mask = np.packbits(np.isin(np.arange(ROWS), theirs))
    received = [Received(1, torch.ones(2 * ROWS), {"degree": 1}, {MASK: mask})]
    own_P = torch.zeros(2 * ROWS)
    return mixer.mix(own_P, own_P, received, Neighbors((1,), (1,)), context).vector_P.numpy().tobytes()


def test_rows_that_are_held(tmp_path: Path) -> None:
    first, here = row_presence(), rows_context()
    meet(first, here, [5, 6])
    saved = through_a_file(first.state(), tmp_path)
    second, there = row_presence(), rows_context()
    second.restore(saved)
    assert bits(second.state()) == bits(first.state())  # before its first round, too
    assert np.unpackbits(second.attach(there)[MASK], count=ROWS).nonzero()[0].tolist() == [0, 1, 2, 5, 6]
    assert meet(second, there, [6, 7]) == meet(first, here, [6, 7])
    assert bits(second.state()) == bits(first.state())


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    mixer = row_presence()
    mixer.restore({"held": np.ones(ROWS, bool)})
    with pytest.raises(StateError, match="10 rows here, 9 in the state"):
        mixer.attach(rows_context(10))
    with pytest.raises(StateError, match="which rows are held"):
        mixer.restore({"held": np.ones(ROWS)})
    mixer.restore(through_a_file(row_presence().state(), tmp_path))  # of a node that had not begun
    assert np.unpackbits(mixer.attach(rows_context())[MASK], count=ROWS).sum() == 3


def test_who_remembers_something() -> None:
    remembering = [learner(), top_k(pcg(1)), random_alpha(pcg(1)), sub_sampling(pcg(1)), Deltas(full(pcg(1)))]
    assert all(isinstance(part, Stateful) for part in [*remembering, row_presence()])
    mixers = [MetropolisHastings(MetropolisHastings.Config(name="m")), Uniform(Uniform.Config(name="u"))]
    assert not any(isinstance(part, Stateful) for part in [full(pcg(1)), *mixers])


def test_milestones_stay_a_counter(tmp_path: Path) -> None:
    made = learner(optimizer=MOMENTUM, schedule={"name": "MultiStepLR", "milestones": [2, 2]})
    assert through_a_file(made.state(), tmp_path)["schedule"]["milestones"] == Counter({2: 2})
