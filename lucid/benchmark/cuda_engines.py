"""The engines on a GPU: each makes a function that enqueues a case for an input which is there already."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from lucid.benchmark.cases import Array, Case
from lucid.benchmark.engines import Call, Engine, channels_last
from lucid.inference import InferencePlan
from lucid.tensor import Tensor

__all__ = ["CUDA_PEERS", "cuda_engines"]

# Those that are not lucid, and have kernels for CUDA.
CUDA_PEERS = ("torch",)

_WARMING_UP = 3  # runs in which PyTorch allocates, and tries cuDNN's algorithms


def cuda_engines(device: str, dtype: str) -> Mapping[str, Engine]:
    """The engines by name, computing on ``device`` in ``dtype``. Threads of the CPU mean nothing to them."""

    def plan(case: Case, inputs: Sequence[Array], threads: int) -> Call:
        """A plan takes float32 in any dtype, and converts it."""
        compiled = InferencePlan(case.graph, device=device, internal_dtype=dtype)
        prepared = [Tensor(channels_last(x)).to(device) for x in inputs]
        return lambda: compiled(*prepared)

    def eager(case: Case, inputs: Sequence[Array], threads: int) -> Call:
        assert case.eager is not None
        model = copy.deepcopy(case.eager).to(device, dtype).requires_grad_(False)
        prepared = [Tensor(channels_last(x)).to(device, dtype) for x in inputs]
        return lambda: model(*prepared)

    def torch(case: Case, inputs: Sequence[Array], threads: int) -> Call:
        return _torch_graph(case, inputs, device, dtype)

    return {"plan": plan, "eager": eager, "torch": torch}


def _torch_graph(case: Case, inputs: Sequence[Array], device: str, dtype: str) -> Call:
    """PyTorch in channels_last, captured as a CUDA graph, which saves it the launches of eager calls."""
    import torch

    from lucid.benchmark.torch_graph import TorchGraph

    if not torch.cuda.is_available():
        raise ImportError(f"a PyTorch that can compute on {device}")
    # Its sums of float32 are FMAs as well, and its algorithms the best of those that it tries.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    kind = getattr(torch, dtype)
    graph = TorchGraph(case.graph, device=device, dtype=kind)
    prepared = [torch.from_numpy(channels_last(x)).to(device, kind) for x in inputs]
    cuda: Any = torch.cuda
    side, captured = cuda.Stream(device), cuda.CUDAGraph()
    with torch.inference_mode(), cuda.device(device):
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(_WARMING_UP):
                graph(*prepared)
        cuda.current_stream().wait_stream(side)
        with cuda.graph(captured):
            y = graph(*prepared)

    def call() -> object:
        captured.replay()
        return y

    return call
