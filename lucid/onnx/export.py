"""Models, plans and graphs as ONNX files, for other engines."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import SupportsIndex

from lucid import arguments
from lucid.inference.graph import Graph
from lucid.inference.passes import optimize
from lucid.inference.plan import InferencePlan
from lucid.inference.trace import trace
from lucid.nn.module import Module
from lucid.onnx.nodes import to_model
from lucid.onnx.package import require_onnx

__all__ = ["export"]

# Bytes of weights in the file itself: a protobuf message ends at 2^31, nodes and names included.
_MOST_BYTES = 2_000_000_000


def export(
    model: Module | InferencePlan | Graph,
    path: str | PathLike[str],
    *,
    shape: Sequence[SupportsIndex] | None = None,
    symbolic_batch: bool = False,
) -> None:
    """Writes an ONNX file, which ``onnx.checker`` has accepted.

    Inputs, outputs and values have the names of the graph, which are those of the modules that compute them.

    Args:
        model: A module in eval mode, which is traced and gets batch norm folded as in a plan; or a plan, or a
            graph, which is written as it is.
        path: The file, which is overwritten. It holds up to 2 GB of weights; more lie in a file beside it, of
            this path with ``.data`` behind, and the two belong together.
        shape: Of the input, ``(n, c, h, w)`` or ``(n, c)``; for modules, and for them only.
        symbolic_batch: Whether the file takes any number of images. Height and width stay as they are.

    Raises:
        ImportError: The package onnx is not installed.
        NotImplementedError: The model does what no graph can express, or a node has no translation.
        ValueError: ``shape`` is missing, or does not fit the model; or the model is in training mode.
        TypeError: ``model`` is none of the above.
        OSError: The file cannot be written.
    """
    onnx = require_onnx("onnx.export")
    pixels = model.pixels if isinstance(model, InferencePlan) else {}
    written = to_model(_graph(model, shape), symbolic_batch, pixels)
    if sum(len(tensor.raw_data) for tensor in written.graph.initializer) <= _MOST_BYTES:
        serialised = written.SerializeToString()
        onnx.checker.check_model(serialised)
        Path(path).write_bytes(serialised)
        return
    data = Path(f"{path}.data")
    data.unlink(missing_ok=True)  # onnx would add to what is there
    onnx.save(written, path, save_as_external_data=True, location=data.name)
    onnx.checker.check_model(str(path))  # it opens the file, since no message of this size can be made


def _graph(model: Module | InferencePlan | Graph, shape: Sequence[SupportsIndex] | None) -> Graph:
    if isinstance(model, Module):
        if shape is None:
            raise ValueError("onnx.export: shape must be given for a module, got none")
        return optimize(trace(model, arguments.shape("onnx.export", (shape,))))
    if not isinstance(model, (InferencePlan, Graph)):
        raise TypeError(
            f"onnx.export: model must be a Module, an InferencePlan or a Graph, got {type(model).__name__}"
        )
    if shape is not None:
        raise ValueError(f"onnx.export: shape must be given for a module only, got {tuple(shape)}")
    return model.graph if isinstance(model, InferencePlan) else model
