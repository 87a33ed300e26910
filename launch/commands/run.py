"""`decentralized run`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.data.cards import data_root
from decentralized.errors import ConfigError, DecentralizedError
from decentralized.run_directory import RunDirectory
from launch import ip_map as maps
from launch.agent import Agent, Plan
from launch.progress import View, duration, size


def run(
    path: Path, overrides: list[str], ip_map: Path | None, machine: int, out: Path, data: Path | None, report: bool
) -> None:
    """Runs this machine's nodes; machine 0 also prints the results and makes the report."""
    console = Console()
    plan = make_plan(path, overrides, ip_map, machine, out, data)
    directory = Agent(plan, View(console)).run()
    if machine == 0:
        _print_results(console, directory, report)


def make_plan(
    path: Path, overrides: list[str], ip_map: Path | None, machine: int, out: Path, data: Path | None
) -> Plan:
    """Everything that can be known without importing torch; raises ConfigError."""
    experiment = config.load(path, BuiltIn(import_others=False), overrides)
    machines = maps.load(ip_map) if ip_map else maps.LOCAL
    if not 0 <= machine < len(machines.machines):
        raise ConfigError([f"--machine {machine}: the IP map has machines 0 to {len(machines.machines) - 1}"])
    machines.split(experiment.nodes)
    if experiment.network.transport == "memory" and len(machines.machines) > 1:
        raise ConfigError(
            ['network.transport = "memory" runs in one process; an IP map with several machines needs "tcp"']
        )
    return Plan(experiment, machines, machine, data_root(str(data) if data else None).absolute(), out)


def _print_results(console: Console, directory: RunDirectory, report: bool) -> None:
    from decentralized.report.series import load_run

    summary: Mapping[str, Any] = load_run(directory.path).summary or {}
    for metric, stats in summary.get("final", {}).items():
        if metric.startswith("test_"):
            spread = f"(worst to best node {stats['min']:.4f} to {stats['max']:.4f})"
            console.print(f"[bold]{metric} {stats['mean']:.4f}[/bold] {spread}", highlight=False)
    console.print(
        f"bytes sent {size(summary['bytes_sent'])} by all nodes, "
        f"time {duration(summary['time_s'])} for {summary['rounds']} rounds, start {summary['start_s']:.1f} s",
        highlight=False,
    )
    console.print(f"run directory {escape(str(directory.path))}", soft_wrap=True, highlight=False)
    if report:
        _make_report(console, directory)


def _make_report(console: Console, directory: RunDirectory) -> None:
    """A run that has finished stays a success when its report cannot be made."""
    from decentralized.report.html import make_report

    try:
        page = make_report([directory.path])
    except DecentralizedError as error:
        console.print(f"no report: {error}", highlight=False, markup=False)
        return
    console.print(f"plots         {escape(str(directory.plots))}", soft_wrap=True, highlight=False)
    console.print(f"report        {escape(str(page))}", soft_wrap=True, highlight=False)
