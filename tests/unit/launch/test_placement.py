"""Which machine this is, as Slurm, Open MPI, torchrun and Kubernetes say it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from decentralized.errors import StartError
from launch.ip_map import LOCAL, IpMap, Machine
from launch.placement import Placement, detect

TORCHRUN = {"GROUP_RANK": "1", "GROUP_WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_NODELIST": "n[1-3]",
}
KUBERNETES = {"JOB_COMPLETION_INDEX": "2", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
THREE = IpMap(tuple(Machine(host=f"n{number}") for number in (1, 2, 3)))
OF_SLURM = IpMap(tuple(Machine(host=f"n{number}", port=20_678 + number) for number in (1, 2, 3)))  # of job 7


def hosts(environ: Mapping[str, str]) -> list[str]:
    assert environ["SLURM_STEP_NODELIST"] == "n[1-3]"
    return ["n1", "n2", "n3"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        (TORCHRUN, Placement(1, 3, None, "torchrun")),
        (OPEN_MPI, Placement(2, 3, None, "Open MPI")),
        (SLURM, Placement(2, 3, OF_SLURM, "Slurm")),
        (KUBERNETES, Placement(2, None, None, "Kubernetes")),
        ({**KUBERNETES, **SLURM, **OPEN_MPI, **TORCHRUN}, Placement(1, 3, None, "torchrun")),
        ({**KUBERNETES, **SLURM, **OPEN_MPI}, Placement(2, 3, None, "Open MPI")),
        ({**KUBERNETES, **SLURM}, Placement(2, 3, OF_SLURM, "Slurm")),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"}, Placement(2, 1, None, "Slurm")),
        # Not started by these, or not as one of many:
        ({"GROUP_RANK": "1"}, None),
        ({"OMPI_COMM_WORLD_RANK": "2"}, None),
        ({"JOB_COMPLETION_INDEX": "2"}, None),
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, None),
        ({name: text for name, text in SLURM.items() if "STEP" not in name}, None),  # the shell of an allocation
        ({**SLURM, "SLURM_STEP_ID": str(0xFFFFFFFB)}, None),  # a batch script
        ({**SLURM, "SLURM_STEP_ID": str(0xFFFFFFFA)}, None),  # an interactive step
    ],
)
def test_detect(environ: dict[str, str], expected: Placement | None) -> None:
    assert detect(environ, hosts) == expected


@pytest.mark.parametrize(
    ("environ", "message", "advice"),
    [
        ({**TORCHRUN, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, "several processes", "--nproc-per-node=1"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "2"}, "several processes", "--nproc-per-node=1"),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "6"}, "6 tasks on 3 machines", "--ntasks-per-node=1"),
        (
            {**SLURM, "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"},
            "2 tasks on 1 machine$",
            "--ntasks-per-node=1",
        ),
        (
            {**SLURM, "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "4"},
            "4 tasks, and its list of machines has 3",
            "",
        ),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "two"}, "OMPI_COMM_WORLD_RANK is 'two'", "--machine 0"),
        ({**KUBERNETES, "JOB_COMPLETION_INDEX": "-1"}, "JOB_COMPLETION_INDEX is '-1'", "--machine 0"),
    ],
)
def test_what_cannot_be(environ: dict[str, str], message: str, advice: str) -> None:
    with pytest.raises(StartError, match=message) as error:
        detect(environ, hosts)
    assert advice in error.value.advice


def test_the_given_ip_map_comes_first() -> None:
    given = IpMap(tuple(Machine(host=f"10.0.0.{number}") for number in (1, 2, 3)))
    for placement in (Placement(2, 3, THREE, "Slurm"), Placement(2, 3, None, "Open MPI")):
        assert placement.checked(given) is given
    assert Placement(2, 3, THREE, "Slurm").checked(None) is THREE
    assert Placement(0, 1, None, "Slurm").checked(None) is LOCAL
    assert Placement(2, None, None, "Kubernetes").checked(THREE) is THREE


@pytest.mark.parametrize(
    ("placement", "given", "message"),
    [
        (Placement(1, 3, None, "torchrun"), None, "machine 1 of 3 and does not say where the others are"),
        (Placement(1, None, None, "Kubernetes"), None, "machine 1 and does not say"),
        (Placement(1, 2, None, "Open MPI"), THREE, "Open MPI started 2 agents, the IP map has 3 machines"),
        (Placement(0, 1, None, "Slurm"), THREE, "Slurm started 1 agents, the IP map has 3 machines"),
        (Placement(3, None, None, "Kubernetes"), THREE, "Kubernetes started machine 3, the IP map has 3 machines"),
    ],
)
def test_an_address_book_that_does_not_fit(placement: Placement, given: IpMap | None, message: str) -> None:
    with pytest.raises(StartError, match=message) as error:
        placement.checked(given)
    assert "--machine 0" in error.value.advice
