"""The engines: each makes a function without arguments that computes a case for one input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from lucid.benchmark.cases import Array, Case
from lucid.inference import InferencePlan
from lucid.onnx.nodes import to_onnx
from lucid.tensor import Tensor

__all__ = ["ENGINES", "PEERS", "Call", "Engine", "channels_last"]

Call: TypeAlias = Callable[[], object]
Engine: TypeAlias = Callable[[Case, Array, int], Call]


def channels_last(x: Array) -> Array:
    """The same image, whose memory has the channels of a pixel together; what is no image stays as it is."""
    if x.ndim != 4:
        return x
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _plan(case: Case, x: Array, threads: int) -> Call:
    plan, prepared = InferencePlan(case.graph), channels_last(x)
    return lambda: plan(prepared)


def _eager(case: Case, x: Array, threads: int) -> Call:
    model, prepared = case.eager, Tensor(channels_last(x))
    assert model is not None
    return lambda: model(prepared)


def _torch(case: Case, x: Array, threads: int) -> Call:
    """Eager PyTorch, whose convolutions are oneDNN's, in channels_last."""
    import torch

    from lucid.benchmark.torch_graph import TorchGraph

    torch.set_num_threads(threads)
    graph = TorchGraph(case.graph)
    prepared = torch.from_numpy(channels_last(x))

    def call() -> object:
        with torch.inference_mode():
            return graph(prepared)

    return call


def _openvino(case: Case, x: Array, threads: int) -> Call:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    core: Any = openvino.Core()
    compiled = core.compile_model(core.read_model(to_onnx(case.graph)), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]


def _onnxruntime(case: Case, x: Array, threads: int) -> Call:
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(
        to_onnx(case.graph), options, providers=["CPUExecutionProvider"]
    )
    [name] = case.graph.inputs
    return lambda: session.run(None, {name: x})[0]


# In this order in every round.
ENGINES: Mapping[str, Engine] = {
    "plan": _plan,
    "eager": _eager,
    "torch": _torch,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}

# Those that are not lucid, under the names of their distributions.
PEERS = ("torch", "openvino", "onnxruntime")
