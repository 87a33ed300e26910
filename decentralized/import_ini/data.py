"""[DATASET] of decentralizepy: the data set, how it is divided, and the model."""

from __future__ import annotations

from decentralized.import_ini.names import OTHER_MODELS, DataSet
from decentralized.import_ini.reading import ABSENT, NOTHING, Ini, boolean, number, text, whole
from decentralized.import_ini.writing import Table
from decentralized.mistakes import shown

SECTION = "DATASET"


def data_table(ini: Ini, data_class: str, data: DataSet | None) -> Table:
    """The [data] table. A class without a counterpart keeps its name, for `check` to refuse."""
    table = Table("data", ini.package(SECTION, "dataset_package"))
    if data is None:
        table.add("name", data_class, f"dataset_class; {NOTHING}")
        ini.say(SECTION, "dataset_class", f"dataset_class = {data_class}: {NOTHING}")
    else:
        table.add("name", data.name, f"dataset_class = {data_class}")
        if data.differs:
            ini.say(SECTION, "dataset_class", f"dataset_class = {data_class}: {data.differs}")
    if data and data.by_user:
        table.add("partition", "by-user", "as decentralizepy divides it")
        for key in ("partition_niid", "alpha", "shards"):
            ini.leave(SECTION, key, "this data set is divided by user")
    else:
        _partition(ini, table)
    if data_class == "MovieLens":
        table.add("test", "local", "decentralizepy tests a node on the ratings of its own users")
        table.add("train_fraction", 0.7, "of each user's ratings, as in decentralizepy")
    _validation(ini, table)
    _places(ini, data)
    return table


def _partition(ini: Ini, table: Table) -> None:
    kind = ini.take(SECTION, "partition_niid", text, "simple")
    rule = kind.value.lower()
    if rule in ("iid", "false", "no", "0"):
        table.add("partition", "iid", kind.origin)
    elif rule == "simple":
        origin = f"{ABSENT}: by default" if kind.origin == ABSENT else f"{kind.origin}:"
        table.add("partition", "iid", f"{origin} consecutive samples, which the file has in random order")
    elif rule in ("kshard", "true", "yes", "1"):
        shards = ini.take(SECTION, "shards", whole, 1)
        origin = f"partition_niid = {kind.value}, shards" + ("" if shards.given else f" {ABSENT}")
        table.add("partition", {"name": "shards", "shards_per_node": shards.value}, origin)
    elif rule == "dirichlet":
        alpha = ini.take(SECTION, "alpha", number, 100.0)
        origin = f"partition_niid = {kind.value}, alpha" + ("" if alpha.given else f" {ABSENT}")
        table.add("partition", {"name": "dirichlet", "alpha": alpha.value}, origin)
    else:
        ini.refuse(SECTION, "partition_niid", f"should be iid, simple, kshard or dirichlet, not {shown(kind.value)}")
    for key in ("alpha", "shards"):
        if key in ini.unused(SECTION):
            ini.leave(SECTION, key, f"has no effect with partition_niid = {kind.value}")


def _validation(ini: Ini, table: Table) -> None:
    source = ini.take(SECTION, "validation_source", text, "")
    size = ini.take(SECTION, "validation_size", number, 0.0)
    if source.value.lower() == "train" and 0 < size.value < 1:
        table.add("validation", size.value, "validation_size, of each node's samples as validation_source = Train")
        return
    what = "only a fraction of the training samples can be kept for validation"
    ini.leave(SECTION, "validation_source", what)
    ini.leave(SECTION, "validation_size", what)


def _places(ini: Ini, data: DataSet | None) -> None:
    """Folders and sizes that are not part of the experiment."""
    where = f"give the folder that holds {data.folder} with --data" if data else "give the data root with --data"
    for key in ("train_dir", "test_dir", "images_dir"):
        ini.leave(SECTION, key, where)
    ini.leave(SECTION, "test_batch_size", "the size of evaluation batches changes no result here")
    ini.take(SECTION, "only_local", boolean, False)
    ini.leave(SECTION, "only_local", "all machines divide the data together here")


def model_table(ini: Ini, data: DataSet | None) -> Table:
    """The [model] table. A class without a counterpart keeps its name, for `check` to refuse."""
    name = ini.require(SECTION, "model_class")
    model = (data.models if data else {}).get(name) or OTHER_MODELS.get(name)
    table = Table("model")
    if model is None:
        table.add("name", name, f"model_class; {NOTHING}")
        ini.say(SECTION, "model_class", f"model_class = {name}: {NOTHING}")
        return table
    table.add("name", model.name, f"model_class = {name}")
    for key, (value, comment) in model.settings.items():
        table.add(key, value, comment)
    if model.differs:
        ini.say(SECTION, "model_class", f"model_class = {name}: {model.differs}")
    return table
