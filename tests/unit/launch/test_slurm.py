"""The batch script of `launch --via slurm`, what it does when a job ends, and the machines of a job step."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from decentralized.errors import StartError
from launch.via.slurm_nodes import agent_port, expand, hosts
from tests.unit.launch.conftest import DEMO, Decentralized

LAUNCH = ("launch", DEMO, "--via", "slurm")
TOOLS = ("bash", "cat", "grep", "head", "od", "rm", "sed", "sleep", "tr")

# In place of srun: looks at the key, makes a check-point if told so, lets Slurm warn if told so, and runs nothing.
SRUN = """#!/bin/bash
echo "srun $*" >>"$HERE/calls"
for key in "$HERE"/runs/slurm/*.key; do cp "$key" "$HERE/key"; stat -c %a "$key" >"$HERE/mode"; done
run=$HERE/runs/demo-1
mkdir -p "$run/agents/00"
echo "{\\"command\\": [\\"--key\\", \\"$key\\"]}" >"$run/environment.json"
[[ $CHECKPOINTS ]] && echo '{"event":"committed"}' >>"$run/agents/00/events.jsonl"
[[ $WARNED ]] && kill -USR1 $PPID && sleep 0.2
exit $CODE
"""
TOOL = """#!/bin/bash
echo "${0##*/} $*" >>"$HERE/calls"
"""


@pytest.fixture
def script(decentralized: Decentralized, tmp_path: Path) -> str:
    done = decentralized(*LAUNCH, "--dry-run", "--out", str(tmp_path / "runs"))
    assert done.code == 0, done.err
    assert not (tmp_path / "runs").exists(), "nothing is written"
    return done.out


def options(script: str) -> list[str]:
    return re.findall("^#SBATCH (.*)$", script, re.MULTILINE)


def test_every_setting_has_its_option(decentralized: Decentralized, tmp_path: Path) -> None:
    table = {
        "machines": 3,
        "partition": "'long'",
        "account": "'ours'",
        "time": "'2-12'",
        "cpus_per_task": 4,
        "gpus": 2,
        "memory": "'64G'",
        "warning_s": 300,
        "extra": "['--constraint=ib', '--comment=two words']",
    }
    sets = [word for name, value in table.items() for word in ("--set", f"slurm.{name}={value}")]
    done = decentralized(*LAUNCH, "--dry-run", "--out", str(tmp_path / "100%"), "--data", "sets", "--no-report", *sets)
    found = options(done.out)
    job = found[0].removeprefix("--job-name=")
    assert re.fullmatch("demo-[0-9a-f]{8}", job)
    assert found[1:] == [
        "--nodes=3",
        "--ntasks-per-node=1",
        "--partition=long",
        "--account=ours",
        "--time=2-12",
        "--cpus-per-task=4",
        "--gres=gpu:2",
        "--mem=64G",
        f"--chdir={Path.cwd()}",
        f"--output={tmp_path}/100%%/slurm/{job}.txt",
        "--open-mode=append",
        "--requeue",
        "--signal=B:USR1@300",
        "--constraint=ib",
        "'--comment=two words'",
    ]
    assert "srun --kill-on-bad-exit=1 --label --export=ALL --cpus-per-task=4 bash" in done.out
    assert f"--data {Path.cwd()}/sets --no-report --key" in done.out


def test_what_is_not_set_is_left_to_the_cluster(script: str) -> None:
    names = [option.partition("=")[0] for option in options(script)]
    assert names == [
        "--job-name", "--nodes", "--ntasks-per-node", "--chdir", "--output", "--open-mode", "--requeue", "--signal",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("slurm.time='2:00'", "warning_s = 120 is not less than time, 120 s"),
        ("slurm.time='soon'", 'should be a time such as "90" (minutes)'),
        ("slurm.memory='lots'", "should be an amount of memory"),
        ("slurm.partition='a b'", "should be one word"),
        ('slurm.extra=["-x\\n"]', "should be an option of sbatch"),
    ],
)
def test_mistakes(decentralized: Decentralized, setting: str, message: str) -> None:
    done = decentralized(*LAUNCH, "--dry-run", "--set", setting)
    assert done.code == 2 and message in done.err


def test_what_cannot_be_launched(decentralized: Decentralized, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "map.json").write_text('{"0": "10.0.0.1"}')
    done = decentralized(*LAUNCH, "--ip-map", str(tmp_path / "map.json"))
    assert done.code == 2 and "leave --ip-map out" in done.err
    monkeypatch.setenv("PATH", str(tmp_path))
    done = decentralized(*LAUNCH)
    assert done.code == 9 and "there is no sbatch here" in done.err
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    done = decentralized(*LAUNCH)
    assert done.code == 9 and "inside job 17" in done.err and "srun -X" in done.err
    assert not Path("runs").exists()


def test_a_job_that_is_refused_leaves_no_files(
    decentralized: Decentralized, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tool(tmp_path / "sbatch", "#!/bin/sh\necho no such partition >&2\nexit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = decentralized(*LAUNCH)
    assert done.code == 9 and "sbatch refused the job: no such partition" in done.err
    assert not list(Path("runs/slurm").iterdir())


class Bash:
    """Runs the script with stand-ins for Slurm's tools."""

    def __init__(self, script: str, folder: Path) -> None:
        self._script, self._folder = script, folder
        (folder / "runs" / "slurm").mkdir(parents=True)
        (folder / "bin").mkdir()
        write_tool(folder / "bin" / "srun", SRUN)
        for name in ("scontrol", "scancel"):
            write_tool(folder / "bin" / name, TOOL)

    def run(self, code: int, *, checkpoints: bool = False, warned: bool = False) -> tuple[list[str], str]:
        """One start of the job; what it called, and what it said. The key was there, and is gone."""
        calls = self._folder / "calls"
        calls.unlink(missing_ok=True)
        environment = {
            "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
            "HERE": str(self._folder),
            "SLURM_JOB_ID": "17",
            "CODE": str(code),
            "CHECKPOINTS": "1" if checkpoints else "",
            "WARNED": "1" if warned else "",
        }
        done = subprocess.run(
            ["bash"], input=self._script, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == code, done.stderr
        assert (self._folder / "mode").read_text() == "600\n"
        assert re.fullmatch("[0-9a-f]{64}", (self._folder / "key").read_text())
        assert not list(self._folder.glob("runs/slurm/*.key"))
        return calls.read_text().splitlines(), done.stdout


@pytest.fixture
def bash(script: str, tmp_path: Path) -> Bash:
    if any(shutil.which(name) is None for name in TOOLS):
        pytest.skip(f"needs {', '.join(TOOLS)}")
    return Bash(script, tmp_path)


def write_tool(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_job_runs_and_the_same_job_once_more_resumes(bash: Bash, tmp_path: Path) -> None:
    (first,), _ = bash.run(7)
    key = (tmp_path / "key").read_text()
    (second,), _ = bash.run(0)
    assert re.search(r" run \S+/runs/slurm/demo-\w+\.toml --out \S+/runs --data ", first)
    assert re.search(r" resume \S+/runs/demo-1 --data ", second)
    assert (tmp_path / "key").read_text() != key


def test_a_job_that_was_warned_is_queued_again(bash: Bash) -> None:
    calls, said = bash.run(130, checkpoints=True, warned=True)
    assert calls[1:] == ["scancel --signal=INT 17", "scontrol requeue 17"]
    assert "Queued again" in said


def test_without_progress_it_would_be_queued_for_ever(bash: Bash) -> None:
    bash.run(130, checkpoints=True, warned=True)
    calls, said = bash.run(130, warned=True)
    assert calls[1:] == ["scancel --signal=INT 17"]
    assert "Not queued again" in said


def test_a_failure_and_an_end_are_not_queued_again(bash: Bash) -> None:
    for code in (0, 6):
        calls, _ = bash.run(code, checkpoints=True, warned=True)
        assert calls[1:] == ["scancel --signal=INT 17"]
    assert len(bash.run(130, checkpoints=True)[0]) == 1, "stopped by its user"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("node1", ["node1"]),
        ("login,gpu-a", ["login", "gpu-a"]),
        ("node[01-03,7],x", ["node01", "node02", "node03", "node7", "x"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("r[1-2]n[08-09]-ib", ["r1n08-ib", "r1n09-ib", "r2n08-ib", "r2n09-ib"]),
    ],
)
def test_lists_of_machines(names: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert expand(names) == expected
    if shutil.which("scontrol"):
        assert hosts({"SLURM_JOB_NODELIST": names}) == expected, "as Slurm itself reads them"
    monkeypatch.setenv("PATH", str(tmp_path))  # without Slurm's tools, as in a container
    assert hosts({"SLURM_JOB_NODELIST": "of_the_job", "SLURM_STEP_NODELIST": names}) == expected


UNREADABLE = ("", "a,,b", "a,", "a[", "a[1-]", "a[2-1]", "a]b", "a b", "a[1-999999999]", "a[1-999][1-999]")


@pytest.mark.parametrize("names", UNREADABLE)
def test_unreadable_lists_of_machines(names: str) -> None:
    with pytest.raises(StartError, match="cannot read the list of machines"):
        expand(names)


def test_no_job_step() -> None:
    with pytest.raises(StartError, match="no job step of Slurm"):
        hosts({"SLURM_STEP_NODELIST": ""})


def test_job_steps_that_share_machines_do_not_share_ports() -> None:
    steps = [(job, step) for job in range(500, 520) for step in range(3)]
    ports = [
        agent_port({"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}, machine)
        for job, step in steps
        for machine in range(8)
    ]
    assert len(set(ports)) == len(ports)
    assert all(20_000 <= port < 30_000 for port in ports)
