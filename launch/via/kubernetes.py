"""`launch --via kubernetes --dry-run`: the objects of a run as YAML, for `kubectl apply`."""

from __future__ import annotations

import re
import secrets
import sys
from typing import Any

import yaml

from decentralized import config
from decentralized.errors import ConfigError, StartError
from launch.commands.output import option_mistake
from launch.ip_map import AGENT_PORT, IpMap, Machine
from launch.key import RunKey
from launch.via.kubernetes_objects import LABEL, Pods, all_objects
from launch.via.request import LaunchRequest

LONGEST_NAME = 40  # characters; "-" and the number of a pod follow, and 63 are allowed
MOST_TEXT = 1_000_000  # bytes: etcd takes no larger object

HEADER = """\
# {machines} pods of one run. Pipe this to `kubectl apply -f -`. It holds the run's key: do not keep it.
#   Progress and results: {kubectl} logs -f -l {label}={name},batch.kubernetes.io/job-completion-index=0
#   Stop with a check-point: {kubectl} delete job {name}
#   Remove all of it: {kubectl} delete job,service,secret,configmap -l {label}={name}
"""
SHARED = "# The run directory is on the claim {claim}, which all pods mount: it must allow ReadWriteMany.\n"
APART = """\
# Each pod keeps its part of the run directory in an emptyDir, which goes with the pod: only what it prints stays. Set
# kubernetes.claim to keep the run directory, and to resume.
"""


def launch(request: LaunchRequest) -> None:
    """Print the objects. Raises StartError without --dry-run, ConfigError for what Kubernetes would refuse."""
    if not request.dry_run:
        raise StartError(
            "this program does not talk to Kubernetes itself",
            "Say --dry-run and give what it prints to kubectl: decentralized launch ... --dry-run | kubectl apply -f -",
        )
    if request.data is not None:
        raise option_mistake("--data is a folder of this machine; kubernetes.data is the one in the pods")
    sys.stdout.write(render(request, RunKey.new()))


def render(request: LaunchRequest, key: RunKey) -> str:
    """YAML documents, each behind a line of dashes."""
    name = f"{job_name(request.experiment.name)}-{secrets.token_hex(3)}"  # objects of two runs must not meet
    pods = Pods(
        name,
        request.experiment.kubernetes,
        config.dump(request.experiment),
        address_book(request, name),
        request.report,
    )
    size = len(pods.config) + len(pods.ip_map.dump())
    if size > MOST_TEXT:
        raise ConfigError([f"configuration and IP map are {size} bytes; a ConfigMap takes {MOST_TEXT}"])
    return _comment(pods) + "".join(_document(item) for item in all_objects(pods, key))


def _comment(pods: Pods) -> str:
    settings = pods.settings
    kubectl = f"kubectl -n {settings.namespace}" if settings.namespace else "kubectl"
    head = HEADER.format(machines=pods.machines, name=pods.name, label=LABEL, kubectl=kubectl)
    return head + (SHARED.format(claim=settings.claim) if settings.claim else APART)


def job_name(text: str) -> str:
    """As much of `text` as the name of a service may hold."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    words = words if words[:1].isalpha() else f"run-{words}"
    return words[:LONGEST_NAME].strip("-")


def address_book(request: LaunchRequest, name: str) -> IpMap:
    """The stable names of all pods. Of a given IP map, the numbers of nodes stay."""
    count = request.experiment.kubernetes.machines
    shares: list[int | None] = [None] * count
    if request.ip_map is not None:
        shares = [machine.nodes for machine in request.ip_map.machines]
    # A pod does not know itself by this name before the cluster's name server does: it listens on all interfaces.
    pods = (
        Machine(host=f"{name}-{index}.{name}", port=AGENT_PORT, nodes=nodes, bind="*")
        for index, nodes in enumerate(shares)
    )
    return IpMap(tuple(pods))


class _Dumper(yaml.SafeDumper):
    """Every object is written out in full, and texts of several lines stay readable."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _document(item: dict[str, Any]) -> str:
    return "---\n" + yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=120)
