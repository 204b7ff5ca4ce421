"""An ONNX file as a case: what others exported, on every engine."""

from __future__ import annotations

from os import PathLike

import numpy as np

from lucid.benchmark.cases import Case
from lucid.inference import InferencePlan, optimize
from lucid.onnx import OnnxNetwork

__all__ = ["onnx_case"]


def onnx_case(path: str | PathLike[str], batch: int = 1, size: tuple[int, int] = (224, 224)) -> Case:
    """The network of a file with one image in and one tensor out. It has no eager form.

    What is right is computed by a plan of each node as it stands in the file.

    Args:
        batch, size: Where the file leaves them open; else its own count, if these are the defaults.

    Raises:
        ValueError: The file is for other sizes, or has several outputs; or as for ``lucid.onnx.load``.
        ImportError, FileNotFoundError, NotImplementedError: As for ``lucid.onnx.load``.
    """
    network = OnnxNetwork(path)
    asked = {"batch": (batch, 1), "height": (size[0], 224), "width": (size[1], 224)}
    for name, (value, default) in asked.items():
        fixed = getattr(network, name)
        if fixed is not None and value not in (fixed, default):
            raise ValueError(f"{path} must get a {name} of {fixed}, for which it was exported, got {value}")
    sizes = {name: getattr(network, name) or value for name, (value, _) in asked.items()}
    graph = network.graph(**sizes)
    if len(graph.outputs) != 1:
        raise ValueError(f"{path} must have one output, got {', '.join(graph.outputs)}")
    reference = InferencePlan(graph, winograd=False)
    return Case(network.name, optimize(graph), None, lambda x: np.asarray(reference(x)), {network.name: 1})
