"""Plans: a module compiled for one shape of input, and run by the C++ executor."""

from __future__ import annotations

import statistics
import weakref
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, arguments, cuda, late_names
from lucid.inference.graph import Array, Graph, size_text
from lucid.inference.options import allows_tf32, checked_device, checked_dtype, checked_threads
from lucid.inference.passes import optimize
from lucid.inference.pixels import Pixels, PixelsArgument, checked_pixels
from lucid.inference.plan_file import checksum, read_plan, write_plan
from lucid.inference.report import Profile, StepTime, steps_of, summary
from lucid.inference.trace import trace
from lucid.nn.module import Module
from lucid.recording import Shape
from lucid.tensor import Tensor, as_tensor

InputShape: TypeAlias = Sequence[SupportsIndex] | Sequence[Sequence[SupportsIndex]]

# Plans that somebody holds, by what they were made of.
_PLANS: weakref.WeakValueDictionary[tuple[Any, ...], InferencePlan] = weakref.WeakValueDictionary()


def compile(
    model: Module | Graph | str | PathLike[str],
    input_shape: InputShape | None = None,
    dtype: npt.DTypeLike = "float32",
    winograd: bool = True,
    device: str = "cpu",
    allow_tf32: bool | None = None,
    threads_per_call: SupportsIndex | None = None,
    pixels: PixelsArgument = None,
) -> InferencePlan:
    """A plan that computes the outputs of ``model``, for inputs of one shape.

    The model is traced by one forward pass on symbols, batch norm is folded into convolutions, additions and
    ReLUs are fused with them, and the weights are copied and packed for this machine. The model stays as it
    is; and what happens to it later, training included, does not reach the plan.

    While a plan for the same computation with the same weights is held by anybody, it is returned and no
    second one made. The weights are compared by checksum at each call, so a trained model gets a plan of its
    own. The trace and the checksums of 100 MB of weights take a tenth of a second: keep the plan.

    Args:
        model: Any module made of lucid's layers, in eval mode; or a graph; or the path of an ONNX file, as
            for ``lucid.onnx.load``.
        input_shape: ``(n, c, h, w)`` or ``(n, c)``; for a ``forward`` of several tensors, a sequence of
            shapes. None takes those of the graph or the file.
        dtype: Of the activations and weights in the plan: "float32", or "bfloat16" with float32 sums, inputs
            and outputs, fast with AVX512_BF16 or AMX (a NaN may spread over a pixel); on CUDA also "float16".
        winograd: Whether 3x3 convolutions of stride 1 may be computed by Winograd's algorithm (Lavin and
            Gray, 2015, https://arxiv.org/abs/1509.09308), the fastest there is for them. Its sums cancel more
            than those of the definition: up to 3e-6 of the largest value in the root mean square, where the
            direct algorithms have 2e-7; a network's logits stay within 1e-4. An infinity in the input of such
            a step gives NaN in its whole tile of the output (up to 4x4 pixels) and in the tiles around it,
            where the definition gives an infinity or NaN only in the pixels that see it. CUDA has no such
            algorithm yet, and ignores it.
        device: Where the plan runs: "cpu", "cuda" (the current device), "cuda:1". The model may be anywhere.
        allow_tf32: Whether convolutions of float32 on CUDA may round their factors to TF32, for matrix units;
            None for ``lucid.cuda.get_allow_tf32()``. The CPU ignores it.
        threads_per_call: The most threads that a call on the CPU has, its own among them; None for
            ``lucid.get_num_threads()``. With 1, as many calls at once as there are processors never wait for
            each other: more images a second, each of which takes longer. Results are bitwise the same.
        pixels: ``(mean, std)`` with a number a channel, or a ``lucid.data.Preprocessing`` that has them: the
            input is images of uint8, of any strides, and ``(x / 255 - mean) / std`` is computed as the plan
            reads them, bitwise as ``lucid.data.normalize``. Several inputs take a dict by name. CPU only.

    Raises:
        NotImplementedError: No plan can do what a line of ``forward`` does, which the message names; or
            ``dtype`` is another, or ``pixels`` are given for CUDA.
        RuntimeError: ``device`` is not there; the message says why.
        ValueError: A model in training mode, or that ``input_shape`` does not fit; a damaged file; no dtype;
            ``threads_per_call`` is not from 1 to 1024, or given for CUDA; ``pixels`` are not finite numbers,
            one a channel of an image, with a positive std.
        TypeError: ``model`` is none of the above, or does not return tensors.
        FileNotFoundError, ImportError: As for ``lucid.onnx.load``.
    """
    place = checked_device("compile", device)
    name = checked_dtype("compile", dtype, place)
    threads = checked_threads("compile", threads_per_call, place)
    traced = _traced(model, input_shape)
    scales = checked_pixels("compile", pixels, traced.inputs, place)
    return _shared(traced, bool(winograd), place, name, allows_tf32(allow_tf32, place, name), threads, scales)


def load_plan(
    path: str | PathLike[str],
    device: str = "cpu",
    dtype: npt.DTypeLike | None = None,
    allow_tf32: bool | None = None,
    threads_per_call: SupportsIndex | None = None,
) -> InferencePlan:
    """The plan that ``InferencePlan.save`` wrote, packed for this machine.

    A file is for no device and no number of threads in particular, and its weights are float32: ``dtype`` may
    be another than that of the plan that was saved, which is the default. See ``compile`` for the arguments.

    The file is checked before anything is computed from it: its graph, the shape and dtype of each tensor,
    and a checksum of each.

    Raises:
        ValueError: The file is damaged, or no plan, or one of another version; ``threads_per_call`` as there.
        FileNotFoundError: There is none.
        NotImplementedError, RuntimeError: As for ``compile``.
    """
    place = checked_device("load_plan", device)
    threads = checked_threads("load_plan", threads_per_call, place)
    source = Path(path).absolute()
    if dtype is not None:
        checked_dtype("load_plan", dtype, place)
    graph, winograd, saved, scales = read_plan(source)
    pixels = checked_pixels("load_plan", scales, graph.inputs, place)
    name = checked_dtype("load_plan", saved if dtype is None else dtype, place)
    try:
        tf32 = allows_tf32(allow_tf32, place, name)
        return InferencePlan(graph, winograd, place, name, tf32, threads, pixels)
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"load_plan: {source}: {error}") from None


class InferencePlan:
    """A network compiled for inputs of one shape; made by ``lucid.compile`` and ``lucid.load_plan``.

    Calling it runs it. It never changes, and any number of threads may call it at once.

    With AMX (``lucid.runtime.isa() == "amx"``) the matrix unit computes 1x1 convolutions of 16384 weights and
    more ("pointwise_bf16x3" in ``summary()``): every float32 as a sum of three bfloat16 (Henry, Tang and
    Heinecke, 2019, https://arxiv.org/abs/1904.06376), as exact as sums in float32 are. Only an infinite
    activation gives NaN there.

    On CUDA it runs on the calling thread's stream, and from the second run on as one CUDA graph, where the
    runtime can capture it: a launch a run instead of one a step.

    Attributes:
        graph: The computation, with the unpacked weights, which ``save`` writes. It prints readably.
        winograd: Whether Winograd's algorithm may be used.
        device: Where it runs: "cpu", "cuda:0".
        internal_dtype: The dtype of the activations and weights in it: "float32", "float16", "bfloat16".
        allow_tf32: Whether it may round factors of float32 to TF32.
        threads_per_call: The most threads that a call runs on; None for as many as there are.
        pixels: Mean and std of each input that is uint8, by its name.
        input_shapes: The shape of each input.
        input_dtypes: The dtype of each input: float32, or uint8.
        output_shapes: The shape of each output.
        steps: The steps, in the order in which they run.
    """

    def __init__(
        self,
        graph: Graph,
        winograd: bool = True,
        device: str = "cpu",
        internal_dtype: str = "float32",
        allow_tf32: bool = False,
        threads_per_call: SupportsIndex | None = None,
        pixels: PixelsArgument = None,
    ) -> None:
        self.graph = graph
        self.winograd = winograd
        self.device = checked_device("plan", device)
        self.internal_dtype = checked_dtype("plan", internal_dtype, self.device)
        self.allow_tf32 = allows_tf32(allow_tf32, self.device, self.internal_dtype)
        self.threads_per_call = checked_threads("plan", threads_per_call, self.device)
        self.pixels = checked_pixels("plan", pixels, graph.inputs, self.device)
        self.input_shapes = tuple(graph.inputs.values())
        self.input_dtypes = tuple(
            np.dtype(np.uint8 if name in self.pixels else np.float32) for name in graph.inputs
        )
        self.output_shapes = tuple(graph.shapes[name] for name in graph.outputs)
        self._plan = self._executor()
        self.steps = steps_of(graph, self._plan.algorithms(), 4 if self.internal_dtype == "float32" else 2)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of outputs, and of inputs that are no pixels."""
        return np.dtype(np.float32)

    def __call__(self, *inputs: Tensor | Array | _core.DeviceArray) -> Any:
        """The model's outputs for inputs of ``input_shapes``: arrays if no input is a Tensor.

        A tuple if the model returns a tuple or list. The results have memory of their own and are
        channels-last. A plan on CUDA takes inputs from anywhere; its results are on its device if one of them
        is, and are copied to the CPU otherwise.

        Raises:
            ValueError: An input has another shape or dtype than the plan, or is on another GPU.
            TypeError: An input is no array, or their number is another.
        """
        results = self._plan.run(self._arrays(inputs), self.threads_per_call or 0)
        if any(isinstance(value, Tensor) for value in inputs):
            wrapped = tuple(Tensor(array) for array in results)
            return wrapped if self.graph.as_tuple else wrapped[0]
        return tuple(results) if self.graph.as_tuple else results[0]

    def _arrays(
        self, inputs: Sequence[Tensor | Array | _core.DeviceArray]
    ) -> list[Array | _core.DeviceArray]:
        if len(inputs) != len(self.input_shapes):
            raise TypeError(f"plan: it takes {len(self.input_shapes)} inputs, got {len(inputs)}")
        arrays = [
            value if isinstance(value, _core.DeviceArray) else as_tensor("plan", name, value).data
            for name, value in zip(self.graph.inputs, inputs, strict=True)
        ]
        wanted_inputs = zip(self.graph.inputs.items(), self.input_dtypes, arrays, strict=True)
        for (name, shape), dtype, array in wanted_inputs:
            place = cuda.name_of(array.device_index) if isinstance(array, _core.DeviceArray) else "cpu"
            if place not in ("cpu", self.device):
                wanted = "the CPU" if self.device == "cpu" else self.device
                raise ValueError(
                    f"plan: {name} must be on {wanted}, for which the plan was compiled, "
                    f"got one on {place}; move it by .to({self.device!r}), or compile with device={place!r}"
                )
            if array.shape != shape or array.dtype != dtype:
                advice = "; compile with pixels=(mean, std) for images of uint8"
                raise ValueError(
                    f"plan: {name} must be {dtype} of shape {shape}, for which the plan was compiled, "
                    f"got {array.dtype} of shape {array.shape}"
                    + (advice if array.dtype == np.uint8 and dtype != np.uint8 else "")
                )
        return arrays

    def _executor(self) -> _core.Plan:
        """The C++ plan, which copies and packs the weights."""
        index = {name: position for position, name in enumerate(self.graph.shapes)}
        steps = [
            {
                "kind": node.kind,
                "inputs": [index[name] for name in node.inputs],
                "output": index[node.output],
                "attributes": dict(node.attributes),
                "weights": dict(node.weights),
            }
            for node in self.graph.nodes
        ]
        return _core.Plan(
            list(self.graph.shapes.values()),
            [index[name] for name in self.graph.inputs],
            [index[name] for name in self.graph.outputs],
            steps,
            self.winograd,
            None if self.device == "cpu" else int(self.device.removeprefix("cuda:")),
            self.internal_dtype,
            self.allow_tf32,
            [self.pixels.get(name) for name in self.graph.inputs],
            self.threads_per_call or 0,
        )

    def summary(self) -> str:
        """A table of the steps: algorithm, shape, millions of MACs and mebibytes that each must move."""
        return summary(repr(self), self.steps, self.memory())

    def memory(self) -> dict[str, int]:
        """Bytes of the packed weights, and of the arena that holds the activations of one run.

        Beside them, ``graph`` keeps the weights as they are saved.
        """
        return dict(self._plan.memory())

    def profile(self, *inputs: Tensor | Array | _core.DeviceArray, runs: int = 10) -> Profile:
        """The time of each step, and how long threads wait behind it: medians of some runs, after one more.

        On CUDA the steps are launched one by one, and the device measures them: a step that is over before
        the next one is launched lasts until then.

        Raises:
            ValueError, TypeError: As for a call; or ``runs`` is not positive.
        """
        arrays, threads = self._arrays(inputs), self.threads_per_call or 0
        count = arguments.positive("profile", "runs", runs)
        self._plan.run(arrays, threads)
        measured = [self._plan.profile(arrays, threads) for _ in range(count)]
        times = []
        for step, each in zip(self.steps, zip(*measured, strict=True), strict=True):
            time, waiting, barriers = (statistics.median(values) for values in zip(*each, strict=True))
            gflops = 2e-6 * step.macs / time if time > 0 else 0.0
            times.append(StepTime(step, time, gflops, waiting, barriers))
        return Profile(tuple(times), count, self._fma_peak())

    def _fma_peak(self) -> float | None:
        """That of the threads that a call runs on; None on CUDA."""
        if self.device != "cpu":
            return None
        threads = _core.num_threads()
        return _core.fma_peak() * min(self.threads_per_call or threads, threads) / threads

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the plan to a file for ``lucid.load_plan``, which packs it for the machine that it runs on.

        The file is safetensors whatever its ending. It appears whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        write_plan(Path(path), self.graph, self.winograd, self.internal_dtype, self.pixels)

    def export_onnx(self, path: str | PathLike[str]) -> None:
        """Writes the plan's graph, with its folded weights, as an ONNX model for other engines.

        Inputs of pixels are uint8 there too, and are normalised by nodes of the model.

        Raises:
            ImportError: The package onnx is not installed.
            NotImplementedError: A step has no translation.
            OSError: The file cannot be written.
        """
        Path(path).write_bytes(late_names.find("lucid.inference", "to_onnx")(self.graph, pixels=self.pixels))

    def __repr__(self) -> str:
        inputs = ", ".join(
            size_text(shape) + (" uint8" if name in self.pixels else "")
            for name, shape in self.graph.inputs.items()
        )
        outputs = ", ".join(map(size_text, self.output_shapes))
        place = "" if self.device == "cpu" else f" on {self.device}"
        threads = self.threads_per_call
        each = f", {threads} thread{'s' if threads > 1 else ''} a call" if threads else ""
        kind = f"{self.internal_dtype}{place}{each}"
        return f"InferencePlan({inputs} -> {outputs}, {kind}, {len(self.steps)} steps)"

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self.winograd, self.device, self.internal_dtype, self.allow_tf32, self.threads_per_call)
        return type(self), (self.graph, *given, self.pixels)


def _traced(model: Any, input_shape: Any) -> Graph:
    """The graph of a module, an ONNX file, or the graph that is given."""
    if isinstance(model, Module):
        return trace(model, *_shapes(input_shape))
    if isinstance(model, (str, PathLike)):
        loaded: Graph = late_names.find("lucid.inference", "load_onnx")(model, input_shape)
        return loaded
    if not isinstance(model, Graph):
        raise TypeError(
            "compile: model must be a lucid.nn.Module, a Graph or the path of an ONNX file, "
            f"got {type(model).__name__}"
        )
    shapes = list(model.inputs.values())
    if input_shape is not None and _shapes(input_shape) != shapes:
        raise ValueError(f"compile: input_shape must be that of the graph, {shapes}, got {input_shape}")
    return model


def _shapes(input_shape: Any) -> list[Shape]:
    """The shape of each input."""
    if not isinstance(input_shape, (tuple, list)) or not input_shape:
        raise TypeError(
            f"compile: input_shape must be a tuple of ints, or one of shapes, got {input_shape!r}"
        )
    shapes = input_shape if isinstance(input_shape[0], (tuple, list)) else [input_shape]
    return [arguments.shape("compile", (shape,)) for shape in shapes]


def _shared(
    graph: Graph,
    winograd: bool,
    device: str,
    dtype: str,
    tf32: bool,
    threads: int | None,
    pixels: Mapping[str, Pixels],
) -> InferencePlan:
    """The plan that somebody holds, or else one that is made."""
    key = (*_content(graph, winograd), device, dtype, tf32, threads, tuple(pixels.items()))
    plan = _PLANS.get(key)
    if plan is None:
        plan = InferencePlan(optimize(graph), winograd, device, dtype, tf32, threads, pixels)
        _PLANS[key] = plan
    return plan


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
