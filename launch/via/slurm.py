"""`launch --via slurm`: a batch script with one agent on each machine, given to sbatch.

The job finds out by itself whether it has run before: submitted or queued once more, it goes on with its run. It makes
the key of its agents when it starts, so that a job that never starts leaves none.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from decentralized import config
from decentralized.clusters import Slurm
from decentralized.data.cards import data_root
from decentralized.errors import ConfigError, Interrupted, StartError
from decentralized.run_directory import write_atomically
from launch.commands.output import say
from launch.via.request import LaunchRequest
from launch.warm_parent import python

FOLDER = "slurm"  # below --out: scripts, configurations and outputs of jobs
PATIENCE_S = 60.0
LEAVE_S = 10  # how long agents have to end by themselves when one of them has failed

SCRIPT = """\
#!/bin/bash
{options}

# Written by `decentralized launch`. Submitted again, it goes on from the newest check-point of its run.
job={job}
out={out}
files=$out/{folder}/$job    # .toml: the configuration; .key: what the agents know each other by, while the job runs
decentralized=({program})
options=({arguments} --key "$files.key")

# Its run directory, once there is one: the command line that is recorded there names the key.
find_run() {{ grep -lsF -- "$job.key" "$out"/*/environment.json | head -n 1 | sed 's:/environment.json$::'; }}
checkpoints() {{ cat "$run"/agents/00/events.jsonl 2>/dev/null | grep -c '"committed"'; }}

run=$(find_run)
before=$(checkpoints)
if [[ -n $run ]]; then command=(resume "$run"); else command=(run "$files.toml" --out "$out"); fi

trap 'rm -f "$files.key"' EXIT
rm -f "$files.key"
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' >"$files.key")

# Some time before its limit the job is sent SIGUSR1; SIGINT makes the agents check-point and stop.
warned=0
trap 'warned=1; echo "The time is nearly up."; scancel --signal=INT "$SLURM_JOB_ID"' USR1

# When an agent fails, srun ends the others, too (SIGTERM). It told them why: first they may end by themselves.
agent='ended=; trap : INT; trap ended=1 TERM; "$@" || {{ code=$?; [[ $ended ]] || sleep {leave_s}; exit "$code"; }}'
srun {srun} bash -c "$agent" agent "${{decentralized[@]}}" "${{command[@]}}" "${{options[@]}}" &
step=$!
wait "$step"
code=$?
if ((warned)); then    # the signal ended the first wait
    wait "$step"
    code=$?
fi

if ((warned && code == {interrupted})); then
    run=$(find_run)
    if (($(checkpoints) == before)); then
        echo "Not queued again: no check-point was made in all this time."
    elif scontrol requeue "$SLURM_JOB_ID"; then
        echo "Queued again, to go on from the newest check-point."
    else
        echo "Go on with: sbatch $files.sh"
    fi
fi
exit "$code"
"""


def launch(request: LaunchRequest) -> None:
    """Submit the job, and say how to follow and to stop it. Raises ConfigError, StartError, StorageError."""
    if request.ip_map is not None:
        raise ConfigError(["--via slurm takes the machines that Slurm gives it (slurm.machines); leave --ip-map out"])
    job = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', request.experiment.name)}-{secrets.token_hex(4)}"
    script = render(request, job)
    if request.dry_run:
        print(script, end="")
        return
    _refuse_inside(os.environ.get("SLURM_JOB_ID"), request.config)
    files = request.out.absolute() / FOLDER / job
    number = _submit(files, script, config.dump(request.experiment))
    experiment = request.experiment
    say(
        f"submitted job {number}: {experiment.nodes} nodes, machines: {experiment.slurm.machines}",
        f"follow it   tail -F {_output(files)}",
        f"see it      squeue --job {number}",
        f"cancel it   scancel {number}",
        f"stop it     scancel --signal=INT {number} (with a check-point)",
        f"go on       sbatch {files}.sh",
        f"run directory: in {request.out.absolute()}, as soon as the job runs",
    )


def render(request: LaunchRequest, job: str) -> str:
    """The batch script of a job with this name, which no other job has."""
    out = request.out.absolute()
    slurm = request.experiment.slurm
    data = data_root(str(request.data) if request.data else None).absolute()
    arguments = ["--data", str(data)] + ([] if request.report else ["--no-report"])
    # srun does not take over the number of processors by itself, nor the environment where a site forbids sbatch to.
    srun = ["--kill-on-bad-exit=1", "--label", "--export=ALL"]
    if slurm.cpus_per_task is not None:
        srun.append(f"--cpus-per-task={slurm.cpus_per_task}")
    return SCRIPT.format(
        options="\n".join(f"#SBATCH {shlex.quote(option)}" for option in _options(slurm, out / FOLDER / job)),
        job=job,
        out=shlex.quote(str(out)),
        folder=FOLDER,
        program=shlex.join(python("launch.cli")),
        arguments=shlex.join(arguments),
        srun=shlex.join(srun),
        leave_s=LEAVE_S,
        interrupted=Interrupted.exit_code,
    )


def _options(slurm: Slurm, files: Path) -> Iterator[str]:
    """The user's own come last, and so have the last word."""
    yield f"--job-name={files.name}"
    yield f"--nodes={slurm.machines}"
    yield "--ntasks-per-node=1"
    choices = {
        "partition": slurm.partition,
        "account": slurm.account,
        "time": slurm.time,
        "cpus-per-task": slurm.cpus_per_task,
        "gres": slurm.gpus and f"gpu:{slurm.gpus}",
        "mem": slurm.memory,
    }
    yield from (f"--{name}={value}" for name, value in choices.items() if value is not None)
    yield f"--chdir={Path.cwd()}"
    yield f"--output={str(_output(files)).replace('%', '%%')}"
    yield "--open-mode=append"
    yield "--requeue"
    yield f"--signal=B:USR1@{slurm.warning_s}"
    yield from slurm.extra


def _output(files: Path) -> Path:
    return files.with_name(f"{files.name}.txt")


def _refuse_inside(job: str | None, path: Path) -> None:
    if job is not None:
        raise StartError(
            f"this is inside job {job}, which has its machines already",
            f"Here say: srun -X --ntasks-per-node=1 decentralized run {path}",
        )


def _submit(files: Path, script: str, configuration: str) -> str:
    """Write the files of the job and submit it; its number. Nothing is left of a job that Slurm refused."""
    if shutil.which("sbatch") is None:
        raise StartError("there is no sbatch here", "Launch from a machine that has Slurm's commands.")
    files.parent.mkdir(parents=True, exist_ok=True)
    written = [(Path(f"{files}.toml"), configuration), (Path(f"{files}.sh"), script)]
    for path, text in written:
        write_atomically(path, text.encode())
    command = ["sbatch", "--parsable", f"{files}.sh"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        advice = "`squeue --me` shows whether the job was queued after all."
        raise StartError(f"sbatch did not answer for {PATIENCE_S:g} s", advice) from None
    if done.returncode != 0:
        for path, _ in written:
            path.unlink()
        raise StartError(f"sbatch refused the job: {done.stderr.strip()}", "Change [slurm] in the configuration.")
    return done.stdout.strip().partition(";")[0]
