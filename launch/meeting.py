"""How the agents of several machines find each other and make sure that they run the same thing."""

from __future__ import annotations

import time

from decentralized import errors
from decentralized.control import Abort, Join, Welcome
from decentralized.errors import DecentralizedError, Interrupted, StartError
from launch.agents import AgentNetwork
from launch.hello import before_start, differences
from launch.plan import Plan
from launch.progress import View
from launch.reach import obstacle
from launch.signals import Signals

TICK_S = 0.1
REMIND_S = 5.0


def join(plan: Plan, network: AgentNetwork, signals: Signals, view: View) -> Welcome:
    """Announce this machine to machine 0 and wait for its answer; the directory in it is below this machine's --out.

    Raises StartError when machine 0 does not answer in time, Interrupted, and whatever machine 0 ends the run with.
    """
    network.tell([Join(plan.machine, before_start(plan))])
    where = plan.ip_map.agent_address(0)
    began = reminded = time.monotonic()
    while True:
        for _, fact in network.hear():
            if isinstance(fact, Welcome):
                return Welcome(fact.run, fact.token, str(plan.out / fact.directory))
            if isinstance(fact, Abort):
                raise revive(fact)
        now = time.monotonic()
        if signals.stops:
            raise Interrupted("stopped while waiting for machine 0")
        if now - began > plan.experiment.network.start_deadline_s:
            why = obstacle(plan.ip_map.machines[0].host, plan.ip_map.agent_port(0))
            raise StartError(f"machine 0 ({where}) did not answer for {now - began:.0f} s: {why}")
        if now - reminded > REMIND_S:
            reminded = now
            why = obstacle(plan.ip_map.machines[0].host, plan.ip_map.agent_port(0))
            view.say(f"waiting for machine 0 at {where} since {now - began:.0f} s: {why}")
        time.sleep(TICK_S)


def examine(plan: Plan, machine: int, fact: Join) -> tuple[Abort | None, list[str]]:
    """Why this machine may not take part, if it does not run what machine 0 runs; and warnings."""
    who = f"machine {machine} ({plan.ip_map.agent_address(machine)})"
    return differences(before_start(plan), fact.identity, who)


def revive(abort: Abort) -> DecentralizedError:
    """The error that an Abort fact stands for."""
    kind = getattr(errors, abort.error, DecentralizedError)
    if kind is errors.ConfigError:
        return errors.ConfigError(abort.message.splitlines())
    error: DecentralizedError = kind(abort.message, abort.advice)
    error.exit_code = abort.exit_code
    return error
