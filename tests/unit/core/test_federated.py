"""The federated rounds: who is drawn, what the mean is, and what everybody holds at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from decentralized.algorithms.federated import Federated
from decentralized.errors import ConfigError, NetworkError, TopologyError
from decentralized.in_memory import InMemoryRun
from decentralized.learners.sgd import SGD
from decentralized.metrics import read_metrics
from decentralized.prepare import Prepared, build_learner
from decentralized.types import Graph
from tests.unit.simulated.run import SimulatedRun
from tests.unit.simulated.seeds import seeds

Run = Callable[..., InMemoryRun]
FEDERATED = ("topology.name=star", "algorithm.name=federated")


def settings(rounds: int, clients: int | None = None, every: int = 10) -> Federated.Config:
    return Federated.Config(name="federated", rounds=rounds, clients_per_round=clients, send_all_every=every)


def star(nodes: int) -> Graph:
    return Graph((tuple(range(1, nodes)), *(((0,),) * (nodes - 1))))


def drawn(run: InMemoryRun, round: int) -> list[int]:
    experiment = run._prepared.experiment
    assert isinstance(experiment.algorithm, Federated.Config)
    return Federated(experiment.algorithm).drawn(round, experiment.nodes, experiment.seed)


@pytest.mark.parametrize("topology", ["star", "full"])
@pytest.mark.parametrize("clients", [1, 3, 5])
def test_the_mean_of_the_drawn_clients_bit_for_bit(clients: int, topology: str, run_in_memory: Run) -> None:
    choice = (*FEDERATED, f"topology.name={topology}", f"algorithm.clients_per_round={clients}", "algorithm.rounds=4")
    run = run_in_memory("nodes=5", *choice)
    nodes = [build_learner(run._prepared, node) for node in range(5)]
    u_P = nodes[0].vector().clone()
    for round in range(1, 5):
        chosen = drawn(run, round)
        assert len(chosen) == clients and chosen == sorted(set(chosen))
        sum_P = u_P.new_zeros(len(u_P))
        for node in chosen:
            nodes[node].load(u_P)
            nodes[node].fit(round, lambda: None)
            sum_P += nodes[node].vector()
        u_P = sum_P / clients
    for learner in run.learners.values():
        assert learner.vector().equal(u_P), "the last round reaches everybody"


def test_clients_are_drawn_evenly_and_anew(run_in_memory: Run) -> None:
    run = run_in_memory("nodes=8", *FEDERATED, "algorithm.clients_per_round=2", "algorithm.rounds=1")
    counts = Counter(node for round in range(1, 2001) for node in drawn(run, round))
    assert counts.total() == 4000 and max(abs(count - 500) for count in counts.values()) < 100  # five deviations
    assert len({tuple(drawn(run, round)) for round in range(1, 2001)}) == 28  # all pairs


@pytest.mark.parametrize("nodes", [1, 2])
def test_one_and_two_nodes(nodes: int, run_in_memory: Run) -> None:
    run = run_in_memory(f"nodes={nodes}", *FEDERATED)
    assert len(run.learners) == nodes
    alone = run_in_memory("nodes=1", "algorithm.name=local")
    assert run.learners[0].vector().equal(alone.learners[0].vector()) == (nodes == 1)


def test_bytes_of_the_server_and_of_the_clients(run_in_memory: Run) -> None:
    run = run_in_memory("nodes=5", *FEDERATED, "algorithm.clients_per_round=2", "algorithm.rounds=4")
    size = 4 * run._prepared.parameters
    chosen = [drawn(run, round) for round in range(1, 5)]
    for node in range(5):
        records = [r for r in read_metrics(run._directory.node(node).metrics) if r["kind"] == "round"]
        clients = [sum(other != 0 for other in round) for round in chosen]
        sent = sum(clients) + 4 if node == 0 else sum(node in round for round in chosen)  # u goes to all at the end
        assert records[-1]["bytes_values"] == sent * size
        assert ["train_loss" in record for record in records] == [node in round for round in chosen]


def test_between_two_sends_to_all_a_client_that_is_not_drawn_keeps_what_it_has(run_in_memory: Run) -> None:
    """After round 2 everybody has the same u; after round 3 only those that were drawn have another one."""
    common = ("nodes=5", *FEDERATED, "algorithm.clients_per_round=2", "evaluation.every=1", "algorithm.rounds=4")
    run = run_in_memory(*common, "algorithm.send_all_every=2")
    losses = {
        node: {r["round"]: r["test_loss"] for r in read_metrics(run._directory.node(node).metrics) if "test_loss" in r}
        for node in range(5)
    }
    assert {losses[node][2] for node in range(5)} == {losses[0][2]}
    same = [losses[node][3] == losses[node][2] for node in range(1, 5)]
    assert same == [node not in drawn(run, 3) for node in range(1, 5)]


def test_sparse_sharing_goes_up_only(run_in_memory: Run) -> None:
    run = run_in_memory("nodes=4", *FEDERATED, "sharing={name='top-k', alpha=0.1}")
    size = 4 * run._prepared.parameters
    records = [list(read_metrics(run._directory.node(node).metrics))[-2] for node in range(2)]
    assert records[0]["bytes_values"] == (3 + 1) * 3 * size
    assert records[1]["bytes_values"] == pytest.approx(3 * 0.1 * size, rel=0.01)
    assert len({learner.vector().numpy().tobytes() for learner in run.learners.values()}) == 1


def test_a_message_that_cannot_be_used_is_left_out_of_the_mean(
    run_in_memory: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of four are averaged, not three and a zero."""
    fit = SGD.fit
    seen: list[int] = []

    def broken(learner: SGD, *arguments: object) -> object:
        metrics = fit(learner, *arguments)  # type: ignore[arg-type]
        seen.append(len(seen))
        learner.vector().fill_(float("nan") if len(seen) == 2 else 1.0)
        return metrics

    monkeypatch.setattr(SGD, "fit", broken)
    run = run_in_memory("nodes=4", *FEDERATED, "algorithm.rounds=1")
    for learner in run.learners.values():
        assert set(learner.vector().tolist()) == {1.0}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (("topology.name=ring",), TopologyError, "not joined with all"),
        (("topology={name='star', center=1}",), TopologyError, "not joined with all"),
        (("algorithm.clients_per_round=9",), ConfigError, "9 of 5 nodes"),
        (("sharing.payload=deltas",), ConfigError, "values"),
        (("topology.name=full", "network.on_peer_loss=continue"), ConfigError, "star"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: tuple[str, ...], error: type[Exception], said: str, small: Callable[..., Prepared]
) -> None:
    with pytest.raises(error, match=said):
        small("nodes=5", *FEDERATED, *changes)


class TestHaltsAndLosses:
    """Over simulated runs, in which everybody is as fast or slow as a seed says."""

    @seeds(30)
    def test_halts_and_check_points_at_any_moment(self, seed: int) -> None:
        random = Random(seed)
        nodes, rounds = random.randint(1, 5), random.randint(1, 9)
        algorithm = settings(rounds, random.randint(1, nodes), random.choice([0, 2, 10]))
        run = SimulatedRun(star(nodes), algorithm, seed, random.choice([0, 1, 2, 3]))
        for _ in range(random.randint(1, 3)):
            stop = random.random() < 0.2
            run.at(random.randint(1, 100 * nodes), lambda stop=stop: run.halt(stop))  # type: ignore[misc]
        run.run()
        assert run.coordinator.abort is None

    @seeds(15)
    def test_it_goes_on_from_where_it_was_stopped_and_ends_the_same(self, seed: int) -> None:
        algorithm = settings(12, 2, 3)
        undisturbed = SimulatedRun(star(4), algorithm, seed).run()
        first = SimulatedRun(star(4), algorithm, seed)
        first.at(120, lambda: first.halt(stop=True))
        stopped = first.run().coordinator.stopped
        assert stopped is not None and 0 < stopped.number < 12
        second = SimulatedRun(star(4), algorithm, seed + 1, saved=first.saved, number=stopped.number).run()
        for node in range(4):
            assert second.nodes[node].learner.vector().equal(undisturbed.nodes[node].learner.vector())

    @seeds(15)
    def test_nodes_that_are_started_again_end_the_same(self, seed: int) -> None:
        random = Random(seed)
        algorithm = settings(6, 2, 3)
        undisturbed = SimulatedRun(star(4), algorithm, seed).run()
        run = SimulatedRun(star(4), algorithm, seed, random.choice([0, 1, 2]), on_peer_loss="wait")
        victim, how = random.randrange(4), random.choice([run.kill, run.fail, run.accuse])
        run.at(random.randint(1, 300), lambda: how(victim))
        run.run()
        assert run.coordinator.abort is None
        for node in range(4):
            assert run.nodes[node].learner.vector().equal(undisturbed.nodes[node].learner.vector())

    @seeds(30)
    def test_it_goes_on_without_lost_clients(self, seed: int) -> None:
        random = Random(seed)
        algorithm = settings(8, random.randint(1, 5), random.randint(0, 3))
        run = SimulatedRun(star(5), algorithm, seed, on_peer_loss="continue")
        for victim in random.sample(range(1, 5), 2):
            how = random.choice([run.kill, run.accuse])
            run.at(random.randint(1, 400), lambda victim=victim, how=how: how(victim))  # type: ignore[misc]
        run.run()
        assert run.coordinator.abort is None
        assert all(report.round == 8 for report in (run.nodes[node].reports[-1] for node in run.living))

    @seeds(10)
    def test_it_ends_without_its_server(self, seed: int) -> None:
        run = SimulatedRun(star(4), settings(40, 2, 3), seed, on_peer_loss="continue")
        run.at(150, lambda: run.kill(0))
        with pytest.raises(NetworkError, match="the server, node 0, is lost"):
            run.run()
