"""Gradients as cases: those of an operator's inputs and weights, all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lucid.benchmark.cases import Array, Case
from lucid.benchmark.engines import Call, Engine, channels_last
from lucid.tensor import Tensor

__all__ = ["GRADIENT_ENGINES", "GradientCase", "gradient_case"]

# Of a central difference in float64: its rounding is 1e-8 of the value, and hardly an element of an image is
# so near to a corner of a ReLU, or to another largest value.
_STEP = 1e-8


@dataclass(frozen=True)
class GradientCase(Case):
    """The gradients of another case, for an output's gradient ``dy`` that is drawn.

    They are checked by two numbers, which take no second implementation: the slope along a random direction
    of the inputs, and the sum of weights times their gradients, which is that of ``dy`` times the output, as
    all operators are linear in their weights.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        [node] = self.graph.nodes
        inputs = sum(math.prod(shape) for shape in self.graph.inputs.values())
        weights = sum(array.size for array in node.weights.values())
        # Each is read, and its gradient written; dy is read.
        elements = 2 * (inputs + weights) + math.prod(self.graph.shapes[node.output])
        object.__setattr__(self, "macs", self.macs * (2 if node.weights else 1))
        object.__setattr__(self, "bytes", elements * self.itemsize)

    @property
    def dy(self) -> Array:
        """The gradient of the output, the same each time."""
        shape = self.graph.shapes[self.graph.outputs[0]]
        return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)

    def directions(self) -> list[Array]:
        """A direction for each input, the same each time."""
        rng = np.random.default_rng(2)
        return [rng.standard_normal(shape, dtype=np.float32) for shape in self.graph.inputs.values()]


def gradient_case(case: Case) -> GradientCase:
    """The gradients of a case of one operator."""
    forward, [node] = case.expected, case.graph.nodes

    def expected(*inputs: Array) -> Array:
        dy, steps = found.dy.astype(np.float64), [_STEP * v.astype(np.float64) for v in found.directions()]
        above = forward(*(x + step for x, step in zip(inputs, steps, strict=True)))
        below = forward(*(x - step for x, step in zip(inputs, steps, strict=True)))
        numbers = [(dy * (above - below)).sum() / (2 * _STEP)]
        if node.weights:
            numbers.append((dy * forward(*inputs)).sum())
        return np.array(numbers)

    found = GradientCase(f"{case.name}_backward", case.graph, case.eager, expected, case.counts)
    return found


class _Gradients:
    """The gradients of inputs and weights, which become the numbers that are checked when somebody looks."""

    def __init__(
        self, case: GradientCase, of_inputs: Sequence[Any], of_weights: Sequence[Any], weights: Sequence[Any]
    ) -> None:
        self._pairs = [(of_inputs, case.directions), *([(of_weights, lambda: weights)] if weights else [])]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array([_product(gradients, values()) for gradients, values in self._pairs], dtype=dtype)


def _product(gradients: Sequence[Any], values: Sequence[Any]) -> float:
    pairs = zip(gradients, values, strict=True)
    return float(sum((np.asarray(g, np.float64) * np.asarray(v, np.float64)).sum() for g, v in pairs))


def _eager(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    assert isinstance(case, GradientCase)
    assert case.eager is not None
    model = case.eager.requires_grad_()
    given = [Tensor(channels_last(x)).requires_grad_() for x in inputs]
    weights: list[Tensor] = list(model.parameters())
    y, dy = model(*given), Tensor(channels_last(case.dy))

    def call() -> object:
        for leaf in (*given, *weights):
            leaf.grad = None
        y.backward(dy, retain_graph=True)
        of_inputs, of_weights = ([leaf.grad for leaf in leaves] for leaves in (given, weights))
        return _Gradients(case, of_inputs, of_weights, [weight.data for weight in weights])

    return call


def _torch(case: Case, inputs: Sequence[Array], threads: int) -> Call:
    """PyTorch's autograd, in channels_last."""
    import torch

    from lucid.benchmark.torch_graph import TorchGraph

    assert isinstance(case, GradientCase)
    torch.set_num_threads(threads)
    graph = TorchGraph(case.graph)
    given = [torch.from_numpy(channels_last(x)).requires_grad_() for x in inputs]
    weights = [weight.requires_grad_() for weight in graph.weights()]
    y, dy = graph(*given), torch.from_numpy(channels_last(case.dy))

    def call() -> object:
        found: Any = torch.autograd.grad(y, [*given, *weights], dy, retain_graph=True)
        values = [weight.detach() for weight in weights]
        return _Gradients(case, found[: len(given)], found[len(given) :], values)

    return call


# In this order in every round.
GRADIENT_ENGINES: Mapping[str, Engine] = {"eager": _eager, "torch": _torch}
