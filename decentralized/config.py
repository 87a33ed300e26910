"""TOML into frozen, typed, cross-checked settings; all mistakes at once, each with its place in the file.

Nothing here imports torch. Whatever needs the data or the model is checked later, in `build.prepare`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from decentralized.errors import ConfigError
from decentralized.places import Places
from decentralized.settings import Catalog, Component, Family, Settings
from decentralized.types import NodeId

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Evaluation(Settings):
    """The [evaluation] table: what is measured, and what it may cost."""

    every: Annotated[int, Field(ge=0)] = 10
    """Rounds between two evaluations; the first comes before training and the last after it. 0: only these two."""
    nodes: Annotated[int, Field(ge=1)] | None = None
    """Evaluate only so many nodes, spread evenly; all when not given."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """Evaluate on so many test samples, the same ones each time, drawn by the seed; all when not given."""
    train: bool = False
    """Also measure the loss on the training samples after mixing (train_loss_after)."""
    weights: bool = False
    """Write the mixing weights of each round into the metrics."""


class Network(Settings):
    """The [network] table."""

    transport: Literal["tcp", "memory"] = "tcp"
    """Processes that talk ZeroMQ over TCP, or threads of one process that take turns (to debug)."""
    deadline_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds that a node waits while nothing arrives from the peer it waits for."""
    start_deadline_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that machines wait for each other at the start: people start them by hand."""
    ports: tuple[int, int] | None = None
    """First and last port that nodes may listen on; any free port when not given."""

    @model_validator(mode="after")
    def _ports_in_order(self) -> Self:
        if self.ports is not None and not 0 < self.ports[0] <= self.ports[1] < 65536:
            raise ValueError("ports are [first, last] with 0 < first <= last < 65536")
        return self


class Processes(Settings):
    """The [processes] table."""

    start: Literal["auto", "fork", "spawn"] = "auto"
    """Fork nodes from a warm parent (Linux), or spawn each from nothing (slower, and the same results)."""


class Experiment(Settings):
    """A whole configuration."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = "experiment"
    """Names the run directory and the curves."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 90
    """All randomness of the run follows from it."""
    nodes: Annotated[int, Field(ge=1, le=100_000)]
    """Node processes over all machines."""
    topology: Annotated[Component, Family("topology")]
    data: Annotated[Component, Family("data")]
    model: Annotated[Component, Family("model")]
    training: Annotated[Component, Family("learner", "sgd")] = Field(default={}, validate_default=True)
    algorithm: Annotated[Component, Family("algorithm")]
    sharing: Annotated[Component, Family("sharing", "full")] = Field(default={}, validate_default=True)
    mixing: Annotated[Component, Family("mixing", "metropolis-hastings")] = Field(default={}, validate_default=True)
    evaluation: Evaluation = Evaluation()
    network: Network = Network()
    processes: Processes = Processes()

    @model_validator(mode="after")
    def _enough_ports(self) -> Self:
        ports = self.network.ports
        if ports is not None and ports[1] - ports[0] + 1 < self.nodes:
            raise ValueError(f"network.ports holds {ports[1] - ports[0] + 1} ports, fewer than {self.nodes} nodes")
        return self


def evaluated_nodes(evaluation: Evaluation, nodes: int) -> frozenset[NodeId]:
    """Which nodes are evaluated: `evaluation.nodes` of them, spread evenly."""
    count = min(evaluation.nodes or nodes, nodes)
    return frozenset(i * nodes // count for i in range(count))


def load(path: Path, catalog: Catalog, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check a configuration file; `overrides` are KEY=VALUE with dotted keys and TOML values.

    Raises ConfigError with every mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8: {error}"]) from None
    return parse(text, catalog, str(path), overrides)


def parse(text: str, catalog: Catalog, name: str = "configuration", overrides: Sequence[str] = ()) -> Experiment:
    """Check the text of a configuration; `name` stands for the file in messages. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{name}: not TOML: {error}"]) from None
    for override in overrides:
        _override(document, override)
    document = _frozen(document)
    try:
        return Experiment.model_validate(document, context=catalog)
    except ValidationError as error:
        places = Places(text, name)
        raise ConfigError([_describe(item, document, catalog, places) for item in error.errors()]) from None


def dump(experiment: Experiment) -> str:
    """The configuration as TOML, every default written out; `parse` gives the same experiment."""
    return tomli_w.dumps(_without_none(experiment.model_dump(mode="python")))


def _override(document: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not separator or not all(names):
        raise ConfigError([f"--set {override}: expected KEY=VALUE, for example sharing.alpha=0.3"])
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a string
    table = document
    for name in names[:-1]:
        if isinstance(table.get(name), str):  # partition = "iid" is short for a table
            table[name] = {"name": table[name]}
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError([f"--set {override}: {name} is not a table"])
    table[names[-1]] = parsed


def _frozen(value: Any) -> Any:
    """Lists as tuples, which is what frozen settings hold."""
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, (list, tuple)) else value


def _describe(item: Any, document: Mapping[str, Any], catalog: Catalog, places: Places) -> str:
    location = tuple(str(part) for part in item["loc"])
    key = ".".join(location)
    place = places.of(location)
    if item["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], document, catalog)
        return f"{place}: unknown key '{key}'{nearest(location[-1], known)}"
    if item["type"] == "missing":
        return f"{place}: '{key}' is missing"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if item["type"] in ("value_error", "component"):
        return f"{place}: {key + ': ' if key else ''}{message}"
    return f"{place}: '{key}' should be {message}, not {item['input']!r}"


def nearest(name: str, known: Sequence[str]) -> str:
    """ "; did you mean 'x'?", or what there is."""
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(sorted(known))}"


def _known_keys(location: Sequence[str], document: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """The keys that the table at `location` may have."""
    model: type[Settings] = Experiment
    table: Any = document
    for name in location:
        field = model.model_fields.get(name)
        table = table.get(name, {}) if isinstance(table, Mapping) else {}
        if field is None:
            return []
        families = [mark for mark in field.metadata if isinstance(mark, Family)]
        if families:
            component = table.get("name", families[0].default) if isinstance(table, Mapping) else table
            model = catalog.settings_of(families[0].name, str(component))
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            model = field.annotation
    return list(model.model_fields)
