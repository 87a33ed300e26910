"""The methods of Tables 2 and 3: what takes the place of a configuration's [algorithm] and of other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALONE = "local SGD only"


@dataclass(frozen=True)
class Variant:
    """One line of a table: settings that take the place of those in the configuration's [algorithm].

    In a round a node goes through `share` of [training] local_epochs, on average.
    """

    name: str
    algorithm: Mapping[str, object]
    others: Sequence[str] = ()
    share: float = 1.0

    def settings(self, rounds: int) -> list[str]:
        return [f"algorithm={inline({'rounds': rounds, **self.algorithm})}", *self.others]


def variants(file: Mapping[str, Any]) -> list[Variant]:
    """The methods, with the pruning that the configuration asks for."""
    pruning = {key: value for key, value in file["algorithm"].items() if key != "name" and key != "rounds"}
    return [
        Variant(ALONE, {"name": "local"}),
        Variant("D-PSGD, all neighbors", {"name": "dpsgd"}, ("mixing=uniform",)),
        Variant("L2C", {**pruning, "name": "l2c"}),
        Variant("L2C, 5 steps", {**pruning, "name": "l2c", "weight_steps": 5}),
        Variant("meta-L2C", {**pruning, "name": "meta-l2c"}),
        Variant("meta-L2C, length 2", {**pruning, "name": "meta-l2c", "length": 2}),
    ]


FOMO = Variant("FOMO, all neighbors", {"name": "dpsgd"}, ("mixing=fomo",))
CLIENTS = 0.1  # share of the clients that a server draws in a round
SAMPLES = 50_000  # of each of the paper's three data sets, where a configuration uses all


def baselines(file: Mapping[str, Any]) -> list[Variant]:
    """What the paper compares with. All methods train for as many local epochs, however many rounds that takes.

    Half the rounds of Ditto, which trains two models, are as much work; "as many rounds" is the other reading, of the
    caption of figure 3, in which a client trains in a tenth of the rounds only.
    Of several graphs ("METHOD on GRAPH") a table shows the best, as the paper does.
    """
    rounds, nodes = file["algorithm"]["rounds"], file["nodes"]
    clients, single = max(1, round(CLIENTS * nodes)), _steps_per_round(file)
    drawn, many = clients / nodes, rounds * nodes // clients
    star = ("topology=star", *_rarely(file, nodes // clients))
    evaluated = file["evaluation"]["every"] * (nodes // clients)  # what FedAvg evaluates is the server's model
    ditto = ("training.name=ditto", *star)  # which trains two models
    one_step = ("training.local_epochs=", "training.local_steps=1", *_rarely(file, single))

    def federated(rounds: int, to_all: int = 0) -> dict[str, object]:
        return {"rounds": rounds, "clients_per_round": clients, "name": "federated", "send_all_every": to_all}

    def fomo(rounds: int) -> dict[str, object]:
        return {"rounds": rounds, "clients_per_round": clients, "name": "fomo"}

    found = [
        Variant("FedAvg", federated(many, evaluated), star, drawn),
        Variant("Ditto", federated(many), ditto, drawn),
        Variant("Ditto, half the rounds", federated(many // 2), ditto, drawn),
        Variant("Ditto, as many rounds", federated(rounds), ditto, drawn),
        Variant("FOMO, server", fomo(many), star, drawn),
        Variant("FOMO, server, as many rounds", fomo(rounds), star, drawn),
        FOMO,
    ]
    for title, name in (("D-PSGD", "dpsgd"), ("CGA", "cga")):
        for graph, topology in graphs(file).items():
            found.append(Variant(f"{title}, epochs on {graph}", {"name": name}, (topology,)))
            stepping = {"rounds": rounds * single, "name": name}
            found.append(Variant(f"{title}, 1 step on {graph}", stepping, (topology, *one_step), 1 / single))
    return found


def graphs(file: Mapping[str, Any]) -> dict[str, str]:
    """The four graphs of the baselines; two of them with as many neighbors as pruning leaves (K - K0)."""
    nodes, prune = file["nodes"], file["algorithm"].get("prune", 0)
    count = min(nodes - prune if prune else max(2, round(CLIENTS * nodes)), nodes // 2)
    return {
        "ring": "topology=ring",
        "group-ring": f"topology={{name='group-ring', degree={max(2, count - count % 2)}}}",
        "bipartite": "topology=bipartite",
        "generalized bipartite": f"topology={{name='generalized-bipartite', neighbors={count}}}",
    }


def _steps_per_round(file: Mapping[str, Any]) -> int:
    data, training = file["data"], file["training"]
    train = round((1 - data["validation"]) * (data["samples"] or SAMPLES) / file["nodes"])
    return int(-(-train // training["batch_size"]) * training["local_epochs"])


def _rarely(file: Mapping[str, Any], times: int) -> tuple[str, str]:
    """Evaluate as often over the whole run, which has so many times more rounds; no weights."""
    return f"evaluation.every={file['evaluation']['every'] * times}", "evaluation.weights=false"


def inline(value: object) -> str:
    """As TOML, in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
    return f"'{value}'" if isinstance(value, str) else str(value).lower()
