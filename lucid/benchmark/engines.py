"""The engines: each makes a function without arguments that computes a case for its inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from lucid.benchmark.cases import Array, Case
from lucid.benchmark.numpy_engine import NUMPY
from lucid.benchmark.xnnpack import xnnpack
from lucid.inference import InferencePlan
from lucid.onnx.nodes import to_onnx
from lucid.tensor import Tensor

__all__ = [
    "ENGINES",
    "OWN",
    "PEERS",
    "Call",
    "Engine",
    "channels_last",
    "openvino_engine",
    "openvino_model",
    "openvino_queue",
]

Call: TypeAlias = Callable[[], object]
Engine: TypeAlias = Callable[[Case, Sequence[Array], int], Call]


def channels_last(x: Array) -> Array:
    """The same image, whose memory has the channels of a pixel together; what is no image stays as it is."""
    if x.ndim != 4:
        return x
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _plan(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    plan, prepared = InferencePlan(case.graph), [channels_last(x) for x in inputs]
    return lambda: plan(*prepared)


def _eager(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    assert case.eager is not None
    model = case.eager.requires_grad_(False)  # which would be recorded, and kept, for backward
    prepared = [Tensor(channels_last(x)) for x in inputs]
    return lambda: model(*prepared)


def _torch(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    """Eager PyTorch, whose convolutions are oneDNN's, in channels_last."""
    import torch

    from lucid.benchmark.torch_graph import TorchGraph

    torch.set_num_threads(threads)
    graph = TorchGraph(case.graph)
    prepared = [torch.from_numpy(channels_last(x)) for x in inputs]

    def call() -> object:
        with torch.inference_mode():
            return graph(*prepared)

    return call


def openvino_model(case: Case, threads: int, precision: str, hint: str) -> Any:
    """The graph as OpenVINO compiles it, for a performance hint of LATENCY or THROUGHPUT."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
    }
    core: Any = openvino.Core()
    return core.compile_model(core.read_model(to_onnx(case.graph)), "CPU", settings)


def openvino_queue(compiled: Any) -> Any:
    """As many requests of a compiled model as OpenVINO finds best, each of which runs as soon as it can."""
    import openvino

    return openvino.AsyncInferQueue(compiled, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))


def openvino_engine(case: Case, inputs: Sequence[Array], threads: int, precision: str = "f32") -> Call:
    request = openvino_model(case, threads, precision, "LATENCY").create_infer_request()
    given = dict(enumerate(inputs))
    return lambda: request.infer(given, share_inputs=True, share_outputs=True)[0]


def _onnxruntime(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(
        to_onnx(case.graph), options, providers=["CPUExecutionProvider"]
    )
    given = dict(zip(case.graph.inputs, inputs, strict=True))
    return lambda: session.run(None, given)[0]


def _numpy(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    """On one thread; no formula depends on the layout."""
    kinds = [node.kind for node in case.graph.nodes]
    if len(kinds) != 1 or kinds[0] not in NUMPY:
        raise NotImplementedError(f"no formula for {kinds[0] if len(kinds) == 1 else 'a model'}")
    return functools.partial(NUMPY[kinds[0]], *inputs)


# In this order in every round.
ENGINES: Mapping[str, Engine] = {
    "plan": _plan,
    "eager": _eager,
    "torch": _torch,
    "openvino": openvino_engine,
    "onnxruntime": _onnxruntime,
    "ai-edge-litert": xnnpack,
    "numpy": _numpy,
}

# Lucid's ways; the last one is a plan that is called from several threads at once.
OWN = ("plan", "eager", "plan_streams")

# Those that are not lucid, under the names of their distributions.
PEERS = ("torch", "openvino", "onnxruntime", "ai-edge-litert", "numpy")
