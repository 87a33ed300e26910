"""All that a node must remember to go on as if nothing had happened, put together from its parts."""

from __future__ import annotations

import hashlib
from typing import Any

from decentralized import config
from decentralized.errors import StateError
from decentralized.interfaces import Algorithm, Context, Stateful
from decentralized.prepare import Prepared
from decentralized.types import State

LAYOUT = 1  # of the state of all components; a new one cannot read the check-points of the old one


class NodeMemory:
    """Takes and puts back the state of one node's parts; those without memory are left out."""

    def __init__(self, prepared: Prepared, context: Context, algorithm: Algorithm) -> None:
        parts = {
            "learner": context.learner,
            "sharing": context.sharing,
            "mixing": context.mixer,
            "topology": context.topology,
            "algorithm": algorithm,
            "channel": context.channel,
        }
        self._parts: dict[str, Stateful] = {name: part for name, part in parts.items() if isinstance(part, Stateful)}
        self._context = context
        experiment = config.dump(prepared.experiment)
        self._identity = {
            "layout": LAYOUT,
            "configuration": hashlib.blake2b(experiment.encode(), digest_size=8).hexdigest(),
            "data": prepared.data_hash,
            "model": context.learner.schema(),
            "parts": sorted(self._parts),
        }

    def take(self, log: State) -> State:
        """The state to save; `log` is that of the metrics."""
        parts = {name: part.state() for name, part in self._parts.items()}
        return {"identity": self._identity, "log": log, "totals": dict(self._context.totals), "parts": parts}

    def put_back(self, saved: Any) -> None:
        """Raises StateError when the run is not the one that was saved."""
        for name, mine in self._identity.items():
            if saved["identity"].get(name) != mine:
                raise StateError(
                    f"the check-point was made with another {name}: {saved['identity'].get(name)}, now {mine}",
                    "Restore what was changed (configuration, data, version of this package), or start a new run.",
                )
        self._context.totals.update(saved["totals"])
        for name, part in self._parts.items():
            part.restore(saved["parts"][name])
