"""A run on a Ray cluster, from the choice of machines to the last file that comes home."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from decentralized import __version__, config
from decentralized.data.cards import data_root
from decentralized.errors import StartError, StorageError
from decentralized.run_directory import RunDirectory
from launch.commands.run import print_results
from launch.ip_map import IpMap, Machine
from launch.key import RunKey
from launch.plan import Plan
from launch.progress import View
from launch.signals import Signals
from launch.via.crew import Crew
from launch.via.ending import blame, remarks
from launch.via.ray_agent import RayAgent
from launch.via.ray_cluster import Actor, Wait, bundles, connected, hosts
from launch.via.ray_home import collect
from launch.via.ray_host import Offer, Order
from launch.via.request import LaunchRequest


def run(request: LaunchRequest) -> None:
    """Raises what ended the run, after everything has been stopped."""
    signals, console = Signals(), Console()
    with connected(), signals.noted():
        directory = _Launch(request, signals, View(console)).run()
    print_results(console, directory, request.report)


class _Launch:
    """One launch."""

    def __init__(self, request: LaunchRequest, signals: Signals, view: View) -> None:
        self._request, self._signals, self._view = request, signals, view
        self._out = request.resumes.path.parent if request.resumes else request.out.absolute()
        # Ray chooses the machines again, unless the user does.
        recorded = request.resumes is not None and request.ip_map_path == request.resumes.ip_map
        self._given = None if recorded else request.ip_map
        self._wait = Wait(lambda: signals.stops > 0, view.say)

    def run(self) -> RunDirectory:
        """The run directory, with all of its parts."""
        RunDirectory.join(self._out)  # it must be there in the end: better to know now
        experiment = self._request.experiment
        wanted = bundles(experiment.ray, self._given, experiment.nodes)
        with hosts(wanted, experiment.ray, self._wait, experiment.network.start_deadline_s) as actors:
            offers = self._offers(actors)
            ip_map = address_book(offers, self._given)
            ip_map.check_ports(experiment.nodes, experiment.network.ports)
            orders = self._orders(ip_map)
            crew = Crew(Plan(experiment, ip_map, 0, Path(), self._out), self._view, self._signals)
            self._wait.answers({machine: actor.start.remote(orders[machine]) for machine, actor in actors.items()})
            crew.follow({machine: partial(RayAgent, actor) for machine, actor in actors.items()})
            apart = {machine: actor for machine, actor in actors.items() if not offers[machine].shares_out}
            before = self._signals.stops
            failed = collect(apart, self._out, Wait(lambda: self._signals.stops > before, self._view.say))
        names = [f"machine {machine} ({offer.host})" for machine, offer in enumerate(offers)]
        problems = [
            f"{names[machine]}: its part of the run stays in {offers[machine].folder} there: {problem}"
            for machine, problem in failed.items()
        ]
        return self._ended(crew, names, problems)

    def _offers(self, actors: Mapping[int, Actor]) -> list[Offer]:
        with _probe(self._out) as probe:
            answers = self._wait.answers({machine: actor.offer.remote(probe) for machine, actor in actors.items()})
        offers: list[Offer] = [answers[machine] for machine in sorted(answers)]
        for machine, offer in enumerate(offers):
            if offer.version != __version__:
                raise StartError(
                    f"machine {machine} ({offer.host}) has version {offer.version}, this one has {__version__}",
                    "Install the same version of this package on all machines of the cluster.",
                )
            if self._request.resumes is not None and not offer.shares_out:
                raise StartError(
                    f"machine {machine} ({offer.host}) does not see {self._request.resumes.path}",
                    "Put the run on a disk that all machines share, or go on on one machine with `decentralized resume`"
                    " and an --ip-map of one machine.",
                )
        return offers

    def _orders(self, ip_map: IpMap) -> list[Order]:
        request, key = self._request, RunKey.new()
        configuration, addresses = config.dump(request.experiment), ip_map.dump()
        data = str(data_root(str(request.data) if request.data else None).absolute())
        return [
            Order(
                machine=machine,
                config=configuration,
                ip_map=addresses,
                key=key,
                out=str(self._out),
                resumes=str(request.resumes.path) if request.resumes else None,
                data=data,
                folder=entry.workdir or str(Path.cwd()),
                python=entry.python,
                environment=entry.env,
            )
            for machine, entry in enumerate(ip_map.machines)
        ]

    def _ended(self, crew: Crew, machines: Sequence[str], problems: Sequence[str]) -> RunDirectory:
        """Raises what ended the run."""
        home = crew.home
        error = blame(crew.ends, machines, f"decentralized launch {home.path} --via ray" if home else "")
        for line in [*remarks(crew.ends, machines, error), *problems]:
            self._view.say(line)
        if error is not None:
            raise error
        if home is None or problems:
            raise StorageError("the run has ended, and not all of its files came home", "The lines above say why.")
        return home


def address_book(offers: Sequence[Offer], given: IpMap | None) -> IpMap:
    """Where the machines say that they are; of a given IP map, all else stays."""
    entries = given.machines if given else [Machine(host=offer.host) for offer in offers]
    return IpMap(
        tuple(
            entry.model_copy(update={"host": offer.host, "port": entry.port or offer.port})
            for entry, offer in zip(entries, offers, strict=True)
        )
    )


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    """A file whose name nobody can know: a machine that sees it shares the folder."""
    path = folder / f".launch-{secrets.token_hex(8)}"
    path.touch()
    try:
        yield path
    finally:
        path.unlink()
