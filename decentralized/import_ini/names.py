"""What the data sets and models of decentralizepy are called here, and where they differ.

Facts about decentralizepy are from its public code (github.com/sacs-epfl/decentralizepy, datasets/*.py), those about
the number of rounds from the communication study (Dresevic, EPFL 2022, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Model:
    """The settings of [model]: key to (value, comment). `differs`: what is not the same as in decentralizepy."""

    name: str
    settings: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    differs: str = ""


@dataclass(frozen=True)
class DataSet:
    """A data set. `folder` is below the data root, `rounds` a usual number of them."""

    name: str
    folder: str
    rounds: int
    models: Mapping[str, Model]
    by_user: bool = True
    differs: str = ""


_LOGISTIC = Model("mlp", {"hidden": ([], "no hidden layer: logistic regression")})
_LEAF = "decentralizepy reads one file per user; here LEAF's own train/*.json and test/*.json are read"

DATA_SETS: Mapping[str, DataSet] = {
    "MovieLens": DataSet(
        name="movielens",
        folder="ml-latest-small",
        rounds=500,
        models={
            "MatrixFactorization": Model(
                "matrix-factorization",
                {
                    "embedding_dim": (20, "the class's own"),
                    "biases": (False, "the public code has none; the communication study has them"),
                    "initial_scale": (0.0289, "as spread as the public code's uniform -0.05 to 0.05"),
                },
                "decentralizepy's public code has no biases (206,680 parameters) and so has the TOML; the "
                "communication study describes biases: biases = true",
            )
        },
    ),
    "Femnist": DataSet(
        name="femnist",
        folder="femnist",
        rounds=300,
        models={"CNN": Model("femnist-cnn", {"dense": (512, "the class's own")}), "LogisticRegression": _LOGISTIC},
        differs=_LEAF,
    ),
    "Celeba": DataSet(
        name="celeba",
        folder="celeba",
        rounds=250,
        models={"CNN": Model("celeba-cnn", {"batch_norm": (False, "the class has none")})},
        differs=_LEAF,
    ),
    "Shakespeare": DataSet(
        name="shakespeare",
        folder="shakespeare",
        rounds=500,
        models={
            "LSTM": Model(
                "char-lstm",
                differs="decentralizepy's output layer reads the LSTM's states after all 80 characters, the one here "
                "after the last",
            )
        },
        differs=f"{_LEAF}; decentralizepy tests on every 30th test sample, here [evaluation] samples can limit them",
    ),
    "CIFAR10": DataSet(
        name="cifar10",
        folder="cifar-10-batches-bin",
        rounds=500,
        models={
            "CNN": Model("lenet"),  # 5x5 convolutions of 6 and 16 maps, dense layers of 120 and 84
            "LeNet": Model(
                "lenet",
                differs="another network: decentralizepy's LeNet has three convolutions (32, 32, 64 maps) with group "
                "normalization, the one here is LeNet-5 (6 and 16 maps), which decentralizepy calls CNN",
            ),
        },
        by_user=False,
    ),
}

# Classes of forks, on any data set.
OTHER_MODELS: Mapping[str, Model] = {
    "LogisticRegression": _LOGISTIC,
    "LeNet": Model("lenet", differs="taken for LeNet-5"),
    "MLP": Model("mlp", differs="the widths of its hidden layers are not in the INI: set model.hidden"),
}

# Functions that an INI may name with `loss` instead of `loss_class`.
LOSS_FUNCTIONS: Mapping[str, str] = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "mse_loss": "MSELoss",
    "l1_loss": "L1Loss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
}
