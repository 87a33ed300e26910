"""A configuration of decentralizepy as TOML.

The sections and what they mean: Dresevic, EPFL 2022, section 3.4, and the public code
(github.com/sacs-epfl/decentralizepy). decentralizepy takes the number of processes, the number of rounds, the graph and
the distance of evaluations from its command line; here they get defaults that the TOML marks as "not in the INI".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from decentralized.import_ini.data import data_table, model_table
from decentralized.import_ini.names import DATA_SETS
from decentralized.import_ini.reading import ABSENT, NOTHING, Ini, Taken, boolean, numbers, text, whole
from decentralized.import_ini.sharing import mixing_table, sharing_table
from decentralized.import_ini.training import training_table
from decentralized.import_ini.writing import Table

SECTIONS = ("DATASET", "OPTIMIZER_PARAMS", "TRAIN_PARAMS", "COMMUNICATION", "SHARING", "NODE")
NODES, DEGREE, EVERY = 96, 4, 10  # 96 nodes on a 4-regular graph: section 4.2 of the study
USUAL_ROUNDS = 500
LONGEST_NAME = 100  # characters of an experiment's name
LAST_PORT = 65535


@dataclass(frozen=True)
class Converted:
    """The TOML text, and what it could not carry over or what differs: one line each."""

    toml: str
    notices: tuple[str, ...]


def convert(content: str, name: str) -> Converted:
    """The TOML text for an INI text of decentralizepy; `name` stands for its file in messages.

    Every key of the INI is in the TOML, as a value or in a comment, or in a notice. Classes without a counterpart keep
    their names, which `check` then refuses. Raises ConfigError for text that is not INI, for values of the wrong type,
    and where a class that every experiment needs is not named.
    """
    ini = Ini(content, name)
    nodes = _nodes(ini)
    data_class = ini.require("DATASET", "dataset_class")
    data = DATA_SETS.get(data_class)
    tables = [
        _head(ini, name, nodes),
        _topology(ini),
        data_table(ini, data_class, data),
        model_table(ini, data),
        training_table(ini),
        _algorithm(ini, data.rounds if data else USUAL_ROUNDS),
        sharing_table(ini),
        mixing_table(ini),
        _evaluation(),
        _network(ini, nodes.value),
    ]
    _leave_the_rest(ini)
    notices = ini.finish()
    return Converted("\n".join(table.text() for table in tables if table is not None), notices)


def _nodes(ini: Ini) -> Taken[int]:
    """The command line of decentralizepy counts processes, but `sizes` may give one fraction for each."""
    stated = ini.take("DATASET", "n_procs", whole, NODES)
    sizes = ini.take("DATASET", "sizes", numbers, list[float]())
    if not sizes.given:
        note = "; sizes is empty: equal parts" if sizes.origin != ABSENT else ""
        return Taken(stated.value, stated.given, stated.origin + note)
    count = len(sizes.value)
    if stated.given and stated.value != count:
        ini.leave("DATASET", "sizes", f"these are {count} fractions, and n_procs = {stated.value} counts")
    elif max(sizes.value) != min(sizes.value) or not math.isclose(sum(sizes.value), 1, abs_tol=1e-3):
        ini.leave("DATASET", "sizes", "not supported: parts here are equal, and together all samples")
    if stated.given:
        return Taken(stated.value, True, "n_procs; sizes")
    return Taken(count, True, f"as many as sizes has; {stated.label('n_procs')}")


def _head(ini: Ini, name: str, nodes: Taken[int]) -> Table:
    table = Table()
    table.remark("Converted from an INI file of decentralizepy. The comments name its keys.")
    table.add("name", Path(name).stem[:LONGEST_NAME] or "experiment")
    seed = ini.take("DATASET", "random_seed", whole, 90)
    table.add("seed", seed.value, seed.origin)
    table.add("nodes", nodes.value, nodes.origin)
    return table


def _topology(ini: Ini) -> Table:
    table = Table("topology")
    path = ini.take("NODE", "graph_file", text, "")
    kind = ini.take("NODE", "graph_type", text, "edges")
    degree = ini.take("NODE", "graph_degree", whole, DEGREE)
    if path.given and kind.value == "edges":
        table.add("name", "edge-list", kind.label("graph_type") if kind.origin != ABSENT else "")
        table.add("path", path.value, path.origin)
        ini.leave("NODE", "graph_degree", "graph_file says who the neighbors are")
        return table
    table.add("name", "random-regular", f"{ABSENT}: --graph_file")
    table.add("degree", degree.value, degree.origin)
    ini.leave("NODE", "graph_file", f"not a list of edges, but graph_type = {kind.value}; set [topology] by hand")
    ini.leave("NODE", "graph_type", "set [topology] by hand")
    if degree.given:
        ini.say(
            "NODE", "graph_degree", "graph_degree: epidemic learning redraws the graph in every round, this one stays"
        )
    return table


def _algorithm(ini: Ini, rounds: int) -> Table:
    table = Table("algorithm")
    walk = ini.take("SHARING", "random_sharing", boolean, False)
    table.add("name", "random-walk" if walk.value else "dpsgd", walk.label("random_sharing"))
    table.add("rounds", rounds, f"{ABSENT}: --iterations")
    return table


def _evaluation() -> Table:
    table = Table("evaluation")
    table.add("every", EVERY, f"{ABSENT}: --test_after")
    return table


def _network(ini: Ini, nodes: int) -> Table:
    section = "COMMUNICATION"
    ini.leave(section, "addresses_filepath", "give the file with --ip-map, as it is")
    ini.leave(section, "recv_timeout", "how often decentralizepy looks for messages; nothing here corresponds")
    table = Table("network", ini.package(section, "comm_package"))
    kind = ini.take(section, "comm_class", text, "TCP")
    table.add("transport", "tcp", kind.origin)
    if kind.value != "TCP":
        ini.leave(section, "comm_class", f"{NOTHING}; nodes talk over TCP")
    offset = ini.take(section, "offset", whole, 0)
    first, last = offset.value + 1, offset.value + 2 * nodes
    if offset.given and first > 0 and last <= LAST_PORT:
        table.add("ports", [first, last], "offset; decentralizepy listens on every second one")
    else:
        ini.leave(section, "offset", f"ports up to {last} do not exist; any free port is used")
    return table


def _leave_the_rest(ini: Ini) -> None:
    for section in ini.sections:
        known = section in SECTIONS
        if not known:
            ini.say(section, "", "unknown section")
        for key in ini.unused(section):
            ini.leave(section, key, "unknown key, not carried over" if known else "not carried over")
