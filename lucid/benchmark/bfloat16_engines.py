"""The engines that compute in bfloat16 on the CPU, from inputs in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lucid.benchmark.cases import Array, Case
from lucid.benchmark.engines import Call, Engine, channels_last, openvino_engine
from lucid.inference import InferencePlan

__all__ = ["BFLOAT16_ENGINES", "BFLOAT16_PEERS"]


def _plan(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    plan = InferencePlan(case.graph, internal_dtype="bfloat16")
    prepared = [channels_last(x) for x in inputs]
    return lambda: plan(*prepared)


def _openvino(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    return openvino_engine(case, inputs, threads, "bf16")


def _torch(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    """Eager PyTorch in channels_last; its conversions of the input and the output count."""
    import torch

    from lucid.benchmark.torch_graph import TorchGraph

    torch.set_num_threads(threads)
    graph = TorchGraph(case.graph, dtype=torch.bfloat16)
    prepared = [torch.from_numpy(channels_last(x)) for x in inputs]

    def call() -> object:
        with torch.inference_mode():
            return graph(*(x.bfloat16() for x in prepared)).float()

    return call


BFLOAT16_ENGINES: Mapping[str, Engine] = {"plan": _plan, "torch": _torch, "openvino": _openvino}

# Those that are not lucid.
BFLOAT16_PEERS = ("torch", "openvino")
