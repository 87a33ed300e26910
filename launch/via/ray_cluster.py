"""The machines of a Ray cluster: which ones, lent for how long, and questions to them. All waiting is bounded."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from decentralized.clusters import Ray
from decentralized.errors import DecentralizedError, Interrupted, NetworkError, StartError
from launch.ip_map import IpMap
from launch.via.ray_host import Host

TICK_S = 0.2
REMIND_S = 5.0
CONNECT_S = 10.0
ANSWER_S = 60.0  # for what takes no time, on a machine that may have to start a process first
END_S = 30.0  # agents have 15 to end by themselves
PINNED = 0.001  # of the resource that each Ray node has under its address: the amount does not matter

Actor = Any  # Ray makes the type of handles while it runs
Bundle = dict[str, float]


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Raises StartError when there is no cluster, NetworkError when it goes away."""
    address = os.environ.get("RAY_ADDRESS") or "auto"
    try:
        _look_at(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise StartError(
            f"no Ray cluster: {_first_line(error)}",
            "Start one with `ray start --head`, or give the address of one in RAY_ADDRESS, as host:port.",
        ) from None
    try:
        yield
    except RayError as error:
        raise NetworkError(f"the Ray cluster failed: {reason(error)}") from None
    finally:
        ray.shutdown()


def _look_at(address: str) -> None:
    """Raises OSError where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon:
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise OSError(f"RAY_ADDRESS {address}: {error}") from None


def bundles(settings: Ray, ip_map: IpMap | None, nodes: int) -> list[Bundle]:
    """What each machine must have free. Raises StartError when the cluster can never have it."""
    each = {"CPU": settings.cpus, **({"GPU": float(settings.gpus)} if settings.gpus else {})}
    alive = [node for node in ray.nodes() if node["Alive"]]
    if ip_map is None:
        fitting = [node for node in alive if all(node["Resources"].get(name, 0) >= each[name] for name in each)]
        count = settings.machines or min(len(fitting), nodes)
        if count == 0:
            raise StartError(f"no machine of the Ray cluster has {_resources(each)}", "Change [ray].")
        return [each] * count
    addresses = {node["NodeManagerAddress"] for node in alive}
    for machine, entry in enumerate(ip_map.machines):
        if entry.host not in addresses:
            raise StartError(
                f"machine {machine} of the IP map ({entry.host}) is not in the Ray cluster",
                f"Its machines are {', '.join(sorted(addresses))}; without --ip-map Ray chooses.",
            )
    return [{**each, f"node:{entry.host}": PINNED} for entry in ip_map.machines]


@dataclass(frozen=True)
class Wait:
    """How the launcher waits for the cluster."""

    stopped: Callable[[], bool]
    say: Callable[[str], None]

    def until(self, ready: Callable[[], bool], patience_s: float, what: str, advice: str = "") -> None:
        """`ready` waits a moment itself. Raises StartError when `what` does not come in time, Interrupted."""
        began = reminded = time.monotonic()
        while not ready():
            now = time.monotonic()
            if self.stopped():
                raise Interrupted(f"stopped while waiting for {what}")
            if now - began > patience_s:
                raise StartError(f"waited {now - began:.0f} s for {what}", advice)
            if now - reminded > REMIND_S:
                reminded = now
                self.say(f"waiting for {what} since {now - began:.0f} s")

    def answers(self, calls: Mapping[int, Any], patience_s: float = ANSWER_S) -> dict[int, Any]:
        """What each machine answers. Raises StartError as soon as one cannot."""
        machines = {call: machine for machine, call in calls.items()}
        found: dict[int, Any] = {}

        def ready() -> bool:
            done, _ = ray.wait(list(machines), num_returns=len(machines), timeout=TICK_S)
            for call in done:
                machine = machines.pop(call)
                found[machine] = _value(call, machine)
            return not machines

        what = f"an answer of machine {', '.join(map(str, calls))}"
        self.until(ready, patience_s, what, "`ray status` shows which machines are alive.")
        return found


@contextlib.contextmanager
def hosts(wanted: Sequence[Bundle], settings: Ray, wait: Wait, patience_s: float) -> Iterator[dict[int, Actor]]:
    """An actor on each of so many different machines; at the end they and their agents are ended.

    The cluster may first have to grow, so machines that it does not have yet are waited for.
    """
    group = placement_group(list(wanted), strategy="STRICT_SPREAD")
    actors: dict[int, Actor] = {}
    try:
        what = f"{len(wanted)} machines of the Ray cluster with {_resources(wanted[0])} free"
        advice = "`ray status` shows what the cluster has; change [ray], or start more Ray nodes."
        wait.until(lambda: bool(group.wait(timeout_seconds=TICK_S)), patience_s, what, advice)
        for index in range(len(wanted)):
            strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
            options = {"num_cpus": settings.cpus, "num_gpus": settings.gpus, "scheduling_strategy": strategy}
            actors[index] = ray.remote(Host).options(max_restarts=0, **options).remote()
        yield actors
    finally:
        ends = [actor.end.remote() for actor in actors.values()]
        if ends:
            ray.wait(ends, num_returns=len(ends), timeout=END_S)
        for actor in actors.values():
            ray.kill(actor)
        remove_placement_group(group)


def reason(error: RayError) -> str:
    """In one line; Ray's own texts hold whole tracebacks."""
    if isinstance(error, RayTaskError):
        return _first_line(error.cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, RayActorError) and any("Traceback" in line for line in lines):
        return lines[-1]  # the actor could not be made
    return lines[0] if lines else type(error).__name__


def _value(call: Any, machine: int) -> Any:
    try:
        return ray.get(call, timeout=ANSWER_S)
    except RayTaskError as error:
        if isinstance(error.cause, DecentralizedError):
            raise StartError(f"machine {machine}: {error.cause}", error.cause.advice) from None
        raise StartError(f"machine {machine}: {reason(error)}") from None
    except RayError as error:
        raise StartError(
            f"machine {machine}: {reason(error)}",
            "Every machine of the cluster needs the same version of this package, in the Python that Ray uses there.",
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _resources(bundle: Bundle) -> str:
    named = {name: amount for name, amount in bundle.items() if not name.startswith("node:")}
    return " and ".join(f"{amount:g} {name}" for name, amount in named.items())
