"""Compiled plans: ``compile`` a model for a shape, then call the plan, save it and load it elsewhere.

``to_onnx`` belongs to ``lucid.onnx``, and is lent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lucid import late_names
from lucid.inference.graph import Graph, Node
from lucid.inference.passes import optimize
from lucid.inference.pixels import Pixels
from lucid.inference.plan import InferencePlan, compile, load_plan
from lucid.inference.report import Profile, Step, StepTime
from lucid.inference.trace import trace

if TYPE_CHECKING:
    to_onnx: Any

__all__ = [
    "Graph",
    "InferencePlan",
    "Node",
    "Pixels",
    "Profile",
    "Step",
    "StepTime",
    "compile",
    "load_plan",
    "optimize",
    "to_onnx",
    "trace",
]

if not TYPE_CHECKING:  # seen by a type checker, it would let any misspelt attribute pass

    def __getattr__(name: str) -> Any:
        return late_names.find(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *late_names.names(__name__)})
