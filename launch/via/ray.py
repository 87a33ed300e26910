"""`launch --via ray`: one agent on each machine of a running Ray cluster. Ray itself is an optional package."""

from __future__ import annotations

from decentralized.errors import StartError
from launch.via.request import LaunchRequest


def launch(request: LaunchRequest) -> None:
    """Runs to the end; raises the error with which the run ended."""
    try:
        import ray  # noqa: F401
    except ImportError:
        raise StartError("Ray is not installed", "Install it with: pip install 'decentralized[ray]'") from None
    from launch.via.ray_run import run

    run(request)
