"""[OPTIMIZER_PARAMS] and [TRAIN_PARAMS] of decentralizepy: how a node trains."""

from __future__ import annotations

from decentralized.import_ini.names import LOSS_FUNCTIONS
from decentralized.import_ini.reading import ABSENT, NOTHING, Ini, boolean, literal, text, whole
from decentralized.import_ini.writing import Table

OPTIMIZER, SECTION = "OPTIMIZER_PARAMS", "TRAIN_PARAMS"


def training_table(ini: Ini) -> Table:
    """The [training] table."""
    table = Table("training", ini.package(SECTION, "training_package"))
    table.add("optimizer", _optimizer(ini), _class(ini, OPTIMIZER, "optimizer", "torch.optim"))
    table.add("loss", _loss(ini), _class(ini, SECTION, "loss", "torch.nn"))
    batch = ini.take(SECTION, "batch_size", whole, 1)
    table.add("batch_size", batch.value, batch.origin)
    _length(ini, table)
    table.add("reset_optimizer", False, f"{ABSENT}: --reset_optimizer, which decentralizepy's scripts set to 0")
    if ini.take(SECTION, "shuffle", boolean, False).value:
        table.remark("shuffle = True: batches are always drawn in random order here")
    else:
        ini.leave(SECTION, "shuffle", "batches are always drawn in random order here")
    trainer = ini.take(SECTION, "training_class", text, "Training")
    if trainer.value == "Training":
        table.remark("training_class: plain local training")
    else:
        ini.leave(SECTION, "training_class", f"{NOTHING}; plain local training is used")
    return table


def _class(ini: Ini, section: str, what: str, module: str) -> str:
    """A comment that names the keys of a class: it comes from its module of torch."""
    package = ini.package(section, f"{what}_package", module)
    return f"{what}_class" + (f"; {package}" if package else "")


def _optimizer(ini: Ini) -> dict[str, object]:
    """The class and every other key of the section, which decentralizepy hands to it as arguments."""
    arguments: dict[str, object] = {"name": ini.require(OPTIMIZER, "optimizer_class")}
    ini.leave(OPTIMIZER, "name", "the optimizer's class stands in optimizer_class")
    for key in ini.unused(OPTIMIZER):
        if key == "optimizer_package":
            continue
        argument = ini.take(OPTIMIZER, key, literal, None)
        if argument.value in (None, "None"):
            ini.leave(OPTIMIZER, key, "the optimizer's default is used")
        else:
            arguments[key] = argument.value
    return arguments


def _loss(ini: Ini) -> str:
    """`loss_class` is a class; `loss`, in its place, a function."""
    function = ini.take(SECTION, "loss", text, "")
    if ini.has(SECTION, "loss_class") or not function.given:
        ini.leave(SECTION, "loss", "loss_class says which loss it is")
        return ini.require(SECTION, "loss_class")
    loss = LOSS_FUNCTIONS.get(function.value, function.value)
    ini.leave(SECTION, "loss", "losses here are classes" + (f": {loss}" if loss != function.value else ""))
    return loss


def _length(ini: Ini, table: Table) -> None:
    rounds = ini.take(SECTION, "rounds", whole, 1)
    epochs = ini.take(SECTION, "full_epochs", boolean, False)
    table.add(
        "local_epochs" if epochs.value else "local_steps",
        rounds.value,
        f"{rounds.label('rounds')}, {epochs.label('full_epochs')}",
    )
    if not epochs.value:
        ini.say(
            SECTION,
            "rounds",
            "rounds: decentralizepy shuffles anew in each round, here mini-batches go on through the epoch",
        )
