"""The settings of PyTorch for a single convolution on the CPU: all are measured, and the best one counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lucid.benchmark.cases import Array, Case
from lucid.benchmark.comparison import Comparison
from lucid.benchmark.engines import Call, Engine, channels_last

__all__ = ["SETTINGS", "best_setting", "with_settings"]


def _nchw(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    return _graph(case, list(inputs), threads, channels_last=False)


def _channels_last(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    return _graph(case, [channels_last(x) for x in inputs], threads, channels_last=True)


def _graph(case: Case, inputs: list[Array], threads: int, channels_last: bool) -> Call:
    import torch

    from lucid.benchmark.torch_graph import TorchGraph

    torch.set_num_threads(threads)
    graph = TorchGraph(case.graph, channels_last=channels_last)
    prepared = [torch.from_numpy(x) for x in inputs]

    def call() -> object:
        with torch.inference_mode():
            return graph(*prepared)

    return call


def _prepacked(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    """oneDNN's convolution with weights in its own order, as ``torch.compile`` calls it after freezing."""
    import torch

    torch.set_num_threads(threads)
    [node], [x] = case.graph.nodes, [torch.from_numpy(channels_last(x)) for x in inputs]
    attributes: Mapping[str, Any] = node.attributes
    top, left, bottom, right = attributes["padding"]
    if (top, left) != (bottom, right):
        raise NotImplementedError(f"prepacked with padding {attributes['padding']} is not translated")
    window = [[top, left], attributes["stride"], attributes["dilation"], attributes["groups"]]
    functions: Any = torch.ops.mkldnn
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    weight: Any = torch.from_numpy(node.weights["weight"]).to_mkldnn()
    packed = reorder(weight, *window, x.shape)
    bias = torch.from_numpy(node.weights["bias"]) if "bias" in node.weights else None

    def call() -> object:
        with torch.inference_mode():
            return functions._convolution_pointwise(x, packed, bias, *window, "none", [], "")

    return call


SETTINGS: Mapping[str, Engine] = {
    "nchw": _nchw,
    "channels_last": _channels_last,
    "prepacked": _prepacked,
}


def with_settings(case: Case, engines: Mapping[str, Engine]) -> dict[str, Engine]:
    """The engines for a case, with ``torch`` once for each setting where the case is one convolution."""
    if [node.kind for node in case.graph.nodes] != ["conv2d"]:
        return dict(engines)
    found: dict[str, Engine] = {}
    for name, engine in engines.items():
        found |= {_named(way): SETTINGS[way] for way in SETTINGS} if name == "torch" else {name: engine}
    return found


def best_setting(result: Comparison) -> Comparison:
    """The result with the fastest setting as ``torch``; one without settings as it is."""
    timings = {way: result.timings[_named(way)] for way in SETTINGS if _named(way) in result.timings}
    refused = {way: result.refused[_named(way)] for way in SETTINGS if _named(way) in result.refused}
    if not timings and not refused:
        return result
    settings = {_named(way) for way in SETTINGS}
    others = {name: timing for name, timing in result.timings.items() if name not in settings}
    if not timings:
        reasons = {name: reason for name, reason in result.refused.items() if name not in settings}
        return replace(result, refused={**reasons, "torch": refused["channels_last"]})
    best = min(timings.values(), key=lambda timing: timing.median)
    return replace(result, timings={**others, "torch": best}, settings={"torch": timings})


def _named(setting: str) -> str:
    return f"torch {setting}"
