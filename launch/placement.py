"""Which machine of the run this is, as the program that started it says in its environment variables.

The innermost starter counts: torchrun and mpirun often run below Slurm, and all of them run below Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from decentralized.errors import StartError
from launch.ip_map import LOCAL, IpMap, Machine
from launch.via.slurm_nodes import agent_port, hosts

Environment = Mapping[str, str]

# Ids of steps that Slurm makes by itself (batch script, interactive shell, ...) begin here: nothing was placed by them.
FIRST_SPECIAL_STEP = 0xFFFFFFF0
ALONE = "For a run on this machine alone say --machine 0."


@dataclass(frozen=True)
class Placement:
    """This agent's place among all."""

    machine: int
    machines: int | None
    """How many there are, where the starter says so."""
    ip_map: IpMap | None
    """The address book, where the starter knows it."""
    by: str
    """The starter, for messages."""

    def checked(self, given: IpMap | None) -> IpMap:
        """The address book of the run: the given one, else the starter's. Raises StartError when it does not fit."""
        ip_map = given or self.ip_map or (LOCAL if self.machines == 1 else None)
        if ip_map is None:
            number = "" if self.machines is None else f" of {self.machines}"
            raise StartError(
                f"{self.by} started this as machine {self.machine}{number} and does not say where the others are",
                f"Give the addresses with --ip-map. {ALONE}",
            )
        count = len(ip_map.machines)
        if self.machines not in (None, count):
            raise StartError(f"{self.by} started {self.machines} agents, the IP map has {_machines(count)}", ALONE)
        if self.machine >= count:
            raise StartError(f"{self.by} started machine {self.machine}, the IP map has {_machines(count)}", ALONE)
        return ip_map


def detect(environ: Environment, hosts_of_slurm: Callable[[Environment], list[str]] = hosts) -> Placement | None:
    """None when this was started by hand. Raises StartError when several agents were started on one machine."""
    return _torchrun(environ) or _open_mpi(environ) or _slurm(environ, hosts_of_slurm) or _kubernetes(environ)


def _torchrun(environ: Environment) -> Placement | None:
    if not {"GROUP_RANK", "GROUP_WORLD_SIZE", "LOCAL_RANK"} <= environ.keys():
        return None
    if _number(environ, "LOCAL_RANK") > 0 or environ.get("LOCAL_WORLD_SIZE", "1") != "1":
        raise StartError(
            "torchrun started several processes on this machine",
            "Start one on each with --nproc-per-node=1: it is the agent, and starts the machine's nodes.",
        )
    return Placement(_number(environ, "GROUP_RANK"), _number(environ, "GROUP_WORLD_SIZE"), None, "torchrun")


def _open_mpi(environ: Environment) -> Placement | None:
    if not {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"} <= environ.keys():
        return None
    rank, size = (_number(environ, f"OMPI_COMM_WORLD_{name}") for name in ("RANK", "SIZE"))
    return Placement(rank, size, None, "Open MPI")


def _slurm(environ: Environment, hosts_of_slurm: Callable[[Environment], list[str]]) -> Placement | None:
    """Only in a job step: the shell of an allocation and its batch script run once, on one of its machines."""
    if not {"SLURM_STEP_ID", "SLURM_NODEID"} <= environ.keys():
        return None
    if _number(environ, "SLURM_STEP_ID") >= FIRST_SPECIAL_STEP:
        return None
    tasks, machines = _number(environ, "SLURM_STEP_NUM_TASKS"), _number(environ, "SLURM_STEP_NUM_NODES")
    if tasks != machines:
        raise StartError(
            f"Slurm started {tasks} tasks on {_machines(machines)}",
            "Start one on each with srun --ntasks-per-node=1: it is the agent, and starts the machine's nodes.",
        )
    machine = _number(environ, "SLURM_NODEID")
    if machines == 1:
        return Placement(machine, 1, None, "Slurm")
    names = hosts_of_slurm(environ)
    if len(names) != machines:
        raise StartError(f"Slurm started {machines} tasks, and its list of machines has {len(names)}")
    book = tuple(Machine(host=name, port=agent_port(environ, index)) for index, name in enumerate(names))
    return Placement(machine, machines, IpMap(book), "Slurm")


def _kubernetes(environ: Environment) -> Placement | None:
    """A pod of an Indexed Job; it does not know how many there are."""
    if not {"JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST"} <= environ.keys():
        return None
    return Placement(_number(environ, "JOB_COMPLETION_INDEX"), None, None, "Kubernetes")


def _number(environ: Environment, name: str) -> int:
    try:
        number = int(environ[name])
    except (KeyError, ValueError):
        number = -1
    if number < 0:
        raise StartError(f"the environment variable {name} is {environ.get(name)!r}: expected a number", ALONE)
    return number


def _machines(count: int) -> str:
    return f"{count} machine" + ("s" if count != 1 else "")
