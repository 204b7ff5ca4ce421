"""PyTorch's networks as inference plans that take and give PyTorch's tensors."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from lucid import exchange, onnx
from lucid.inference import InferencePlan
from lucid.inference.passes import optimize
from lucid.inference.pixels import PixelsArgument
from lucid.torch.tensors import array_of, tensor_of

__all__ = ["CompiledModel", "compile"]


def compile(
    model: torch.nn.Module,
    example: Tensor | Sequence[Tensor],
    *,
    dtype: str = "float32",
    winograd: bool = True,
    threads_per_call: SupportsIndex | None = None,
    pixels: PixelsArgument = None,
) -> CompiledModel:
    """``model`` as a plan, for inputs of the shapes and on the device of ``example``.

    Works for convolutional networks: ResNeXt, ResNeSt, ResNet and their like from torchvision, timm or their
    authors. The model is written as ONNX in memory, and stays as it is; what happens to it later does not
    reach the plan.

    Args:
        model: In eval mode, its parameters anywhere.
        example: The input, or the inputs in order. The values do not matter.
        dtype, winograd, threads_per_call, pixels: As for ``lucid.compile``. With pixels the plan takes uint8,
            while the example is float32.

    Raises:
        ImportError: The package onnx is not installed.
        NotImplementedError: The model does what no plan can; the message names the node.
        ValueError: The model is in training mode; ``threads_per_call`` or ``pixels`` are as there.
        TypeError: An argument is of another type.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"compile: model must be a torch.nn.Module, got {exchange.type_name(model)}")
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    if not inputs or not all(isinstance(value, Tensor) for value in inputs):
        raise TypeError("compile: example must be a tensor, or a sequence of tensors")
    if model.training:
        raise ValueError("compile: model must be in eval mode, got one in training mode; call model.eval()")
    graph = onnx.load(_exported(model, inputs), [tuple(value.shape) for value in inputs])
    device = str(inputs[0].device)
    plan = InferencePlan(
        optimize(graph), winograd, device, dtype, threads_per_call=threads_per_call, pixels=pixels
    )
    return CompiledModel(plan)


def _exported(model: torch.nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    """The model as ONNX. By tracing: a second for a ResNet-50, where the newer exporter takes ten."""
    file: Any = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it is called deprecated, and its advice is about other engines
        torch.onnx.export(model, inputs, file, dynamo=False)
    written: bytes = file.getvalue()
    return written


class CompiledModel:
    """A plan that takes and gives PyTorch's tensors; made by ``lucid.torch.compile``.

    Inputs are read where they are, and results are in memory that the tensor takes over: nothing is copied on
    the CPU, nor on CUDA. Any number of threads may call it at once.

    Attributes:
        plan: The ``lucid.inference.InferencePlan``, to be saved, profiled or printed.
    """

    def __init__(self, plan: InferencePlan) -> None:
        self.plan = plan

    def __call__(self, *inputs: Tensor) -> Any:
        """The model's outputs: a tensor, or a tuple where the model gives several.

        Raises:
            ValueError: An input has another shape, dtype or device than the example had.
            TypeError: An input is no tensor.
            RuntimeError: An input wants gradients, which a plan does not have.
        """
        for value in inputs:
            if not isinstance(value, Tensor):
                raise TypeError(f"plan: an input must be a torch.Tensor, got {exchange.type_name(value)}")
            if value.requires_grad and torch.is_grad_enabled():
                raise RuntimeError(
                    "plan: a plan has no gradients; call it in torch.no_grad(), or pass x.detach()"
                )
        arrays = [array_of("plan", f"input {index}", value) for index, value in enumerate(inputs)]
        results = self.plan(*arrays)
        return tuple(map(tensor_of, results)) if isinstance(results, tuple) else tensor_of(results)

    def __repr__(self) -> str:
        return f"CompiledModel({self.plan!r})"
