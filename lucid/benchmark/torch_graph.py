"""A Graph computed by PyTorch: each node by the functions of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lucid.inference import Graph, Node

__all__ = ["TorchGraph"]


class TorchGraph:
    """Calling it with the inputs gives the output; all are torch tensors.

    Args:
        device: Where the weights are, by its name in PyTorch.
        dtype: Of the weights, one of PyTorch's; float32 if None.
        channels_last: Whether the weights of convolutions have the channels of a tap together.

    Raises:
        NotImplementedError: A node is of a kind that is not translated.
        ImportError: There is no PyTorch.
    """

    def __init__(
        self, graph: Graph, device: str = "cpu", dtype: Any = None, channels_last: bool = True
    ) -> None:
        unknown = {node.kind for node in graph.nodes} - COMPUTE.keys()
        if unknown:
            raise NotImplementedError(f"nodes of the kind {', '.join(sorted(unknown))} are not translated")
        self._inputs, [self._output] = tuple(graph.inputs), graph.outputs
        self._nodes = [(node, _parameters(node, device, dtype, channels_last)) for node in graph.nodes]

    def weights(self) -> list[Any]:
        """The tensors of all weights, node by node."""
        return [parameters[name] for node, parameters in self._nodes for name in node.weights]

    def __call__(self, *inputs: Any) -> Any:
        values = dict(zip(self._inputs, inputs, strict=True))
        for node, parameters in self._nodes:
            y = COMPUTE[node.kind](node, parameters, *(values[name] for name in node.inputs))
            values[node.output] = y.relu_() if node.attributes.get("relu") else y
        return values[self._output]


def _parameters(node: Node, device: str, dtype: Any, channels_last: bool) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"bias": None}
    for name, array in node.weights.items():
        tensor = torch.from_numpy(array.copy()).to(device, dtype)
        if array.ndim == 4 and channels_last:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        found[name] = tensor
    if node.kind == "batch_norm":
        found["running_mean"] = torch.zeros_like(found["weight"])
        found["running_var"] = torch.ones_like(found["weight"])
    return found


def _batch_norm(node: Node, parameters: Mapping[str, Any], x: Any) -> Any:
    from torch.nn import functional as F

    return F.batch_norm(x, **parameters, eps=0.0)


def _flatten(node: Node, parameters: Mapping[str, Any], x: Any) -> Any:
    return x.flatten(1)


def _unflatten(node: Node, parameters: Mapping[str, Any], x: Any) -> Any:
    return x[:, :, None, None]


def _relu(node: Node, parameters: Mapping[str, Any], x: Any) -> Any:
    return x.relu()


def _add(node: Node, parameters: Mapping[str, Any], a: Any, b: Any) -> Any:
    return a + b


def _softmax(node: Node, parameters: Mapping[str, Any], x: Any) -> Any:
    return (
        x.log_softmax(node.attributes["dim"]) if node.attributes["log"] else x.softmax(node.attributes["dim"])
    )


def _conv2d(node: Node, parameters: Mapping[str, Any], x: Any, *residual: Any) -> Any:
    from torch.nn import functional as F

    arguments: dict[str, Any] = {**parameters, **node.attributes}
    del arguments["relu"]
    top, left, bottom, right = arguments["padding"]
    arguments["padding"] = (top, left)
    if (top, left) != (bottom, right):
        x, arguments["padding"] = F.pad(x, (left, right, top, bottom)), 0
    y = F.conv2d(x, **arguments)
    return y.add_(residual[0]) if residual else y


def _linear(node: Node, parameters: Mapping[str, Any], x: Any) -> Any:
    from torch.nn import functional as F

    groups: Any = node.attributes["groups"]
    if groups == 1:
        return F.linear(x, **parameters)
    weight = parameters["weight"][:, :, None, None]
    y = F.conv2d(x[:, :, None, None], weight, parameters["bias"], groups=groups)
    return y.flatten(1)


def _pool(name: str) -> Callable[..., Any]:
    def compute(node: Node, parameters: Mapping[str, Any], x: Any) -> Any:
        from torch.nn import functional as F

        window: dict[str, Any] = dict(node.attributes)
        top, left, bottom, right = window["padding"]
        if (top, left) != (bottom, right):
            raise NotImplementedError(f"{name} with padding {window['padding']} is not translated")
        window["padding"] = (top, left)
        if name == "avg_pool2d":
            window["divisor_override"] = window["divisor_override"] or None
        return getattr(F, name)(x, **window)

    return compute


def _radix_sum_pool(node: Node, parameters: Mapping[str, Any], x: Any) -> Any:
    return x.unflatten(1, (node.attributes["radix"], -1)).sum(1).mean((2, 3))


def _split_attention(node: Node, parameters: Mapping[str, Any], x: Any, logits: Any) -> Any:
    """The published code's: splits times their weights, added one by one.

    One sum over a dimension of splits takes ten times as long in channels_last, at 64 channels of 56x56.
    """
    radix, cardinality = node.attributes["radix"], node.attributes["cardinality"]
    by_split = logits.view(len(logits), cardinality, radix, -1).transpose(1, 2)
    weights = by_split.softmax(1) if radix != 1 else by_split.sigmoid()
    pixels = weights.flatten(1)[..., None, None]
    return sum(
        split * weight for split, weight in zip(x.chunk(radix, 1), pixels.chunk(radix, 1), strict=True)
    )


# All kinds that the optimized graphs of the models have, and those that are measured on their own.
COMPUTE: Mapping[str, Callable[..., Any]] = {
    "add": _add,
    "batch_norm": _batch_norm,
    "conv2d": _conv2d,
    "linear": _linear,
    "flatten": _flatten,
    "unflatten": _unflatten,
    "relu": _relu,
    "softmax": _softmax,
    "max_pool2d": _pool("max_pool2d"),
    "avg_pool2d": _pool("avg_pool2d"),
    "radix_sum_pool": _radix_sum_pool,
    "split_attention": _split_attention,
}
