"""What `launch --via kubernetes --dry-run` prints: valid for the published API schema, and whole in itself."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.errors import KeyFileError
from launch.ip_map import load
from launch.key import RunKey
from launch.via.kubernetes import job_name
from tests.unit.launch.conftest import DEMO, Decentralized

schemas = pytest.importorskip("kubernetes_validate", reason="needs the package kubernetes-validate")

DRY = ("launch", DEMO, "--via", "kubernetes", "--dry-run")
OLDEST = "1.29"  # the first with podReplacementPolicy
DNS_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
SETTINGS = {
    "least": ("machines=3",),
    "root": ("machines=1", "user=0"),
    "all": (
        "machines=3",
        "image=example/decentralized:1",
        "namespace=lab",
        "cpus=1.5",
        "memory=4Gi",
        "gpus=2",
        "claim=runs",
        "path=/work/runs",
        "data=/data",
        "data_claim=sets",
        "user=4242",
        "grace_s=77",
    ),
}


class Rendered:
    """The objects by kind, and parts of the job."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.objects: list[dict[str, Any]] = list(yaml.safe_load_all(text))
        self.by_kind = {item["kind"]: item for item in self.objects}
        self.job = self.by_kind["Job"]["spec"]
        self.pod = self.job["template"]["spec"]
        (self.key_keeper,) = self.pod["initContainers"]
        (self.agent,) = self.pod["containers"]
        self.volumes = {volume["name"]: volume for volume in self.pod["volumes"]}


@pytest.fixture
def render(decentralized: Decentralized) -> Any:
    def call(*settings: str, options: tuple[str, ...] = ()) -> Rendered:
        sets = [part for setting in settings for part in ("--set", f"kubernetes.{setting}")]
        done = decentralized(*DRY, *sets, *options)
        assert done.code == 0, done.err
        return Rendered(done.out)

    return call


@pytest.mark.parametrize("which", SETTINGS)
def test_schema_and_references(render: Any, which: str) -> None:
    rendered = render(*SETTINGS[which])
    assert list(rendered.by_kind) == ["Service", "Secret", "ConfigMap", "Job"]
    for item in rendered.objects:
        for version in (OLDEST, schemas.latest_version()):
            schemas.validate(item, version, strict=True)
    _check_names(rendered)
    _check_mounts(rendered)


def _check_names(rendered: Rendered) -> None:
    (name,) = {item["metadata"]["name"] for item in rendered.objects}
    assert len({item["metadata"].get("namespace") for item in rendered.objects}) == 1
    machines = rendered.job["completions"]
    assert rendered.job["parallelism"] == machines
    assert re.fullmatch(DNS_LABEL, name) and len(f"{name}-{machines - 1}") <= 63
    assert rendered.pod["subdomain"] == name
    service, labels = rendered.by_kind["Service"]["spec"], rendered.job["template"]["metadata"]["labels"]
    assert service["clusterIP"] == "None"
    (apart,) = rendered.pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    for selector in (service["selector"], apart["labelSelector"]["matchLabels"]):
        assert selector and selector.items() <= labels.items()
    hosts = json.loads(rendered.by_kind["ConfigMap"]["data"]["ip_map.json"])
    assert [entry["host"] for entry in hosts.values()] == [f"{name}-{index}.{name}" for index in range(machines)]
    ports = {entry["port"] for entry in hosts.values()}
    assert ports == {port["containerPort"] for port in rendered.agent["ports"]}
    assert ports == {port["port"] for port in service["ports"]}


def _check_mounts(rendered: Rendered) -> None:
    used = set()
    for container in (rendered.key_keeper, rendered.agent):
        folders = [mount["mountPath"] for mount in container["volumeMounts"]]
        used |= {mount["name"] for mount in container["volumeMounts"]}
        files = [part for part in container["command"][1:] if part.startswith("/")]
        for file in files:
            assert any(file == folder or file.startswith(f"{folder}/") for folder in folders), file
    assert used == set(rendered.volumes)
    name = rendered.by_kind["Job"]["metadata"]["name"]
    assert rendered.volumes["secret"]["secret"]["secretName"] == name
    assert rendered.volumes["config"]["configMap"]["name"] == name
    assert {"config.toml", "ip_map.json"} == rendered.by_kind["ConfigMap"]["data"].keys()


def test_all_settings_arrive(render: Any) -> None:
    rendered = render(*SETTINGS["all"], options=("--no-report", "--set", "algorithm.rounds=7"))
    assert {item["metadata"]["namespace"] for item in rendered.objects} == {"lab"}
    for container in (rendered.agent, rendered.key_keeper):
        assert container["image"] == "example/decentralized:1"
        assert container["resources"]["limits"] == {"cpu": "1500m", "memory": "4Gi", "nvidia.com/gpu": 2}
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert rendered.volumes["runs"]["persistentVolumeClaim"]["claimName"] == "runs"
    assert rendered.volumes["data"]["persistentVolumeClaim"] == {"claimName": "sets", "readOnly": True}
    identity = rendered.pod["securityContext"]
    assert identity["runAsUser"] == identity["runAsGroup"] == identity["fsGroup"] == 4242
    assert rendered.pod["terminationGracePeriodSeconds"] == 77
    command = rendered.agent["command"]
    assert command[command.index("--out") + 1] == "/work/runs" and command[command.index("--data") + 1] == "/data"
    assert command[-1] == "--no-report"
    experiment = config.parse(rendered.by_kind["ConfigMap"]["data"]["config.toml"], BuiltIn())
    assert experiment.kubernetes.memory == "4Gi" and vars(experiment.algorithm)["rounds"] == 7


def test_a_pod_that_is_lost_is_not_replaced(render: Any) -> None:
    rendered = render(*SETTINGS["least"])
    assert rendered.job["backoffLimit"] == 0 and rendered.pod["restartPolicy"] == "Never"
    assert rendered.job["completionMode"] == "Indexed" and rendered.job["podReplacementPolicy"] == "Failed"


def test_the_key_is_in_the_secret_only_and_new_each_time(render: Any) -> None:
    first, second = render("machines=2"), render("machines=2")
    encoded = first.by_kind["Secret"]["data"]["key"]
    key = RunKey.parse(base64.b64decode(encoded).decode())
    assert key.text() not in first.text and first.text.count(encoded) == 1
    assert encoded != second.by_kind["Secret"]["data"]["key"]
    assert first.by_kind["Job"]["metadata"]["name"] != second.by_kind["Job"]["metadata"]["name"]


def test_the_agent_takes_the_key_as_the_pod_keeps_it(render: Any, tmp_path: Path) -> None:
    """Kubernetes shows files of a Secret to the group when there is an fsGroup: they are copied first."""
    rendered = render("machines=2")
    assert rendered.volumes["secret"]["secret"]["defaultMode"] == 0o400
    shown, kept = tmp_path / "shown", tmp_path / "kept"
    kept.mkdir()
    RunKey.parse(base64.b64decode(rendered.by_kind["Secret"]["data"]["key"]).decode()).write(shown)
    shown.chmod(0o440)
    with pytest.raises(KeyFileError):
        RunKey.load(shown)
    *copy, source, target = rendered.key_keeper["command"]
    assert source.endswith("/key") and target == rendered.agent["command"][rendered.agent["command"].index("--key") + 1]
    subprocess.run([*copy, shown, kept / "key"], check=True, timeout=10)
    RunKey.load(kept / "key")


def test_what_happens_to_the_run_directory_is_said(render: Any) -> None:
    apart, shared = render("machines=2"), render("machines=2", "claim=disk")
    assert apart.volumes["runs"]["emptyDir"] == {} and "goes with the pod" in apart.text
    assert "ReadWriteMany" in shared.text and "goes with the pod" not in shared.text


def test_of_an_ip_map_the_shares_count(render: Any, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"0": {"host": "a", "nodes": 4}, "1": {"host": "b", "ssh": "me@b"}}')
    rendered = render(options=("--ip-map", str(tmp_path / "map.json")))
    (tmp_path / "pods.json").write_text(rendered.by_kind["ConfigMap"]["data"]["ip_map.json"])
    machines = load(tmp_path / "pods.json")
    assert machines.split(16) == [range(4), range(4, 16)]
    assert machines.machines[1].ssh is None and not machines.loopback
    assert rendered.job["completions"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DRY[:-1], "kubectl apply -f -"),
        ((*DRY, "--data", "/here"), "kubernetes.data"),
        ((*DRY, "--set", "kubernetes.memory=4GiB"), "kubernetes.memory"),
        ((*DRY, "--set", "kubernetes.claim=Runs"), "kubernetes.claim"),
        ((*DRY, "--set", "kubernetes.path=runs"), "absolute path"),
        ((*DRY, "--set", "kubernetes.data_claim=sets"), "data_claim needs data"),
    ],
)
def test_what_is_refused(decentralized: Decentralized, options: tuple[str, ...], message: str) -> None:
    done = decentralized(*options)
    assert done.code in (2, 9) and message in done.err and not done.out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("demo", "demo"),
        ("MovieLens, 96 nodes", "movielens-96-nodes"),
        ("2 rings", "run-2-rings"),
        ("été", "t"),
        ("!", "run"),
        ("a" * 39 + " b", "a" * 39),
    ],
)
def test_job_name(name: str, expected: str) -> None:
    assert job_name(name) == expected and re.fullmatch(DNS_LABEL, job_name(name))
