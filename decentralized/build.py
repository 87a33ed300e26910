"""The only name-to-class tables, and the way from settings to running parts.

A new component is one new file and one line here. Entries are import paths, so that reading settings imports only the
files of the components that a configuration names.
"""

from __future__ import annotations

import importlib
import traceback
from types import ModuleType
from typing import Any

from pydantic import ConfigDict

from decentralized.mistakes import nearest
from decentralized.settings import Component

TABLES: dict[str, dict[str, str]] = {
    "topology": {
        "ring": "decentralized.topologies.named:Ring",
        "line": "decentralized.topologies.named:Line",
        "star": "decentralized.topologies.named:Star",
        "full": "decentralized.topologies.named:Full",
        "grid": "decentralized.topologies.named:Grid",
        "torus": "decentralized.topologies.named:Torus",
        "hypercube": "decentralized.topologies.named:Hypercube",
        "exponential": "decentralized.topologies.named:Exponential",
        "isolated": "decentralized.topologies.named:Isolated",
        "random-regular": "decentralized.topologies.random_graphs:RandomRegular",
        "erdos-renyi": "decentralized.topologies.random_graphs:ErdosRenyi",
        "small-world": "decentralized.topologies.random_graphs:SmallWorld",
        "group-ring": "decentralized.topologies.group_ring:GroupRing",
        "bipartite": "decentralized.topologies.bipartite:Bipartite",
        "generalized-bipartite": "decentralized.topologies.bipartite:GeneralizedBipartite",
        "edge-list": "decentralized.topologies.from_file:EdgeList",
        "adjacency": "decentralized.topologies.from_file:Adjacency",
        "epidemic": "decentralized.topologies.random_peers:Epidemic",
        "peer-sampling": "decentralized.topologies.random_peers:PeerSampling",
        "one-peer-exponential": "decentralized.topologies.one_peer:OnePeerExponential",
        "random-matching": "decentralized.topologies.one_peer:RandomMatching",
        "matcha": "decentralized.topologies.matcha:Matcha",
        "switching": "decentralized.topologies.switching:Switching",
    },
    "data": {
        "digits": "decentralized.data.digits:Digits",
        "mnist": "decentralized.data.mnist:Mnist",
        "cifar10": "decentralized.data.cifar10:Cifar10",
        "cifar100": "decentralized.data.cifar100:Cifar100",
        "miniimagenet": "decentralized.data.mini_imagenet:MiniImageNet",
        "movielens": "decentralized.data.movielens:MovieLens",
        "femnist": "decentralized.data.femnist:Femnist",
        "celeba": "decentralized.data.celeba:CelebA",
        "shakespeare": "decentralized.data.shakespeare:Shakespeare",
        "stackoverflow": "decentralized.data.stackoverflow:StackOverflow",
        "gldv2": "decentralized.data.gldv2:Gldv2",
        "librispeech": "decentralized.data.librispeech:LibriSpeech",
        "gaussian-tasks": "decentralized.data.gaussian_tasks:GaussianTasks",
        "sparse-binary-vectors": "decentralized.data.sparse_binary:SparseBinaryVectors",
    },
    "partition": {
        "iid": "decentralized.data.partition:Iid",
        "by-user": "decentralized.data.partition:ByUser",
        "shards": "decentralized.data.partition:Shards",
        "dirichlet": "decentralized.data.partition:Dirichlet",
        "by-class": "decentralized.data.partition:ByClass",
        "successive": "decentralized.data.partition:Successive",
        "class-tasks": "decentralized.data.tasks:ClassTasks",
        "shared-tasks": "decentralized.data.tasks:SharedTasks",
    },
    "model": {
        "mlp": "decentralized.models.mlp:Mlp",
        "associative": "decentralized.models.associative:Associative",
        "lenet": "decentralized.models.lenet:LeNet",
        "femnist-cnn": "decentralized.models.femnist_cnn:FemnistCnn",
        "celeba-cnn": "decentralized.models.celeba_cnn:CelebaCnn",
        "fedavg-cnn": "decentralized.models.fedavg_cnn:FedAvgCnn",
        "maml-cnn": "decentralized.models.maml_cnn:MamlCnn",
        "char-lstm": "decentralized.models.char_lstm:CharLstm",
        "word-transformer": "decentralized.models.word_transformer:WordTransformer",
        "speech-transformer": "decentralized.models.speech_transformer:SpeechTransformer",
        "matrix-factorization": "decentralized.models.matrix_factorization:MatrixFactorization",
        "resnet18": "decentralized.models.resnet18:ResNet18",
        "adapters": "decentralized.models.adapters:Adapters",
        "two-layer-head": "decentralized.models.two_layer_head:TwoLayerHead",
        "combined": "decentralized.models.combined:Combined",
    },
    "learner": {
        "sgd": "decentralized.learners.sgd:SGD",
        "partial": "decentralized.learners.partial:Partial",
        "fine-tune": "decentralized.learners.fine_tune:FineTune",
        "ditto": "decentralized.learners.ditto:Ditto",
        "pfedme": "decentralized.learners.pfedme:PFedMe",
        "apfl": "decentralized.learners.apfl:APFL",
        "maml": "decentralized.learners.maml:Maml",
        "sigmoid-mlp": "decentralized.learners.sigmoid_mlp:SigmoidMlp",
        "hebbian": "decentralized.learners.hebbian:Hebbian",
    },
    "algorithm": {
        "dpsgd": "decentralized.algorithms.dpsgd:DPSGD",
        "push-sum": "decentralized.algorithms.push_sum:PushSum",
        "local": "decentralized.algorithms.local:Local",
        "federated": "decentralized.algorithms.federated:Federated",
        "l2c": "decentralized.algorithms.l2c:L2C",
        "meta-l2c": "decentralized.algorithms.meta_l2c:MetaL2C",
        "partial-averaging": "decentralized.algorithms.partial_averaging:PartialAveraging",
        "transference": "decentralized.algorithms.transference:Transference",
        "cga": "decentralized.algorithms.cga:CGA",
        "fomo": "decentralized.algorithms.fomo:Fomo",
        "random-walk": "decentralized.algorithms.random_walk:RandomWalk",
        "hybrid": "decentralized.algorithms.hybrid:Hybrid",
    },
    "sharing": {
        "full": "decentralized.sharing.full:Full",
        "top-k": "decentralized.sharing.top_k:TopK",
        "random-alpha": "decentralized.sharing.random_alpha:RandomAlpha",
        "sub-sampling": "decentralized.sharing.sub_sampling:SubSampling",
    },
    "mixing": {
        "metropolis-hastings": "decentralized.mixing.metropolis_hastings:MetropolisHastings",
        "uniform": "decentralized.mixing.uniform:Uniform",
        "from-topology": "decentralized.mixing.from_topology:FromTopology",
        "row-presence": "decentralized.mixing.row_presence:RowPresence",
        "fomo": "decentralized.mixing.fomo:Fomo",
    },
}


class AnySettings(Component):
    """Settings of a class that a user wrote without a `Config`: whatever the table says."""

    model_config = ConfigDict(extra="allow")

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class BuiltIn:
    """The catalog of the tables above and of "package.module:Class" names.

    With `import_others` False, classes that users wrote are not imported (they are likely to import torch); their
    settings are then checked only later, where the nodes are made.
    """

    def __init__(self, import_others: bool = True) -> None:
        self._import_others = import_others

    def settings_of(self, family: str, name: str) -> type[Component]:
        """Raises LookupError with the nearest known name."""
        if ":" in name and not self._import_others:
            return AnySettings
        settings = getattr(find(family, name), "Config", AnySettings)
        if not isinstance(settings, type) or not issubclass(settings, Component):
            raise LookupError(f"{family} '{name}': its Config should be a decentralized.settings.Component")
        return settings

    def names(self, family: str) -> list[str]:
        """The names that the TOML can use, in the order of the table."""
        return list(TABLES[family])


def find(family: str, name: str) -> Any:
    """The class of a component; raises LookupError with the nearest known name."""
    if ":" in name:
        return _find_other(family, name)
    path = TABLES[family].get(name)
    if path is None:
        raise LookupError(f"unknown {family} '{name}'{nearest(name, list(TABLES[family]))}")
    module_name, _, class_name = path.partition(":")
    return getattr(importlib.import_module(module_name), class_name)


def _find_other(family: str, name: str) -> Any:
    """A class that a user wrote. Raises LookupError when it cannot be had, whatever its module does when imported."""
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise LookupError(f"{family} '{name}' should look like 'package.module:Class'")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # code of others can raise anything
        what = f"{type(error).__name__}: {error}{_line(error)}"
        raise LookupError(f"{family} '{name}' cannot be imported: {what}") from error
    if not hasattr(module, class_name):
        raise LookupError(f"{family} '{name}': {module_name} has no '{class_name}'{_nearest_class(class_name, module)}")
    return getattr(module, class_name)


def _line(error: Exception) -> str:
    """Where code of others raised, as far as the message does not say so itself."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    inside = not frame.filename.startswith("<frozen") and frame.filename != importlib.__file__
    return f" ({frame.filename}:{frame.lineno})" if inside else ""


def _nearest_class(name: str, module: ModuleType) -> str:
    close = nearest(name, [other for other, value in vars(module).items() if isinstance(value, type)])
    return close if "did you mean" in close else ""


def create(family: str, settings: Component, *parts: Any) -> Any:
    """The component itself: its class called with its settings and the run-time `parts`."""
    return find(family, settings.name)(settings, *parts)
