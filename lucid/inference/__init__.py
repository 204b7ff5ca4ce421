"""Compiled plans: ``compile`` a model for a shape, then call the plan, save it and load it elsewhere."""

from __future__ import annotations

from lucid.inference.graph import Graph, Node
from lucid.inference.onnx import to_onnx
from lucid.inference.passes import optimize
from lucid.inference.plan import InferencePlan, compile, load_plan
from lucid.inference.report import Profile, Step, StepTime
from lucid.inference.trace import trace

__all__ = [
    "Graph",
    "InferencePlan",
    "Node",
    "Profile",
    "Step",
    "StepTime",
    "compile",
    "load_plan",
    "optimize",
    "to_onnx",
    "trace",
]
