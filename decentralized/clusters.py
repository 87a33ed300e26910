"""Settings of clusters that start a run: the [slurm], [kubernetes] and [ray] tables of a configuration."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from decentralized.mistakes import expected
from decentralized.settings import Settings


def _like(pattern: str, what: str) -> AfterValidator:
    """A string that matches the whole pattern; `what` says so in English."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise expected(what)
        return text

    return AfterValidator(check)


Name = Annotated[
    str, _like(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", 'a Kubernetes name: lower-case letters, digits, "-"')
]
Quantity = Annotated[str, _like(r"[0-9]+(\.[0-9]+)?([KMGTPE]i|[kMGTPE])?", 'a Kubernetes quantity such as "64Gi"')]
Word = Annotated[str, _like(r"\S+", "one word")]
_TIME = r"[0-9]+-[0-9]+(:[0-9]+){0,2}|[0-9]+(:[0-9]+){0,2}"
Folder = Annotated[str, _like(r"/[^:]+", "an absolute path")]


class Slurm(Settings):
    """The [slurm] table, for `launch --via slurm`."""

    machines: Annotated[int, Field(ge=1)] = 1
    """Machines of the job, one agent on each."""
    partition: Word | None = None
    """The cluster's default when not given, as for all settings without a value here."""
    account: Word | None = None
    """The account that pays for the job."""
    time: Annotated[str, _like(_TIME, 'a time such as "90" (minutes), "8:00:00" or "2-12" (days-hours)')] | None = None
    """Time limit, as Slurm writes it: "minutes", "hours:minutes:seconds" or "days-hours"."""
    cpus_per_task: Annotated[int, Field(ge=1)] | None = None
    """Processor cores on each machine."""
    gpus: Annotated[int, Field(ge=1)] | None = None
    """GPUs on each machine."""
    memory: Annotated[str, _like(r"[0-9]+[KMGT]?", 'an amount of memory such as "64G"')] | None = None
    """Memory on each machine, such as "64G"."""
    warning_s: Annotated[int, Field(ge=1, le=65535)] = 120
    """Seconds before the time limit at which the run check-points, stops and is queued again; Slurm may be early."""
    extra: tuple[Annotated[str, _like(r"-[^\n\r]+", 'an option of sbatch such as "--constraint=ib"')], ...] = ()
    """Further options of sbatch, such as "--constraint=ib"."""

    @model_validator(mode="after")
    def _warning_comes_in_time(self) -> Slurm:
        if self.time is not None and seconds(self.time) <= self.warning_s:
            raise ValueError(f"warning_s = {self.warning_s} is not less than time, {seconds(self.time)} s")
        return self


def seconds(time: str) -> int:
    """The length of one of Slurm's times: minutes[:seconds], hours:minutes:seconds, days-hours[:minutes[:seconds]]."""
    days, dash, rest = time.rpartition("-")
    fields = [int(field) for field in rest.split(":")]
    if not dash and len(fields) < 3:
        fields.insert(0, 0)
    hours, minutes, rest_s = (*fields, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest_s


class Kubernetes(Settings):
    """The [kubernetes] table, for `launch --via kubernetes`."""

    machines: Annotated[int, Field(ge=1)] = 1
    """Pods, one agent in each; where an IP map is given, it has one entry for each pod."""
    image: Annotated[str, Field(min_length=1)] = "decentralized:latest"
    """Container image with this package."""
    namespace: Name | None = None
    """The current one when not given."""
    cpus: Annotated[float, Field(ge=0.001)] | None = None
    """Processor cores of each pod."""
    memory: Quantity | None = None
    """Memory of each pod, such as "64Gi"."""
    gpus: Annotated[int, Field(ge=1)] | None = None
    """GPUs of each pod."""
    claim: Name | None = None
    """PersistentVolumeClaim that all pods mount for run directories; without it each pod keeps its own part."""
    path: Folder = "/runs"
    """Folder of the run directories in each pod."""
    data: Folder | None = None
    """Folder of the data sets in each pod; as the image says when not given."""
    data_claim: Name | None = None
    """PersistentVolumeClaim that all pods mount at `data`, to read only; without it the image holds the data."""
    user: Annotated[int, Field(ge=0)] = 1000
    """User and group id of the processes; 0 is root, which many clusters refuse."""
    grace_s: Annotated[int, Field(ge=1)] = 120
    """Seconds that a pod which is told to end has to check-point."""

    @model_validator(mode="after")
    def _data_claim_has_a_place(self) -> Kubernetes:
        if self.data_claim is not None and self.data is None:
            raise ValueError("data_claim needs data, the folder where it is mounted")
        return self


class Ray(Settings):
    """The [ray] table, for `launch --via ray`."""

    machines: Annotated[int, Field(ge=1)] | None = None
    """Machines of the Ray cluster, one agent on each; all that have enough cores and GPUs when not given."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """Processor cores that Ray sets aside on each machine; the nodes may use more."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs that Ray sets aside on each machine; its nodes see no others."""
