"""A real Slurm cluster on this machine: a controller and three node daemons, in namespaces of their own.

The namespaces keep it apart from everything else here: its ports are its own, so are its processes, and the kernel
ends all of these when the first one ends, which happens as soon as this program closes its standard input.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.processes.runs import ROOT

TOOLS = ("unshare", "nsenter", "ip", "ss", "munged", "slurmctld", "slurmd", "sbatch", "srun", "salloc", "scontrol")
PATIENCE_S = 120.0
HOSTS = {"submit": "192.0.2.1", "node1": "192.0.2.11", "node2": "192.0.2.12", "node3": "192.0.2.13"}
NODES = tuple(HOSTS)[1:]
DAEMONS = {"bash", "munged", "ps", "slurmctld", "slurmd", "slurmscriptd"}
UNSHARE = ("unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net", "--uts")
# The first process of the namespaces; it also reaps orphans. It ends with its standard input.
FIRST_PROCESS = """
mount --bind {hosts} /etc/hosts && hostname submit && ip link set lo up && ip -batch - <{addresses} || exit
echo ready
read
"""

CONFIGURATION = """
ClusterName=test
SlurmctldHost=submit
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MpiDefault=none
{nodes}
PartitionName=short Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no cluster here; empty if there can."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)}"
    allowed = subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=PATIENCE_S, check=False).returncode == 0
    return "" if allowed else "needs namespaces, which are not allowed here"


class SlurmCluster:
    """Start it with `with`; `run` runs commands on its submit host, which shares all files with this machine."""

    def __enter__(self) -> SlurmCluster:
        with contextlib.ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # paths of sockets must be short
            stack.callback(shutil.rmtree, self.folder)
            self._write_files()
            stack.callback(self._end)
            self._daemons: list[subprocess.Popen[bytes]] = []
            self._enter_namespaces()
            self._start_daemons()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        self._first.communicate(timeout=PATIENCE_S)  # closes its standard input
        for daemon in self._daemons:
            daemon.wait(PATIENCE_S)

    def _write_files(self) -> None:
        lines = [
            f"NodeName={name} NodeHostname=submit NodeAddr={name} Port={17001 + index} CPUs=2 State=UNKNOWN"
            for index, name in enumerate(NODES)
        ]
        self.configuration = self.folder / "slurm.conf"
        self.configuration.write_text(CONFIGURATION.format(folder=self.folder, nodes="\n".join(lines)))
        names = "".join(f"{address} {name}\n" for name, address in HOSTS.items())
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n" + names)
        addresses = "".join(f"address add {address}/24 dev lo\n" for address in HOSTS.values())
        (self.folder / "addresses").write_text(addresses)
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        (self.folder / "state").mkdir()

    def _enter_namespaces(self) -> None:
        script = FIRST_PROCESS.format(hosts=self.folder / "hosts", addresses=self.folder / "addresses")
        self._first = subprocess.Popen([*UNSHARE, "bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._first.stdout is not None
        assert self._first.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children").read_text().split()
        self._inside = ["nsenter", "--target", children[0], "--pid", "--net", "--mount", "--uts", f"--wd={ROOT}"]

    def _start_daemons(self) -> None:
        files = [f"--{kind}={self.folder}/munge.{kind}" for kind in ("socket", "pid-file", "log-file", "seed-file")]
        self._daemon("munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key", *files)
        self.until((self.folder / "munge.socket").exists, self.logs)
        self._daemon("slurmctld", "-D", "-f", str(self.configuration))
        for name in NODES:
            self._daemon("slurmd", "-D", "-N", name, "-f", str(self.configuration))
        self.until(lambda: self._states() == {"idle"}, self.logs)

    def _daemon(self, *command: str) -> None:
        log = self.folder / f"{command[0]}.out"
        with open(log, "ab") as output:
            self._daemons.append(
                subprocess.Popen([*self._inside, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            )

    def _states(self) -> set[str]:
        return set(self.run("sinfo", "--noheader", "--format=%t", code=None).split())

    def until(self, condition: Callable[[], object], tell: Callable[[], str]) -> None:
        """Fails with what `tell` says when it does not come true."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, tell()
            time.sleep(0.1)

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.[lo]*"))

    def run(self, *command: str, code: int | None = 0) -> str:
        """What a command said, once it has ended with this exit code (None: any)."""
        done = subprocess.run(
            [*self._inside, *command],
            env={**os.environ, "SLURM_CONF": str(self.configuration), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout
        return done.stdout

    def decentralized(self, *arguments: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "launch.cli", *arguments, code=code)

    def left(self) -> str:
        """Jobs, processes and ports that are there besides the cluster's own; empty if there are none."""
        jobs = self.run("squeue", "--noheader")
        names = self.run("ps", "ax", "-o", "comm=").split()
        processes = [name for name in names if name not in DAEMONS]
        ports = [line for line in self.run("ss", "-Hltnp").splitlines() if re.search(r'"slurm(ctl)?d"', line) is None]
        return "\n".join([*jobs.splitlines(), *processes, *ports])
