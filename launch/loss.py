"""How a node was lost, in words for people: which node, in which round, how, and what to do."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from decentralized.control import Exited, Failed, Silent
from decentralized.errors import DecentralizedError, NetworkError, NodeFailed, PeerSilent
from decentralized.types import NodeId

NEEDS = "`decentralized check CONFIG` says what the run needs."
MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError")
NO_MEMORY = "allocate memory"  # what torch says of it in a RuntimeError


@dataclass(frozen=True)
class Loss:
    """One lost node. `error` is the class of what it raised, if it raised."""

    node: NodeId
    what: str
    advice: str = ""
    exit_code: int = NodeFailed.exit_code
    error: str = ""

    @staticmethod
    def failed(fact: Failed) -> Loss:
        """A node that raised: the exception's last line."""
        where = f"node {fact.node} failed {_after(fact.round)}: {fact.error}: "
        if fact.error == NodeFailed.__name__:  # nodes that are threads of one process: the message names the node
            where = ""
        own_code = fact.exit_code if fact.exit_code != DecentralizedError.exit_code else NodeFailed.exit_code
        no_memory = fact.error in MEMORY_ERRORS or NO_MEMORY in fact.message
        advice = fact.advice or (f"It was out of memory: {NEEDS}" if no_memory else "")
        return Loss(fact.node, where + fact.message, advice, own_code, fact.error)

    @staticmethod
    def exited(fact: Exited, round: int) -> Loss:
        """A node that ended without a word after `round`."""
        what = f"node {fact.node} {how_it_ended(fact.status, fact.out_of_memory)} {_after(round)}"
        return Loss(fact.node, what, memory_advice(fact.status, fact.out_of_memory))

    @staticmethod
    def silent(fact: Silent, round: int) -> Loss:
        """A node of which a peer has heard nothing for the deadline."""
        what = f"node {fact.peer} has been silent for {fact.seconds:.0f} s {_after(round)}, says node {fact.node}"
        return Loss(fact.peer, what, PeerSilent.advice, NetworkError.exit_code)

    def after(self, history: str) -> Loss:
        """The same, with what had been tried."""
        return replace(self, what=f"{self.what} ({history})")


def _after(round: int) -> str:
    """`round` is the last completed one; what came next may have been an evaluation."""
    return f"after round {round}" if round else "before the end of round 1"


def how_it_ended(status: int, out_of_memory: bool) -> str:
    """The end of a process from its exit code, or from minus the signal that killed it."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal
        name = f"signal {-status}"
    return f"was killed by {name}{' (out of memory)' * out_of_memory}"


def memory_advice(status: int, out_of_memory: bool) -> str:
    """Of a process that was killed: systems that run out of memory kill, and do not always say why."""
    if status != -signal.SIGKILL:
        return ""
    return f"{'The' if out_of_memory else 'Perhaps the'} system ran out of memory: {NEEDS}"
