"""INI files of decentralizepy as TOML: the configurations of Table 4.1, every mapping, and no key that gets lost."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized import config
from decentralized.build import TABLES, BuiltIn
from decentralized.errors import ConfigError
from decentralized.import_ini import Converted, convert
from decentralized.import_ini.names import DATA_SETS, OTHER_MODELS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Sections = dict[str, dict[str, str]]


def study(
    data: str, model: str, optimizer: str, lr: str, loss: str, *, rounds: str, batch: str, epochs: str = "False"
) -> Sections:
    """A column of Table 4.1 (Dresevic, EPFL 2022), with full sharing and D-PSGD."""
    return {
        "DATASET": {
            "dataset_package": f"decentralizepy.datasets.{data}",
            "dataset_class": data,
            "model_class": model,
            "train_dir": "/data/train",
            "test_dir": "/data/test",
            "sizes": "",
        },
        "OPTIMIZER_PARAMS": {"optimizer_package": "torch.optim", "optimizer_class": optimizer, "lr": lr},
        "TRAIN_PARAMS": {
            "training_package": "decentralizepy.training.Training",
            "training_class": "Training",
            "rounds": rounds,
            "full_epochs": epochs,
            "batch_size": batch,
            "shuffle": "True",
            "loss_package": "torch.nn",
            "loss_class": loss,
        },
        "COMMUNICATION": {
            "comm_package": "decentralizepy.communication.TCP",
            "comm_class": "TCP",
            "addresses_filepath": "ip_4Machines.json",
        },
        "SHARING": {"sharing_package": "decentralizepy.sharing.Sharing", "sharing_class": "Sharing"},
    }


TABLE_4_1 = {
    "movielens-1": study("MovieLens", "MatrixFactorization", "SGD", "0.25", "MSELoss", rounds="9", batch="8"),
    "movielens-2": study(
        "MovieLens", "MatrixFactorization", "Adam", "0.01", "MSELoss", rounds="5", batch="8", epochs="True"
    ),
    "femnist": study("Femnist", "CNN", "SGD", "0.01", "CrossEntropyLoss", rounds="47", batch="16"),
    "celeba": study("Celeba", "CNN", "SGD", "0.001", "CrossEntropyLoss", rounds="8", batch="8"),
}
CIFAR = study("CIFAR10", "CNN", "SGD", "0.01", "CrossEntropyLoss", rounds="3", batch="8")
MOVIELENS = TABLE_4_1["movielens-1"]

SHARING: dict[str, tuple[dict[str, str], dict[str, object]]] = {
    "Sharing": ({}, {"name": "full"}),
    "PartialModel": (
        {"alpha": "0.3", "accumulation": "True", "accumulate_averaging_changes": "True"},
        {"name": "top-k", "alpha": 0.3, "accumulate": True, "accumulate_mixing_changes": True},
    ),
    "RandomAlpha": (
        {"alpha_list": "[0.1, 0.2, 1.0]", "metadata_cap": "0.5", "accumulation": "True"},
        {
            "name": "random-alpha",
            "alphas": [0.1, 0.2, 1.0],
            "metadata_cap": 0.5,
            "accumulate": True,
            "accumulate_mixing_changes": False,
        },
    ),
    "SubSampling": ({"alpha": "0.5"}, {"name": "sub-sampling", "alpha": 0.5}),
}


def changed(sections: Sections, **changes: dict[str, str]) -> Sections:
    """With keys changed or added; a key that becomes "-" is taken out."""
    result = {name: {**keys, **changes.get(name, {})} for name, keys in sections.items()}
    result |= {name: keys for name, keys in changes.items() if name not in sections}
    return {name: {key: value for key, value in keys.items() if value != "-"} for name, keys in result.items()}


def ini(sections: Sections) -> str:
    tables = (
        "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in keys.items())])
        for name, keys in sections.items()
    )
    return "\n\n".join(tables) + "\n"


def converted(sections: Sections) -> tuple[dict[str, Any], tuple[str, ...]]:
    result = convert(ini(sections), "a/study.ini")
    return tomllib.loads(result.toml), result.notices


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        convert(text, "x.ini")
    return caught.value.mistakes


def about(notices: tuple[str, ...], section: str, key: str) -> str:
    """The one notice on a key."""
    (notice,) = [notice for notice in notices if re.search(rf": \[{section}\] {key}\b", notice)]
    return notice


@pytest.mark.parametrize("sharing_class", SHARING)
@pytest.mark.parametrize("name", TABLE_4_1)
def test_the_result_is_a_configuration(name: str, sharing_class: str) -> None:
    keys, expected = SHARING[sharing_class]
    for walk in ("True", "False"):
        sections = changed(TABLE_4_1[name], SHARING={"sharing_class": sharing_class, "random_sharing": walk, **keys})
        result = convert(ini(sections), "study.ini")
        document = tomllib.loads(result.toml)
        assert document["sharing"] == expected
        assert document["algorithm"]["name"] == ("random-walk" if walk == "True" else "dpsgd")
        config.parse(result.toml, BuiltIn())


def test_table_4_1() -> None:
    documents = {name: converted(sections)[0] for name, sections in TABLE_4_1.items()}
    training = {name: document["training"] for name, document in documents.items()}
    assert {name: table["optimizer"] for name, table in training.items()} == {
        "movielens-1": {"name": "SGD", "lr": 0.25},
        "movielens-2": {"name": "Adam", "lr": 0.01},
        "femnist": {"name": "SGD", "lr": 0.01},
        "celeba": {"name": "SGD", "lr": 0.001},
    }
    assert [table["batch_size"] for table in training.values()] == [8, 8, 16, 8]
    assert [table.get("local_steps") for table in training.values()] == [9, None, 47, 8]
    assert [table.get("local_epochs") for table in training.values()] == [None, 5, None, None]
    assert [table["loss"] for table in training.values()] == ["MSELoss"] * 2 + ["CrossEntropyLoss"] * 2
    assert [document["model"]["name"] for document in documents.values()] == [
        "matrix-factorization",
        "matrix-factorization",
        "femnist-cnn",
        "celeba-cnn",
    ]
    assert documents["movielens-1"]["data"] == {
        "name": "movielens",
        "partition": "by-user",
        "test": "local",
        "train_fraction": 0.7,
    }
    assert documents["femnist"]["data"] == {"name": "femnist", "partition": "by-user"}


def test_what_the_command_line_says_gets_marked_defaults() -> None:
    text = convert(ini(MOVIELENS), "a/study.ini").toml
    document = tomllib.loads(text)
    assert (document["name"], document["seed"], document["nodes"]) == ("study", 90, 96)
    assert document["topology"] == {"name": "random-regular", "degree": 4}
    assert document["algorithm"]["rounds"] == 500 and document["evaluation"] == {"every": 10}
    marked = [line.split(" =")[0] for line in text.splitlines() if "# not in the INI" in line]
    assert marked == ["seed", "nodes", "name", "degree", "reset_optimizer", "rounds", "every"]


def test_an_ordinary_file_has_few_notices() -> None:
    _, notices = converted(MOVIELENS)
    assert [re.search(r"\] (\w+)", notice)[1] for notice in notices] == [  # type: ignore[index]
        "model_class",
        "train_dir",
        "test_dir",
        "rounds",
        "addresses_filepath",
    ]
    line = ini(MOVIELENS).splitlines().index("addresses_filepath = ip_4Machines.json") + 1
    assert about(notices, "COMMUNICATION", "addresses_filepath") == (
        f"a/study.ini:{line}: [COMMUNICATION] addresses_filepath = 'ip_4Machines.json': "
        "give the file with --ip-map, as it is"
    )
    assert "biases = true" in about(notices, "DATASET", "model_class")


def test_every_name_is_known() -> None:
    models = [*OTHER_MODELS.values(), *(model for data in DATA_SETS.values() for model in data.models.values())]
    assert {data.name for data in DATA_SETS.values()} <= set(TABLES["data"])
    assert {model.name for model in models} <= set(TABLES["model"])
    for model in models:
        BuiltIn().settings_of("model", model.name).model_validate(
            {"name": model.name}
            | {key: tuple(value) if isinstance(value, list) else value for key, (value, _) in model.settings.items()}
        )


@pytest.mark.parametrize(
    ("keys", "partition"),
    [
        ({}, "iid"),
        ({"partition_niid": "simple"}, "iid"),
        ({"partition_niid": "False"}, "iid"),
        ({"partition_niid": "iid"}, "iid"),
        ({"partition_niid": "kshard", "shards": "4"}, {"name": "shards", "shards_per_node": 4}),
        ({"partition_niid": "True"}, {"name": "shards", "shards_per_node": 1}),
        ({"partition_niid": "dirichlet", "alpha": "0.1 ; small"}, {"name": "dirichlet", "alpha": 0.1}),
        ({"partition_niid": "dirichlet"}, {"name": "dirichlet", "alpha": 100.0}),
    ],
)
def test_partitions(keys: dict[str, str], partition: object) -> None:
    document, notices = converted(changed(CIFAR, DATASET=keys))
    assert document["data"]["partition"] == partition
    assert not [notice for notice in notices if "partition" in notice]


def test_sizes_count_the_nodes() -> None:
    for sizes, nodes, noticed in (
        ("[0.25, 0.25, 0.25, 0.25]", 4, False),
        ("0.5,0.25,0.25", 3, True),
        ("(0.1, 0.1)", 2, True),  # the other samples are not used
    ):
        document, notices = converted(changed(CIFAR, DATASET={"sizes": sizes}))
        assert document["nodes"] == nodes
        assert any("] sizes" in notice for notice in notices) == noticed
    document, notices = converted(changed(CIFAR, DATASET={"sizes": "[0.5, 0.5]", "n_procs": "6"}))
    assert document["nodes"] == 6 and "n_procs = 6" in about(notices, "DATASET", "sizes")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"sharing_class": "PartialModel"}, {"alpha": 1.0, "accumulate": False, "accumulate_mixing_changes": False}),
        ({"sharing_class": "PartialModel", "alpha": "0.5", "metadata_cap": "0.5"}, {"name": "full"}),
        ({"sharing_class": "PartialModel", "alpha": "0.4", "metadata_cap": "0.5"}, {"name": "top-k", "alpha": 0.4}),
        ({"sharing_class": "SubSampling", "alpha": "0.6", "metadata_cap": "0.5"}, {"name": "full"}),
        ({"sharing_class": "SubSampling", "alpha": "0.5", "metadata_cap": "0.5"}, {"name": "sub-sampling"}),
        ({"sharing_class": "RandomAlpha"}, {"alphas": [0.1, 0.2, 0.3, 0.4, 1.0], "metadata_cap": 1.0}),
        ({"sharing_class": "PlainAverageSharing"}, {"name": "full"}),
    ],
)
def test_sharing(keys: dict[str, str], expected: dict[str, object]) -> None:
    document, _ = converted(changed(CIFAR, SHARING=keys))
    assert expected.items() <= document["sharing"].items()
    assert (document.get("mixing") == {"name": "uniform"}) == (keys["sharing_class"] == "PlainAverageSharing")


def test_mixing_changes_alone_have_no_effect() -> None:
    keys = {"sharing_class": "PartialModel", "accumulation": "no", "accumulate_averaging_changes": "yes"}
    document, notices = converted(changed(CIFAR, SHARING=keys))
    assert document["sharing"]["accumulate_mixing_changes"] is False
    assert "no effect without accumulation" in about(notices, "SHARING", "accumulate_averaging_changes")


def test_arguments_of_the_optimizer() -> None:
    arguments = {"momentum": "0.9", "nesterov": "True", "betas": "(0.9, 0.999)", "decay": "text", "foreach": "None"}
    document, notices = converted(changed(CIFAR, OPTIMIZER_PARAMS={**arguments, "lr": "1", "eps": ""}))
    assert document["training"]["optimizer"] == {
        "name": "SGD",
        "lr": 1,
        "momentum": 0.9,
        "nesterov": True,
        "betas": [0.9, 0.999],
        "decay": "text",
    }
    assert "default" in about(notices, "OPTIMIZER_PARAMS", "foreach")
    assert "is empty" in about(notices, "OPTIMIZER_PARAMS", "eps")


def test_a_loss_can_be_a_function() -> None:
    for function, loss in (("nll_loss", "NLLLoss"), ("other", "other")):
        document, notices = converted(changed(CIFAR, TRAIN_PARAMS={"loss_class": "-", "loss": function}))
        assert document["training"]["loss"] == loss and about(notices, "TRAIN_PARAMS", "loss")
    document, notices = converted(changed(CIFAR, TRAIN_PARAMS={"loss": "nll_loss"}))
    assert document["training"]["loss"] == "CrossEntropyLoss" and about(notices, "TRAIN_PARAMS", "loss")


def test_network_and_graph() -> None:
    document, _ = converted(changed(CIFAR, COMMUNICATION={"offset": "9000"}, NODE={"graph_degree": "7"}))
    assert document["network"]["ports"] == [9001, 9192]  # 2 * rank + 1 + offset, for 96 ranks on one machine
    assert document["topology"] == {"name": "random-regular", "degree": 7}
    document, notices = converted(changed(CIFAR, COMMUNICATION={"offset": "65400"}, NODE={"graph_file": "g.edges"}))
    assert "ports" not in document["network"] and "65592 do not exist" in about(notices, "COMMUNICATION", "offset")
    assert document["topology"] == {"name": "edge-list", "path": "g.edges"}


def test_validation() -> None:
    document, _ = converted(changed(CIFAR, DATASET={"validation_source": "Train", "validation_size": "0.1"}))
    assert document["data"]["validation"] == 0.1
    document, notices = converted(changed(CIFAR, DATASET={"validation_source": "Test", "validation_size": "0.1"}))
    assert "validation" not in document["data"]
    assert about(notices, "DATASET", "validation_source") and about(notices, "DATASET", "validation_size")


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        ("DATASET", "images_dir", "/i", "--data"),
        ("DATASET", "test_batch_size", "64", "no result"),
        ("DATASET", "only_local", "True", "together"),
        ("DATASET", "partition_niid", "iid", "by user"),
        ("DATASET", "alpha", "0.1", "by user"),
        ("DATASET", "dataset_package", "mine.data", "only the class's name counts"),
        ("DATASET", "dataset_class", "Reddit", "nothing here corresponds"),
        ("DATASET", "model_class", "RNN", "nothing here corresponds"),
        ("DATASET", "shard", "2", "unknown key"),
        ("OPTIMIZER_PARAMS", "optimizer_package", "apex.optim", "torch.optim"),
        ("OPTIMIZER_PARAMS", "name", "x", "optimizer_class"),
        ("TRAIN_PARAMS", "shuffle", "False", "random order"),
        ("TRAIN_PARAMS", "training_class", "GradientAccumulator", "plain local training"),
        ("TRAIN_PARAMS", "loss_package", "mine.losses", "torch.nn"),
        ("COMMUNICATION", "comm_class", "TCPRandomWalkRouting", "TCP"),
        ("COMMUNICATION", "recv_timeout", "50", "nothing here corresponds"),
        ("COMMUNICATION", "compress", "True", "values never"),
        ("COMMUNICATION", "sampler", "equi", "unknown key"),
        ("SHARING", "sharing_class", "JWINS", "nothing here corresponds"),
        ("SHARING", "alpha", "0.1", "no effect"),
        ("SHARING", "compress", "True", "values never"),
        ("SHARING", "compression_class", "EliasFpzip", "not compressed"),
        ("SHARING", "layerwise", "True", "whole model"),
        ("SHARING", "pickle", "True", "inside"),
        ("SHARING", "wavelet", "sym2", "unknown key"),
        ("NODE", "graph_type", "adjacency", "by hand"),
        ("NODE", "graph_degree", "7", "redraws"),
        ("OTHER", "key", "value", "not carried over"),
    ],
)
def test_notices(section: str, key: str, value: str, reason: str) -> None:
    _, notices = converted(changed(MOVIELENS, **{section: {key: value}}))
    assert reason in about(notices, section, key)


def test_an_unknown_section_is_told_even_when_it_is_empty() -> None:
    _, notices = converted({"OTHER": {}, **MOVIELENS})
    assert notices[0] == "a/study.ini:1: [OTHER] unknown section"


@pytest.mark.parametrize(
    ("section", "key", "value", "unknown"),
    [("DATASET", "dataset_class", "Reddit", "data"), ("SHARING", "sharing_class", "JWINS", "sharing")],
)
def test_a_class_without_counterpart_is_refused_by_check(section: str, key: str, value: str, unknown: str) -> None:
    result = convert(ini(changed(CIFAR, **{section: {key: value}})), "study.ini")
    with pytest.raises(ConfigError, match=f"unknown {unknown} '{value}'"):
        config.parse(result.toml, BuiltIn())


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("x = 1\n", "x.ini:1: not INI: expected a [SECTION] before the first key, not 'x = 1'"),
        ("[A]\nx = 1\nword\n", "x.ini:3: not INI: neither [SECTION] nor KEY = VALUE"),
        ("[A]\nx = 1\nx = 2\n", "x.ini:3: [A] key x was given before"),
        ("[A]\n[A]\n", "x.ini:2: [A] section was given before"),
    ],
)
def test_broken_files(text: str, mistake: str) -> None:
    assert mistakes(text) == (mistake,)


def test_all_wrong_values_at_once() -> None:
    wrong = changed(
        CIFAR,
        DATASET={"random_seed": "1.5", "partition_niid": "other", "sizes": "[0.5; 0.5]", "model_class": "-"},
        TRAIN_PARAMS={"full_epochs": "maybe"},
        SHARING={"sharing_class": "PartialModel", "alpha": "nan"},
    )
    lines = ini(wrong).splitlines()
    told = [re.fullmatch(r"x\.ini:(\d+): (.*)", mistake) for mistake in mistakes(ini(wrong))]
    assert [(lines[int(match[1]) - 1], match[2]) for match in told if match] == [
        ("[DATASET]", "[DATASET] model_class is missing; every configuration of decentralizepy has it"),
        ("sizes = [0.5; 0.5]", "[DATASET] sizes should be a list of numbers such as [0.1, 0.2], not '[0.5; 0.5]'"),
        ("random_seed = 1.5", "[DATASET] random_seed should be a whole number, not '1.5'"),
        (
            "partition_niid = other",
            "[DATASET] partition_niid should be iid, simple, kshard or dirichlet, not 'other'",
        ),
        ("full_epochs = maybe", "[TRAIN_PARAMS] full_epochs should be True or False, not 'maybe'"),
        ("alpha = nan", "[SHARING] alpha should be a finite number, not 'nan'"),
    ]
    assert [line.split(" is missing")[0] for line in mistakes("")] == [
        "x.ini: [DATASET] dataset_class",
        "x.ini: [DATASET] model_class",
        "x.ini: [OPTIMIZER_PARAMS] optimizer_class",
        "x.ini: [TRAIN_PARAMS] loss_class",
        "x.ini: [SHARING] sharing_class",
    ]


def test_values_are_never_evaluated(tmp_path: Path) -> None:
    victim = tmp_path / "made"
    attack = f"__import__('pathlib').Path({str(victim)!r}).touch()"
    assert len(mistakes(ini(changed(CIFAR, DATASET={"sizes": attack})))) == 1
    keys = {"sharing_class": "RandomAlpha", "alpha_list": attack}
    assert len(mistakes(ini(changed(CIFAR, SHARING=keys)))) == 1
    assert not victim.exists()


def test_text_that_toml_must_escape() -> None:
    path = 'C:\\x "y" \x07 é'
    document, _ = converted(changed(CIFAR, NODE={"graph_file": path}, DATASET={"dataset_class": "a\x07b"}))
    assert document["topology"]["path"] == path


# Which tables of the TOML a section of the INI goes to.
TABLES_OF = {
    "DATASET": ("", "data", "model"),
    "OPTIMIZER_PARAMS": ("training",),
    "TRAIN_PARAMS": ("training",),
    "COMMUNICATION": ("network", "sharing"),
    "SHARING": ("algorithm", "sharing", "mixing"),
    "NODE": ("topology",),
}
WHOLE, NUMBER, BOOLEAN, LIST, TEXT = (
    ["7", "65500"],
    ["0.5", "1"],
    ["True", "no"],
    ["[0.5, 0.5]", "0.1,0.2"],
    ["a b.c:d"],
)
KEYS = {
    "DATASET": {
        "sizes": LIST,
        "n_procs": WHOLE,
        "random_seed": WHOLE,
        "only_local": BOOLEAN,
        "partition_niid": ["iid", "simple", "kshard", "dirichlet"],
        "alpha": NUMBER,
        "shards": WHOLE,
        "validation_source": ["Train", "Test"],
        "validation_size": NUMBER,
        "train_dir": TEXT,
        "images_dir": TEXT,
        "test_batch_size": WHOLE,
        "dataset_package": [*TEXT, "decentralizepy.datasets"],
    },
    "OPTIMIZER_PARAMS": {
        "momentum": NUMBER,
        "nesterov": [*BOOLEAN, "None"],
        "name": TEXT,
        "optimizer_package": [*TEXT, "torch.optim"],
    },
    "TRAIN_PARAMS": {
        "rounds": WHOLE,
        "full_epochs": BOOLEAN,
        "batch_size": WHOLE,
        "shuffle": BOOLEAN,
        "training_class": [*TEXT, "Training"],
        "training_package": TEXT,
        "loss": ["nll_loss", *TEXT],
        "loss_package": [*TEXT, "torch.nn"],
    },
    "COMMUNICATION": {
        "offset": WHOLE,
        "recv_timeout": WHOLE,
        "comm_class": ["TCP", *TEXT],
        "comm_package": TEXT,
        "addresses_filepath": TEXT,
        "compress": BOOLEAN,
        "compression_class": TEXT,
    },
    "SHARING": {
        "alpha": NUMBER,
        "alpha_list": LIST,
        "metadata_cap": NUMBER,
        "accumulation": BOOLEAN,
        "accumulate_averaging_changes": BOOLEAN,
        "random_sharing": BOOLEAN,
        "compress": BOOLEAN,
        "float_precision": WHOLE,
        "layerwise": BOOLEAN,
        "save_shared": BOOLEAN,
        "sharing_package": TEXT,
    },
    "NODE": {"graph_file": TEXT, "graph_type": ["edges", "adjacency"], "graph_degree": WHOLE},
    "OTHER": {"rounds": WHOLE},
}
REQUIRED = {
    ("DATASET", "dataset_class"): [*DATA_SETS, "Reddit"],
    ("DATASET", "model_class"): ["CNN", "LeNet", "MLP", "MatrixFactorization", "LSTM"],
    ("OPTIMIZER_PARAMS", "optimizer_class"): ["SGD"],
    ("TRAIN_PARAMS", "loss_class"): ["MSELoss"],
    ("SHARING", "sharing_class"): [*SHARING, "PlainAverageSharing", "JWINS"],
}
NAMES = st.text("abcXYZ019_.-é", min_size=1, max_size=8)


@st.composite
def any_ini(draw: st.DrawFn) -> Sections:
    """What every file needs, some known keys with any values, and some keys that nobody knows."""
    sections: Sections = {}
    for (section, key), values in REQUIRED.items():
        sections.setdefault(section, {})[key] = draw(st.sampled_from(values))
    known = st.sampled_from([(section, key) for section, keys in KEYS.items() for key in keys])
    unknown = st.tuples(st.sampled_from([*KEYS, "default", "DEFAULT"]), NAMES)
    for section, key in draw(st.lists(known | unknown, max_size=20, unique=True)):
        values = ["", *KEYS.get(section, {}).get(key, TEXT)]
        sections.setdefault(section, {}).setdefault(key, draw(st.sampled_from(values)))
    return sections


def parts_of(toml: str) -> dict[str, str]:
    """The text of each table, comments included."""
    top, *tables = re.split(r"^\[(\w+)\]", toml, flags=re.MULTILINE)
    return {"": top, **dict(zip(tables[::2], tables[1::2], strict=True))}


def mentioned(section: str, key: str, result: Converted) -> bool:
    word = re.compile(rf"(?<![\w.-]){re.escape(key)}(?![\w.-])")
    parts = parts_of(result.toml)
    tables = (parts.get(table, "") for table in TABLES_OF.get(section, ()))
    noticed = (notice.partition(f": [{section}] ")[2] for notice in result.notices)
    return any(word.search(text) for text in (*tables, *noticed))


@settings(deadline=None, max_examples=300)
@given(sections=any_ini())
def test_no_key_is_dropped_in_silence(sections: Sections) -> None:
    result = convert(ini(sections), "x.ini")
    tomllib.loads(result.toml)
    lost = [(section, key) for section, keys in sections.items() for key in keys if not mentioned(section, key, result)]
    assert not lost, f"{lost}\n{result.toml}\n{result.notices}"
