"""Function: an operator of the user's own, with its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from lucid.autograd.mode import is_grad_enabled, no_grad
from lucid.autograd.saved import facts
from lucid.autograd.tape import Call, Gradient, Node, array_of, attach, edge_of
from lucid.tensor import Tensor

__all__ = ["Context", "Function"]


class Context:
    """The things that ``forward`` leaves for ``backward``: saved tensors, and attributes that are set on it.

    Attributes:
        needs_input_grad: For each argument of ``apply``, whether its gradient is asked for.
        saved_tensors: What ``save_for_backward`` was given; ValueError where one was changed in place since.
    """

    def __init__(self, needed: tuple[bool, ...]) -> None:
        self.needs_input_grad = needed
        self._to_save: tuple[Tensor | None, ...] = ()
        self._without_gradient: tuple[Tensor, ...] = ()
        self.saved_tensors: tuple[Tensor | None, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps arguments or results; in attributes of the context they would keep the graph alive."""
        self._to_save = tensors

    def mark_non_differentiable(self, *results: Tensor) -> None:
        """Says that results have no gradient; those of integers and booleans have none anyway."""
        self._without_gradient = results


class Function:
    """Base of the user's operators, of which each has two static methods, ``forward`` and ``backward``.

    class Cube(lucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return dy * 3 * x**2

    y = Cube.apply(x)

    Nothing is recorded inside of either. ``backward`` is given a gradient for each result, zeros where there
    is none, and returns one for each argument, None where it is not needed.
    """

    @staticmethod
    def forward(ctx: Context, *arguments: Any) -> Any:
        """The result, a tensor or a tuple of them."""
        raise NotImplementedError("Function: a subclass must define forward, got none")

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> Any:
        """The gradients of the arguments."""
        raise NotImplementedError("Function: a subclass must define backward, got none")

    @classmethod
    def apply(cls, *arguments: Any) -> Any:
        """Runs ``forward``, and records it where an argument requires a gradient.

        Raises:
            TypeError: ``forward`` returned something else than tensors.
        """
        recorded = is_grad_enabled() and any(edge_of(each) is not None for each in arguments)
        edges = [edge_of(each) if recorded else None for each in arguments]
        context = Context(tuple([edge is not None for edge in edges]))
        with no_grad():
            result = cls.forward(context, *arguments)
        results = result if isinstance(result, tuple) else (result,)
        for each in results:
            if not isinstance(each, Tensor):
                raise TypeError(f"{cls.__name__}: forward must return tensors, got {type(each).__name__}")
        if not recorded:
            return result
        # New tensors: one that was given, or is kept elsewhere, must not become part of this graph.
        own = tuple([Tensor.wrap(each.data) for each in results])
        marked = {id(each) for each in context._without_gradient}
        node = cls._node(context, own, arguments, edges)
        node.keep(tuple([array_of(each) for each in context._to_save]))
        attach(node, [None if id(each) in marked else new for each, new in zip(results, own, strict=True)])
        return own if isinstance(result, tuple) else own[0]

    @classmethod
    def _node(
        cls, context: Context, results: tuple[Tensor, ...], arguments: tuple[Any, ...], edges: list[Any]
    ) -> Node:
        shapes = [(each.shape, each.dtype) for each in results]

        def formula(call: Call, *dys: Any) -> tuple[Any, ...]:
            context.saved_tensors = tuple([None if x is None else Tensor.wrap(x) for x in call.kept])
            given = [
                Tensor.wrap(np.zeros(shape, dtype) if dy is None else dy)
                for dy, (shape, dtype) in zip(dys, shapes, strict=False)
            ]
            found = cls.backward(context, *given)
            context.saved_tensors = ()
            return cls._checked(found, arguments_facts, call.needed, call.kept)

        arguments_facts = [facts(x.data) if isinstance(x, Tensor) else None for x in arguments]
        formula.__name__ = cls.__name__
        return Node(Gradient(formula), [array_of(each) for each in arguments], edges, {})

    @classmethod
    def _checked(
        cls, found: Any, arguments: list[Any], needed: tuple[bool, ...], kept: Any
    ) -> tuple[Any, ...]:
        """Arrays of the gradients that ``backward`` returned; a copy where it returned what was saved."""
        gradients = found if isinstance(found, tuple) else (found,)
        if len(gradients) != len(arguments):
            raise ValueError(
                f"{cls.__name__}: backward must return a gradient for each of {len(arguments)} arguments, "
                f"got {len(gradients)}"
            )
        arrays: list[Any] = []
        for gradient, argument, asked in zip(gradients, arguments, needed, strict=True):
            if gradient is None or not asked:
                arrays.append(None)
                continue
            if not isinstance(gradient, Tensor):
                raise TypeError(
                    f"{cls.__name__}: backward must return tensors or None, got {type(gradient).__name__}"
                )
            if gradient.shape != argument.shape:
                raise ValueError(
                    f"{cls.__name__}: backward must return a gradient of shape {argument.shape}, "
                    f"got {gradient.shape}"
                )
            array = (
                gradient.data if gradient.dtype == argument.dtype else gradient.data.astype(argument.dtype)
            )
            arrays.append(array.copy() if any(array is each for each in kept) else array)
        return tuple(arrays)
