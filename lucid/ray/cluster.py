"""The part of a Ray cluster that this process is."""

from __future__ import annotations

from typing import Any


def assigned_cpus() -> int | None:
    """The CPUs of the actor that this process is; None outside of Ray."""
    import ray

    if not ray.is_initialized():
        return None
    context: Any = ray.get_runtime_context()
    return max(1, int(context.get_assigned_resources().get("CPU", 1)))
