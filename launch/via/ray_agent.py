"""An agent on a machine of a Ray cluster, for a launcher like one that it started itself (remote_agent.py)."""

from __future__ import annotations

import signal
import time

import ray
from ray.exceptions import ActorUnavailableError, RayError

from decentralized import control
from decentralized.control import AnyFact
from launch.via.ray_cluster import TICK_S, Actor, reason
from launch.via.ray_host import News


class RayAgent:
    """Asks the actor of one machine for news, and never waits for an answer."""

    def __init__(self, host: Actor) -> None:
        self._host = host
        self._asked = host.news.remote()
        self._left = False
        self.status: int | None = None
        """The exit code once the agent has ended; minus a signal when its machine or its actor is lost."""
        self.errors = ""

    def poll(self) -> list[AnyFact]:
        """The facts that have arrived."""
        if self.status is not None or not ray.wait([self._asked], timeout=0)[0]:
            return []
        news = self._news()
        if self.status is None:
            self._asked = self._host.news.remote()
        return [control.decode(line) for line in news.facts.splitlines()]

    def _news(self) -> News:
        try:
            news: News = ray.get(self._asked)
        except ActorUnavailableError:  # for the moment; Ray says when it gives it up
            return News(b"", None, "")
        except RayError as error:
            news = News(b"", -signal.SIGKILL, reason(error))
        self.status, self.errors = news.status, news.errors
        return news

    def stop(self) -> None:
        """Like one Ctrl-C."""
        self._host.stop.remote()

    def leave(self) -> None:
        """The agent ends everything at once."""
        if not self._left:
            self._left = True
            self._host.leave.remote()

    def kill(self) -> None:
        """End the actor; its agent ends with it."""
        if self.status is None:
            self.status = -signal.SIGKILL
            ray.kill(self._host)

    def close(self, patience_s: float) -> None:
        """Wait for the agent's end, and kill it when that does not come."""
        self.leave()
        until = time.monotonic() + patience_s
        while self.status is None and time.monotonic() < until:
            self.poll()
            time.sleep(TICK_S)
        self.kill()
