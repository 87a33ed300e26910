"""`decentralized launch --via ssh`: one agent on every machine, started, shown and stopped from here."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from decentralized import config
from decentralized.errors import Interrupted, StorageError
from decentralized.run_directory import RunDirectory
from launch import records
from launch.commands.output import option_mistake
from launch.commands.run import print_results
from launch.ip_map import IpMap
from launch.plan import Plan
from launch.progress import View
from launch.signals import Signals
from launch.via.collect import collect
from launch.via.crew import Crew
from launch.via.ending import blame, kill_rest, remarks
from launch.via.parallel import run_all
from launch.via.preflight import ANSWER_S, CONFIG, IP_MAP, Preflight
from launch.via.project import sources
from launch.via.remote import ATTACHED, RUNS, Remote, remotes
from launch.via.request import LaunchRequest

PACKAGE = Path(__file__).resolve().parents[2]  # the folder that holds this package
OPENED = """printf '{"type":"Opened","directory":"","pid":%s}\\n' "$$"; exec"""  # the process id, before Python starts


def launch(request: LaunchRequest) -> None:
    """Check, start, follow, and bring home. Raises what ended the run, after everything has been stopped."""
    if request.ip_map is None:
        raise option_mistake("--via ssh needs an --ip-map")
    signals = Signals()
    console = Console()
    with signals.noted():
        directory = _Launch(request, request.ip_map, signals, View(console)).run()
    print_results(console, directory, request.report)


class _Launch:
    """One launch, from the first look at the machines to the last file that comes home."""

    def __init__(self, request: LaunchRequest, ip_map: IpMap, signals: Signals, view: View) -> None:
        self._request, self._ip_map, self._signals, self._view = request, ip_map, signals, view
        self._machines = remotes(ip_map)
        self._there = f"{RUNS}/.launch-{secrets.token_hex(4)}"  # our own files, below each workdir
        self._out = request.resumes.path.parent if request.resumes else request.out
        self._crew = Crew(Plan(request.experiment, ip_map, 0, Path(), self._out), view, signals)

    def run(self) -> RunDirectory:
        RunDirectory.join(self._out)  # it must be there in the end: better to know now
        with self._checked():
            if self._request.resumes is not None:
                records.forget_end(self._request.resumes)
            commands = {remote.machine: remote.inside(self._agent(remote)) for remote in self._machines}
            try:
                self._crew.run(commands)
            finally:
                for line in kill_rest(self._machines, self._crew.ends, self._crew.pids):
                    self._view.say(line)
        return self._ended()

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        """While this lasts, our files are on every machine, and no problem is known."""
        project = sources(self._request.experiment, PACKAGE, Path.cwd()) if self._request.copy else []
        preflight = Preflight(self._request, self._ip_map, self._machines, self._heed("stopped before the start"))
        self._view.say(f"looking at {len(self._machines)} machines{', after copying the project' if project else ''}")
        try:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / CONFIG).write_text(config.dump(self._request.experiment), encoding="utf-8")
                (Path(folder) / IP_MAP).write_text(self._ip_map.dump(), encoding="utf-8")
                warnings = preflight.run(Path(folder), self._there, project)
            for line in warnings:
                self._view.say(f"warning: {line}")
            yield
        finally:
            tidy = f"rm -rf -- {shlex.quote(self._there)}"
            run_all({remote.machine: remote.inside(tidy) for remote in preflight.reached}, ANSWER_S)

    def _agent(self, remote: Remote) -> str:
        """The script that becomes a machine's agent."""
        resumes = self._request.resumes
        what = (
            ["resume", f"{RUNS}/{resumes.path.name}"] if resumes else ["run", f"{self._there}/{CONFIG}", "--out", RUNS]
        )
        ip_map = ["--ip-map", f"{self._there}/{IP_MAP}"]
        arguments = [*what, *ip_map, "--machine", str(remote.machine), ATTACHED]
        if self._request.data is not None:
            arguments += ["--data", str(self._request.data)]
        return f"{OPENED} {remote.program(*arguments)}"

    def _ended(self) -> RunDirectory:
        """The run directory, with all of its parts; raises what ended the run."""
        crew, home = self._crew, self._crew.home
        problems: list[str] = []
        if home is not None:
            problems = collect(self._machines, crew.directories, home.path, self._heed("stopped while files came home"))
        resume = f"decentralized launch {shlex.quote(str(home.path))} --via ssh" if home else ""
        error = blame(crew.ends, self._machines, resume)
        for line in [*remarks(crew.ends, self._machines, error), *problems]:
            self._view.say(line)
        if error is not None:
            raise error
        if home is None or problems:
            raise StorageError("the run has ended, and not all of its files came home", "The lines above say why.")
        return home

    def _heed(self, message: str) -> Callable[[], None]:
        """Raises when somebody has asked to stop since now."""
        before = self._signals.stops

        def look() -> None:
            if self._signals.stops > before:
                raise Interrupted(message)

        return look
