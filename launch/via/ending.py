"""How a launch ends: making sure that nothing is left running, and saying whose fault it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decentralized.errors import DecentralizedError, Interrupted, NetworkError
from launch.via.parallel import run_all
from launch.via.remote import ATTACHED, SSH_FAILED, Remote

WAIT_S = 10  # how long an agent may take to notice that its launcher is gone
KILL_S = 30.0 + WAIT_S  # connecting, waiting and killing
GO_ON = "Go on with:"  # how an agent says that the run can be resumed; the launcher has a command of its own for it


@dataclass(frozen=True)
class End:
    """How one machine's agent, or the ssh that carried it, ended; `told`: because this launcher said so."""

    machine: int
    status: int
    told: bool
    errors: str

    @property
    def lost(self) -> bool:
        """The connection or the agent broke off: the agent itself has not said how it ended."""
        return self.status == SSH_FAILED or self.status < 0

    @property
    def message(self) -> str:
        """The error with which the agent ended; warnings may come before it."""
        _, _, last = f"\n{self.errors}".rpartition("\nerror: ")
        return last.partition(f"\n{GO_ON}")[0].strip()


def blame(ends: Sequence[End], machines: Sequence[object], resume: str) -> DecentralizedError | None:
    """Why the launch failed, from all ends in their order; None if it did not.

    What ended because it was told to explains nothing. Machine 0 knows best, unless it is the one that was lost.
    """
    causes = [end for end in ends if end.status != 0 and not end.told]
    if not causes:
        late = [str(machines[end.machine]) for end in ends if end.status != 0]
        return NetworkError(f"{', '.join(late)}: did not end by itself and was stopped") if late else None
    cause = next((end for end in causes if end.machine == 0 and not end.lost), causes[0])
    if cause.status == Interrupted.exit_code:  # an agent that has lost its launcher also stops the others
        cause = next((end for end in causes if end.lost), cause)
    where = str(machines[cause.machine])
    if cause.lost:
        return NetworkError(f"{where}: its agent or the connection to it was lost", cause.errors)
    kind = Interrupted if cause.status == Interrupted.exit_code else DecentralizedError
    error = kind(
        cause.message if cause.machine == 0 else f"{where}: {cause.message}",
        f"{GO_ON} {resume}" if GO_ON in cause.errors else "",
    )
    error.exit_code = cause.status
    return error


def remarks(ends: Sequence[End], machines: Sequence[object], error: DecentralizedError | None) -> list[str]:
    """What agents left on standard error, but for that error, and for what was said by those that were told to end."""
    known = "" if error is None else f"{error}\n{error.advice}"
    lines = [(end.machine, line.removeprefix("error: ")) for end in ends if not end.told for line in _lines(end)]
    return [f"{machines[machine]}: {line}" for machine, line in lines if line not in known]


def _lines(end: End) -> list[str]:
    return [line for line in end.errors.splitlines() if line.strip() and not line.startswith(GO_ON)]


def kill_rest(machines: Sequence[Remote], ends: Sequence[End], pids: Mapping[int, int]) -> list[str]:
    """Where an end is not certain, wait for the agent and kill its process group there; returns what was done."""
    doubtful = [machines[end.machine] for end in ends if end.lost and end.machine in pids]
    said = []
    done = run_all({remote.machine: remote.shell(_kill(pids[remote.machine])) for remote in doubtful}, KILL_S)
    for machine, result in done.items():
        who = f"{machines[machine]}: process {pids[machine]}"
        if result.status:
            said.append(f"{who} may still be there: {result.reason}")
        elif result.out.strip():
            said.append(f"{who} did not end and was killed")
    return said


def _kill(pid: int) -> str:
    """Only an agent is killed: its number may belong to another process by now."""
    arguments = f"$(tr '\\0' ' ' </proc/{pid}/cmdline 2>/dev/null || ps -o args= -p {pid})"
    is_there = f'case "{arguments}" in *{ATTACHED}*) true;; *) false;; esac'
    wait = f"left={WAIT_S}; while {is_there} || exit 0; [ $left -gt 0 ]; do left=$((left - 1)); sleep 1; done"
    return f"{wait}; kill -s KILL -- -{pid} && echo killed"
