"""What two machines must have in common, and how a difference is told: with both sides of it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

import msgspec

from decentralized import __version__
from decentralized.control import Abort
from decentralized.errors import HelloMismatch
from decentralized.lazy import torch
from decentralized.link import MAGIC
from launch.plan import Plan

if TYPE_CHECKING:
    from decentralized.prepare import Prepared

Identity = Mapping[str, str]

PACKAGES = ("torch", "numpy")  # other releases may draw other numbers from the same seed
TOLERATED = ("processor capability", "Python")  # a run goes on, perhaps to other last digits
SHOWN = 5  # differences in one message
MISSING = "nothing"


def before_start(plan: Plan) -> dict[str, str]:
    """What an agent knows by itself: versions, and each setting of the configuration and the IP map."""
    versions = {package: _version(package) for package in PACKAGES}
    return {
        "decentralized": __version__,
        "protocol": MAGIC.decode(),
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **versions,
        **dict(_flat("", plan.experiment.model_dump(mode="json"))),
        **dict(_flat("IP map: ", plan.ip_map.entries())),
    }


def when_warm(prepared: Prepared) -> dict[str, str]:
    """What a fork server knows once it has loaded everything."""
    shapes = [(name, tuple(tensor.shape)) for name, tensor in prepared.template.state_dict().items()]
    return {
        "nodes of the graph": str(len(prepared.graph.targets)),
        "graph": prepared.graph_hash,
        "data set": prepared.data_hash,
        "parameters of the model": hashlib.blake2b(repr(shapes).encode(), digest_size=8).hexdigest(),
        "processor capability": str(torch.backends.cpu.get_cpu_capability()),
    }


def differences(here: Identity, there: Identity, who: str) -> tuple[Abort | None, list[str]]:
    """Why machine `who` may not take part, if so; and what is only worth a warning. `here` is machine 0."""
    fatal: list[str] = []
    harmless: list[str] = []
    for name in {**here, **there}:
        mine, other = here.get(name, MISSING), there.get(name, MISSING)
        if mine != other:
            (harmless if name in TOLERATED else fatal).append(f"{name}: {other} there, {mine} on machine 0")
    warnings = [f"{who} differs in {line}" for line in harmless]
    if not fatal:
        return None, warnings
    more = f"; and {len(fatal) - SHOWN} more" if len(fatal) > SHOWN else ""
    message = f"{who} does not run the same thing: {'; '.join(fatal[:SHOWN])}{more}"
    return Abort(HelloMismatch.__name__, message, HelloMismatch.advice, HelloMismatch.exit_code), warnings


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    """Dotted names and values of nested tables."""
    if not isinstance(value, Mapping):
        return [(prefix.removesuffix("."), msgspec.json.encode(value).decode())]
    return [pair for key, item in value.items() for pair in _flat(f"{prefix}{key}.", item)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return MISSING
