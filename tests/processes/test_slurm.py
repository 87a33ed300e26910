"""Jobs on a real Slurm cluster of three machines: to the end, to an error, cancelled, out of time, and inside a job."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.runs import models, run
from tests.processes.slurm_cluster import SlurmCluster, missing
from tests.processes.survival import CONFIG

MISSING = missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SMALL = ("nodes=5", "algorithm.rounds=120", "checkpoint.every=10", "evaluation.every=120")


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(slurm: SlurmCluster) -> Iterator[SlurmCluster]:
    """Nothing of a test is left in it."""
    yield slurm
    jobs = slurm.run("squeue", "--noheader", "--states=PENDING,RUNNING")
    slurm.run("scancel", "--user=root")
    slurm.until(lambda: not slurm.left(), slurm.left)
    assert not jobs


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate") / "closed"


@pytest.fixture
def closed(gate: Path) -> Iterator[Path]:
    """While this file is there, runs are slow."""
    gate.touch()
    yield gate
    gate.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def settings(gate: Path) -> tuple[str, ...]:
    return (*SMALL, f"mixing={{name='tests.processes.gated:Gated', gate='{gate}'}}")


@pytest.fixture(scope="module")
def undisturbed(settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one machine, by hand."""
    return run(CONFIG, tmp_path_factory.mktemp("undisturbed"), *settings)


class Job:
    """A submitted one."""

    def __init__(self, cluster: SlurmCluster, out: Path, settings: tuple[str, ...], machines: int) -> None:
        self._cluster, self._out = cluster, out
        sets = [word for item in (*settings, f"slurm.machines={machines}") for word in ("--set", item)]
        said = cluster.decentralized("launch", str(CONFIG), "--via", "slurm", "--out", str(out), "--no-report", *sets)
        found = re.search(r"submitted job (\d+)", said)
        assert found is not None, said
        self.number = found[1]

    def field(self, name: str) -> str:
        found = re.search(rf"\b{name}=(\S+)", self._cluster.run("scontrol", "show", "job", self.number))
        assert found is not None
        return found[1]

    @property
    def output(self) -> str:
        return "".join(path.read_text() for path in self._out.glob("slurm/*.txt"))

    @property
    def directory(self) -> Path:
        (directory,) = self._out.glob("*/config.toml")
        return directory.parent

    def wait(self, condition: Callable[[], object], end: str = "") -> None:
        """Fails when the job has ended, but for the state `end`."""

        def look() -> object:
            state = self.field("JobState")
            assert state in {"PENDING", "RUNNING", "COMPLETING", end}, state + self.output
            return condition()

        self._cluster.until(look, lambda: self.output)

    def wait_for(self, state: str) -> None:
        self.wait(lambda: self.field("JobState") == state, state)

    def wait_for_checkpoint(self) -> None:
        self.wait(lambda: '"committed"' in self.events(0))

    def events(self, machine: int) -> str:
        return "".join(path.read_text() for path in self._out.glob(f"*/agents/{machine:02d}/events.jsonl"))

    def agent(self, machine: int) -> str:
        """The process id of its agent."""
        return str(json.loads(self.events(machine).splitlines()[0])["pid"])

    def check_files(self) -> None:
        """The key is gone with the job."""
        assert {path.suffix for path in self._out.glob("slurm/*")} == {".sh", ".toml", ".txt"}


def test_a_job_trains_to_the_bits_of_one_machine(
    cluster: SlurmCluster, tmp_path: Path, settings: tuple[str, ...], undisturbed: Path
) -> None:
    job = Job(cluster, tmp_path, (*settings, "slurm.extra=['--comment=of two words']"), machines=3)
    job.wait_for("COMPLETED")
    assert models(job.directory) == models(undisturbed)
    hosts = [entry["host"] for entry in json.loads((job.directory / "ip_map.json").read_text()).values()]
    assert hosts == ["node1", "node2", "node3"]
    assert "Comment=of two words" in cluster.run("scontrol", "show", "job", job.number)
    job.check_files()


@pytest.mark.usefixtures("closed")
def test_an_agent_that_dies_ends_the_job(cluster: SlurmCluster, tmp_path: Path, settings: tuple[str, ...]) -> None:
    job = Job(cluster, tmp_path, settings, machines=2)
    job.wait_for_checkpoint()
    cluster.run("kill", "-KILL", job.agent(1))
    job.wait_for("FAILED")
    assert job.field("Restarts") == "0"
    job.check_files()


@pytest.mark.usefixtures("closed")
def test_a_cancelled_job_is_gone(cluster: SlurmCluster, tmp_path: Path, settings: tuple[str, ...]) -> None:
    job = Job(cluster, tmp_path, settings, machines=2)
    job.wait_for_checkpoint()
    cluster.run("scancel", job.number)
    job.wait_for("CANCELLED")
    assert job.field("Restarts") == "0"
    cluster.until(lambda: not cluster.left(), cluster.left)
    job.check_files()


@pytest.mark.slow
def test_a_job_that_runs_out_of_time_goes_on_in_the_next(
    cluster: SlurmCluster, tmp_path: Path, settings: tuple[str, ...], closed: Path, undisturbed: Path
) -> None:
    job = Job(cluster, tmp_path, (*settings, "slurm.time='10'", "slurm.warning_s=115"), machines=2)
    job.wait_for_checkpoint()
    minutes = int(job.field("RunTime").split(":")[-2])
    cluster.run("scontrol", "update", f"JobId={job.number}", f"TimeLimit={minutes + 2}")
    job.wait(lambda: job.field("Restarts") == "1")
    closed.unlink()
    cluster.run("scontrol", "update", f"JobId={job.number}", "TimeLimit=10")
    job.wait_for("COMPLETED")
    assert "going on from check-point" in job.output
    assert models(job.directory) == models(undisturbed)
    job.check_files()


def test_inside_an_allocation_no_launcher_is_needed(
    cluster: SlurmCluster, tmp_path: Path, settings: tuple[str, ...], undisturbed: Path
) -> None:
    sets = [word for item in settings for word in ("--set", item)]
    program = [sys.executable, "-m", "launch.cli"]
    command = ["run", str(CONFIG), "--out", str(tmp_path), "--no-report", *sets]
    cluster.run("salloc", "--nodes=2", "--ntasks-per-node=1", "srun", *program, *command)
    (directory,) = tmp_path.glob("demo-*")
    assert models(directory) == models(undisturbed)
