"""Plans: a module compiled for one shape of input, and run by the C++ executor."""

from __future__ import annotations

import statistics
import weakref
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, arguments
from lucid.inference.graph import Array, Graph, size_text
from lucid.inference.onnx import to_onnx
from lucid.inference.passes import optimize
from lucid.inference.plan_file import checksum, read_plan, write_plan
from lucid.inference.report import Profile, StepTime, steps_of, summary
from lucid.inference.trace import trace
from lucid.nn.module import Module
from lucid.recording import Shape
from lucid.tensor import Tensor, as_tensor

InputShape: TypeAlias = "Sequence[SupportsIndex] | Sequence[Sequence[SupportsIndex]]"

# Plans that somebody holds, by what they were made of.
_PLANS: weakref.WeakValueDictionary[tuple[Any, ...], InferencePlan] = weakref.WeakValueDictionary()


def compile(
    model: Module, input_shape: InputShape, dtype: npt.DTypeLike = "float32", winograd: bool = True
) -> InferencePlan:
    """A plan that computes the outputs of ``model``, for inputs of one shape.

    The model is traced by one forward pass on symbols, batch norm is folded into convolutions, additions and
    ReLUs are fused with them, and the weights are copied and packed for this machine. The model stays as it
    is; and what happens to it later, training included, does not reach the plan.

    While a plan for the same computation with the same weights is held by anybody, it is returned and no
    second one made. The weights are compared by checksum at each call, so a model that was trained in between
    gets a plan of its own. The trace and the checksums of 100 MB of weights take a tenth of a second: keep
    the plan where speed counts.

    With AMX (``lucid.runtime.isa() == "amx"``) the matrix unit computes 1x1 convolutions of 16384 weights and
    more ("pointwise_bf16x3" in ``summary()``): every float32 as a sum of three bfloat16 (Henry, Tang and
    Heinecke, 2019, https://arxiv.org/abs/1904.06376), as exact as sums in float32 are. Only an infinite
    activation gives NaN there.

    Args:
        model: Any module made of lucid's layers, in eval mode.
        input_shape: ``(n, c, h, w)`` or ``(n, c)``; for a ``forward`` of several tensors, a sequence of
            shapes.
        dtype: Only float32.
        winograd: Whether 3x3 convolutions of stride 1 may be computed by Winograd's algorithm (Lavin and
            Gray, 2015, https://arxiv.org/abs/1509.09308), the fastest there is for them. Its sums cancel more
            than those of the definition: up to 3e-6 of the largest value in the root mean square, where the
            direct algorithms have 2e-7; a network's logits stay within 1e-4. An infinity in the input of such
            a step gives NaN in its whole tile of the output (up to 4x4 pixels) and in the tiles around it,
            where the definition gives an infinity or NaN only in the pixels that see it.

    Raises:
        NotImplementedError: ``forward`` does something that no plan can; the message names the line. Or
            ``dtype`` is another.
        ValueError: The model is in training mode, or does not fit ``input_shape``.
        TypeError: ``model`` is no Module, or does not return tensors.
    """
    if not isinstance(model, Module):
        raise TypeError(f"compile: model must be a lucid.nn.Module, got {type(model).__name__}")
    if not _is_float32(dtype):
        raise NotImplementedError(f"compile: dtype must be 'float32', got {dtype!r}")
    traced = trace(model, *_shapes(input_shape))
    key = _content(traced, bool(winograd))
    plan = _PLANS.get(key)
    if plan is None:
        plan = InferencePlan(optimize(traced), winograd=bool(winograd))
        _PLANS[key] = plan
    return plan


def load_plan(path: str | PathLike[str]) -> InferencePlan:
    """The plan that ``InferencePlan.save`` wrote, packed for this machine.

    The file is checked before anything is computed from it: its graph, the shape and dtype of each tensor,
    and a checksum of each.

    Raises:
        ValueError: The file is damaged, or no plan, or one of another version.
        FileNotFoundError: There is none.
    """
    source = Path(path).absolute()
    graph, winograd = read_plan(source)
    try:
        return InferencePlan(graph, winograd)
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"load_plan: {source}: {error}") from None


class InferencePlan:
    """A network compiled for inputs of one shape; made by ``lucid.compile`` and ``lucid.load_plan``.

    Calling it runs it. It never changes, and any number of threads may call it at once.

    Attributes:
        graph: The computation, with the unpacked weights, which ``save`` writes. It prints readably.
        winograd: Whether Winograd's algorithm may be used.
        input_shapes: The shape of each input.
        output_shapes: The shape of each output.
        steps: The steps, in the order in which they run.
    """

    def __init__(self, graph: Graph, winograd: bool = True) -> None:
        self.graph = graph
        self.winograd = winograd
        self.input_shapes = tuple(graph.inputs.values())
        self.output_shapes = tuple(graph.shapes[name] for name in graph.outputs)
        self._plan = _executor(graph, winograd)
        self.steps = steps_of(graph, self._plan.algorithms())

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of inputs, outputs and all between."""
        return np.dtype(np.float32)

    def __call__(self, *inputs: Tensor | Array) -> Any:
        """The model's outputs for inputs of ``input_shapes``: arrays if no input is a Tensor.

        A tuple if the model returns a tuple or list. The results have memory of their own and are
        channels-last.

        Raises:
            ValueError: An input has another shape or dtype than the plan.
            TypeError: An input is no array, or their number is another.
        """
        results = self._plan.run(self._arrays(inputs))
        if any(isinstance(value, Tensor) for value in inputs):
            wrapped = tuple(Tensor(array) for array in results)
            return wrapped if self.graph.as_tuple else wrapped[0]
        return tuple(results) if self.graph.as_tuple else results[0]

    def _arrays(self, inputs: Sequence[Tensor | Array]) -> list[Array]:
        if len(inputs) != len(self.input_shapes):
            raise TypeError(f"plan: it takes {len(self.input_shapes)} inputs, got {len(inputs)}")
        arrays = [
            as_tensor("plan", name, value).data for name, value in zip(self.graph.inputs, inputs, strict=True)
        ]
        for (name, shape), array in zip(self.graph.inputs.items(), arrays, strict=True):
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(
                    f"plan: {name} must be float32 of shape {shape}, for which the plan was compiled, "
                    f"got {array.dtype} of shape {array.shape}"
                )
        return arrays

    def summary(self) -> str:
        """A table of the steps: algorithm, shape, millions of MACs and mebibytes that each must move."""
        return summary(repr(self), self.steps, self.memory())

    def memory(self) -> dict[str, int]:
        """Bytes of the packed weights, and of the arena that holds the activations of one run.

        Beside them, ``graph`` keeps the weights as they are saved.
        """
        return dict(self._plan.memory())

    def profile(self, *inputs: Tensor | Array, runs: int = 10) -> Profile:
        """The time of each step: the median of some runs, after one that is not counted.

        Raises:
            ValueError, TypeError: As for a call; or ``runs`` is not positive.
        """
        arrays = self._arrays(inputs)
        count = arguments.positive("profile", "runs", runs)
        self._plan.run(arrays)
        measured = [self._plan.profile(arrays) for _ in range(count)]
        times = [statistics.median(step) for step in zip(*measured, strict=True)]
        return Profile(
            tuple(
                StepTime(step, time, 2e-6 * step.macs / time if time > 0 else 0.0)
                for step, time in zip(self.steps, times, strict=True)
            ),
            count,
            _core.fma_peak(),
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the plan to a file for ``lucid.load_plan``, which packs it for the machine that it runs on.

        The file is safetensors whatever its ending. It appears whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        write_plan(Path(path), self.graph, self.winograd)

    def export_onnx(self, path: str | PathLike[str]) -> None:
        """Writes the plan's graph, with its folded weights, as an ONNX model for other engines.

        Raises:
            ImportError: The package onnx is not installed.
            NotImplementedError: A step has no translation.
            OSError: The file cannot be written.
        """
        Path(path).write_bytes(to_onnx(self.graph))

    def __repr__(self) -> str:
        inputs, outputs = (
            ", ".join(size_text(shape) for shape in shapes)
            for shapes in (self.input_shapes, self.output_shapes)
        )
        return f"InferencePlan({inputs} -> {outputs}, float32, {len(self.steps)} steps)"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.graph, self.winograd)


def _is_float32(dtype: Any) -> bool:
    try:
        return bool(np.dtype(dtype) == np.float32)
    except TypeError:  # a name that NumPy does not know, such as bfloat16
        return False


def _shapes(input_shape: Any) -> list[Shape]:
    """The shape of each input."""
    if not isinstance(input_shape, (tuple, list)) or not input_shape:
        raise TypeError(
            f"compile: input_shape must be a tuple of ints, or one of shapes, got {input_shape!r}"
        )
    shapes = input_shape if isinstance(input_shape[0], (tuple, list)) else [input_shape]
    return [arguments.shape("compile", (shape,)) for shape in shapes]


def _content(graph: Graph, winograd: bool) -> tuple[Any, ...]:
    """The key of a plan in the cache: nodes, weights, options, and the kernels in use."""
    weights = tuple(
        (name, array.dtype.str, checksum(array))
        for node in graph.nodes
        for name, array in node.weights.items()
    )
    nodes = tuple((node.kind, node.inputs, node.output, str(dict(node.attributes))) for node in graph.nodes)
    inputs = tuple(graph.inputs.items())
    return inputs, nodes, weights, graph.outputs, graph.as_tuple, winograd, _core.isa()


def _executor(graph: Graph, winograd: bool) -> _core.Plan:
    """The C++ plan, which copies and packs the weights."""
    index = {name: position for position, name in enumerate(graph.shapes)}
    steps = [
        {
            "kind": node.kind,
            "inputs": [index[name] for name in node.inputs],
            "output": index[node.output],
            "attributes": dict(node.attributes),
            "weights": dict(node.weights),
        }
        for node in graph.nodes
    ]
    return _core.Plan(
        list(graph.shapes.values()),
        [index[name] for name in graph.inputs],
        [index[name] for name in graph.outputs],
        steps,
        winograd,
    )
