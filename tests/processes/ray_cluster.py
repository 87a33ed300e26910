"""A Ray cluster of three machines that are this one, as a program: it ends when its standard input does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.processes.runs import PATIENCE_S, ROOT

MACHINES = 3
MARK = "DECENTRALIZED_TEST_MARK"  # every process of the cluster inherits it, whoever its parent becomes
STORE_BYTES = 80_000_000


@dataclass(frozen=True)
class RayCluster:
    """A running one."""

    address: str
    process: subprocess.Popen[str]
    mark: str
    hidden: Path | None
    """A folder that its machines do not share with the launcher; needs root."""

    def agents(self) -> dict[int, psutil.Process]:
        """The agents by machine."""
        found = {}
        for process, words in self._marked():
            if "--attached" in words:
                found[int(words[words.index("--machine") + 1])] = process
        return found

    def ours(self) -> list[psutil.Process]:
        """Agents, fork servers and nodes."""
        return [process for process, words in self._marked() if any("launch." in word for word in words)]

    def _marked(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    yield process, process.cmdline()
            except psutil.Error:  # gone meanwhile, or of another user
                continue


@contextmanager
def ray_cluster(hidden: Path) -> Iterator[RayCluster]:
    """Leaves no process and no file behind."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "tests.processes.ray_cluster"]
    apart = _can_hide()
    if apart:
        hide = 'mount -t tmpfs none "$1" && shift && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", hide, "sh", str(hidden), *command]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # a name of a socket is short
        environment = {**os.environ, "PYTHONPATH": str(ROOT), MARK: mark, "TMPDIR": folder}
        environment["RAY_USAGE_STATS_ENABLED"] = "0"
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Ray's announcements
            text=True,
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, f"the cluster did not start: {process.poll()}"
            yield RayCluster(address, process, mark, hidden if apart else None)
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()


def _can_hide() -> bool:
    try:
        return (
            subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=10, check=False).returncode == 0
        )
    except FileNotFoundError:
        return False


def main() -> None:
    """Prints its address once all machines are up."""
    from ray.cluster_utils import Cluster

    one = {"num_cpus": 2, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**one, "include_dashboard": False})
    for _ in range(MACHINES - 1):
        cluster.add_node(wait=False, **one)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
