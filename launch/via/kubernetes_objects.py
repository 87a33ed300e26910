"""What a run is to Kubernetes: a Service for names, a Secret, a ConfigMap, and an Indexed Job one pod a machine."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from decentralized.clusters import Kubernetes
from launch.ip_map import AGENT_PORT, IpMap
from launch.key import RunKey

Object = dict[str, Any]

LABEL = "app.kubernetes.io/instance"
CONFIG_FOLDER = "/etc/decentralized"
SECRET_FOLDER = "/run/secrets/decentralized"
KEY_FOLDER = "/run/decentralized"
ONLY_OWNER = 0o400


@dataclass(frozen=True)
class Pods:
    """The pods of one run; `name` is that of all its objects."""

    name: str
    settings: Kubernetes
    config: str
    ip_map: IpMap
    report: bool

    @property
    def machines(self) -> int:
        return len(self.ip_map.machines)

    @property
    def labels(self) -> Object:
        return {"app.kubernetes.io/name": "decentralized", LABEL: self.name}


def all_objects(pods: Pods, key: RunKey) -> list[Object]:
    """In an order in which nothing refers to what comes later."""
    return [_service(pods), _secret(pods, key), _config_map(pods), _job(pods)]


def _object(pods: Pods, api: str, kind: str, **content: Any) -> Object:
    metadata: Object = {"name": pods.name, "labels": pods.labels}
    if pods.settings.namespace:
        metadata["namespace"] = pods.settings.namespace
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}


def _service(pods: Pods) -> Object:
    """Without an address of its own: it gives each pod a stable name. Agents must find each other before all are up."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {LABEL: pods.name},
        "ports": [{"name": "agent", "port": AGENT_PORT}],
    }
    return _object(pods, "v1", "Service", spec=spec)


def _secret(pods: Pods, key: RunKey) -> Object:
    text = base64.b64encode(f"{key.text()}\n".encode()).decode()
    return _object(pods, "v1", "Secret", type="Opaque", immutable=True, data={"key": text})


def _config_map(pods: Pods) -> Object:
    data = {"config.toml": pods.config, "ip_map.json": pods.ip_map.dump()}
    return _object(pods, "v1", "ConfigMap", immutable=True, data=data)


def _job(pods: Pods) -> Object:
    """One lost pod ends the run on all machines, so none is started again: resume does that, for all together."""
    spec = {
        "completions": pods.machines,
        "parallelism": pods.machines,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "template": {"metadata": {"labels": pods.labels}, "spec": _pod(pods)},
    }
    return _object(pods, "batch/v1", "Job", spec=spec)


def _pod(pods: Pods) -> Object:
    settings = pods.settings
    same_run = {"labelSelector": {"matchLabels": {LABEL: pods.name}}, "topologyKey": "kubernetes.io/hostname"}
    return {
        "subdomain": pods.name,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": settings.grace_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _identity(settings.user),
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [same_run]}},
        "initContainers": [_key_keeper(pods)],
        "containers": [_agent(pods)],
        "volumes": _volumes(pods),
    }


def _identity(user: int) -> Object:
    if user == 0:
        return {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _key_keeper(pods: Pods) -> Object:
    """Copies the key to a file of the pod's own user.

    Kubernetes gives files of a Secret to root, and with an fsGroup lets the group read them, too, whatever mode is
    asked for. An agent takes only a key that nobody but its own user can read.
    """
    copy = ["install", "-m", f"{ONLY_OWNER:o}", f"{SECRET_FOLDER}/key", f"{KEY_FOLDER}/key"]
    mounts = [_mount("secret", SECRET_FOLDER, read_only=True), _mount("key", KEY_FOLDER)]
    return {**_container(pods, "key"), "command": copy, "volumeMounts": mounts}


def _agent(pods: Pods) -> Object:
    """Its machine id is the pod's completion index. At SIGTERM it check-points and stops."""
    settings = pods.settings
    command = ["decentralized", "run", f"{CONFIG_FOLDER}/config.toml"]
    command += ["--ip-map", f"{CONFIG_FOLDER}/ip_map.json", "--key", f"{KEY_FOLDER}/key", "--out", settings.path]
    mounts = [
        _mount("config", CONFIG_FOLDER, read_only=True),
        _mount("key", KEY_FOLDER, read_only=True),
        _mount("runs", settings.path),
    ]
    if settings.data:
        command += ["--data", settings.data]
    if settings.data_claim and settings.data:
        mounts.append(_mount("data", settings.data, read_only=True))
    if not pods.report:
        command.append("--no-report")
    return {
        **_container(pods, "agent"),
        "command": command,
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "USER", "value": "decentralized"}],
        "ports": [{"name": "agent", "containerPort": AGENT_PORT}],
        "volumeMounts": mounts,
    }


def _container(pods: Pods, name: str) -> Object:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "name": name,
        "image": pods.settings.image,
        "resources": _resources(pods.settings),
        "securityContext": security,
    }


def _resources(settings: Kubernetes) -> Object:
    """Requests equal limits: a pod gets what it was given, and is the last to be driven out."""
    wanted: Object = {}
    if settings.cpus is not None:
        wanted["cpu"] = f"{round(settings.cpus * 1000)}m"
    if settings.memory is not None:
        wanted["memory"] = settings.memory
    if settings.gpus is not None:
        wanted["nvidia.com/gpu"] = settings.gpus
    return {"requests": wanted, "limits": wanted} if wanted else {}


def _volumes(pods: Pods) -> list[Object]:
    settings = pods.settings
    secret = {"secretName": pods.name, "defaultMode": ONLY_OWNER}
    runs = {"persistentVolumeClaim": {"claimName": settings.claim}} if settings.claim else {"emptyDir": {}}
    volumes: list[Object] = [
        {"name": "secret", "secret": secret},
        {"name": "key", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "config", "configMap": {"name": pods.name}},
        {"name": "runs", **runs},
    ]
    if settings.data_claim:
        claim = {"claimName": settings.data_claim, "readOnly": True}
        volumes.append({"name": "data", "persistentVolumeClaim": claim})
    return volumes


def _mount(name: str, path: str, *, read_only: bool = False) -> Object:
    mount: Object = {"name": name, "mountPath": path}
    return {**mount, "readOnly": True} if read_only else mount
