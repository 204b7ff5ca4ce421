"""The tape: which primitives made a tensor, and what their gradient formulas read.

A primitive with an input that requires a gradient leaves a ``Node``: where the gradients of its inputs go,
the arrays that its formula reads, and nothing else. Nodes hold arrays, never tensors that were computed:
there are no cycles, and counting references frees a graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from lucid import _core
from lucid.autograd.saved import Saved, facts, owner_of, restore, save

if TYPE_CHECKING:
    from lucid.tensor import Tensor

TensorBase = _core.TensorBase


class Call(NamedTuple):
    """The call whose gradients a formula computes, as far as it knows it.

    Attributes:
        values: The arrays and numbers that were given; ``Facts`` in place of arrays that it does not read.
        kept: What was kept of the result; see ``Gradient``.
        needed: For each value, whether its gradient is asked for.
    """

    values: tuple[Any, ...]
    kept: Any
    needed: tuple[bool, ...]


class Gradient:
    """The gradient column of a primitive.

    Args:
        formula: ``formula(call, dy, **attributes)`` returns a gradient for each value, in its shape, or None
            where it is not needed. ``dy`` is the gradient of the first result, and may have any strides.
        reads: For each value, the places of the values whose elements its gradient reads.
        keeps: Whether the formula reads the first result, which it then finds as ``kept``.
        run: Runs instead of the primitive's ``run`` where a gradient is asked for, and returns the result and
            a tuple, which the formula finds as ``kept``.
        views: Whether the result may share the memory of the first value.
    """

    __slots__ = ("formula", "keeps", "reads", "run", "views")

    def __init__(
        self,
        formula: Callable[..., tuple[Any, ...]],
        reads: Sequence[Sequence[int]] = (),
        keeps: bool = False,
        run: Callable[..., tuple[Any, tuple[Any, ...]]] | None = None,
        views: bool = False,
    ) -> None:
        self.formula, self.reads, self.keeps, self.run, self.views = formula, reads, keeps, run, views

    @property
    def name(self) -> str:
        return self.formula.__name__.lstrip("_")

    def read(self, needed: Sequence[bool]) -> set[int]:
        """The places that the gradients of the needed values read."""
        return {place for places, asked in zip(self.reads, needed, strict=False) if asked for place in places}


# Where a gradient goes: to a tensor of the user's, or to a result of a node.
Edge: TypeAlias = "Tensor | tuple[Node, int] | None"
Hook: TypeAlias = Callable[[Any], Any]

_numbers = itertools.count()


class Node:
    """A call on the tape: a tensor's ``grad_fn``.

    Attributes:
        number: Higher than those of all nodes made before.
        inputs: For each value, where its gradient goes.
        results: How many results have gradients, or stand before one that has.
        hooks: For results, functions of their gradients.
    """

    __slots__ = (
        "_attributes",
        "_freed",
        "_kept",
        "_seen",
        "_values",
        "gradient",
        "hooks",
        "inputs",
        "number",
        "results",
    )

    def __init__(
        self, gradient: Gradient, arrays: Sequence[Any], inputs: Sequence[Edge], attributes: Mapping[str, Any]
    ) -> None:
        self.gradient, self.inputs, self.number = gradient, tuple(inputs), next(_numbers)
        self.results = 0
        self.hooks: dict[int, list[Hook]] = {}
        read = gradient.read(self.needed)
        self._values = tuple(
            [
                value if not hasattr(value, "dtype") else Saved(value) if place in read else facts(value)
                for place, value in enumerate(arrays)
            ]
        )
        self._kept: Any = ()
        self._seen: Saved | None = None
        self._attributes, self._freed = attributes, False

    @property
    def needed(self) -> tuple[bool, ...]:
        return tuple([edge is not None for edge in self.inputs])

    def keep(self, kept: Any) -> None:
        self._kept = tuple(map(save, kept)) if type(kept) is tuple else save(kept)

    def watch(self, array: Any) -> None:
        """Makes a change of ``array``, of which the result is a view, an error: that would change both."""
        self._seen = Saved(array)

    def gradients(self, dys: Sequence[Any], retain: bool) -> Sequence[Any]:
        """The gradient for each value; frees what was saved unless ``retain``."""
        name = self.gradient.name
        if self._freed:
            raise ValueError(
                f"backward: the graph can be walked once, since that frees what it saved; {name} was walked "
                "before: give retain_graph=True to all calls of backward but the last"
            )
        if self._seen is not None:
            self._seen.value(name)
        kept = self._kept
        call = Call(
            tuple([restore(value, name) for value in self._values]),
            tuple([restore(each, name) for each in kept]) if type(kept) is tuple else restore(kept, name),
            self.needed,
        )
        if not retain:
            self._freed = kept != () or any(type(value) is Saved for value in self._values)
            self._values, self._kept, self._seen = call.values if not self._freed else (), (), None
        return self.gradient.formula(call, *dys, **self._attributes)

    def __repr__(self) -> str:
        return f"<gradient of {self.gradient.name}>"


def is_floating(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def edge_of(value: Any) -> Edge:
    """Where the gradient of a primitive's value goes."""
    if not getattr(value, "_requires_grad", False):
        return None
    return value if value.grad_fn is None else (value.grad_fn, value._place)


def array_of(value: Any) -> Any:
    return value.data if isinstance(value, TensorBase) else value


def record(gradient: Gradient, run: Callable[..., Any], values: Sequence[Any], attributes: Any) -> Any:
    """Runs a primitive and puts it on the tape. One of the values at least requires a gradient."""
    arrays = [array_of(value) for value in values]
    changed: Any = values[0] if attributes.get("inplace") else None
    if changed is not None:
        _check_changeable(gradient.name, changed)
    node = Node(gradient, arrays, [edge_of(value) for value in values], attributes)
    if gradient.run is None:
        result = run(*arrays, **attributes)
        kept: Any = result[0] if type(result) is tuple else result
    else:
        result, kept = gradient.run(*arrays, **attributes)
    if changed is not None:
        attach(node, (changed,))
    if gradient.keeps or gradient.run is not None:
        node.keep(kept)
    maker: Any = next(value for value in values if isinstance(value, TensorBase))
    tensors = maker.wrap(result)
    attach(node, tensors if type(tensors) is tuple else (tensors,))
    if gradient.views and owner_of(tensors.data) == owner_of(arrays[0]):
        node.watch(arrays[0])
        tensors._is_view = True
    return tensors


def record_change(
    gradient: Gradient, name: str, change: Callable[[], None], values: Sequence[Any], attributes: Any
) -> None:
    """Changes the tensor ``values[0]`` in place, whose gradient then is that of the result."""
    target = values[0]
    _check_changeable(name, target)
    arrays, edges = [array_of(value) for value in values], [edge_of(value) for value in values]
    if 0 in gradient.read([edge is not None for edge in edges]):
        arrays[0] = arrays[0].copy()
    node = Node(gradient, arrays, edges, attributes)
    change()
    attach(node, (target,))


def _check_changeable(name: str, target: Any) -> None:
    if target._requires_grad and target.grad_fn is None:
        raise ValueError(
            f"{name}: a leaf that requires a gradient cannot be changed in place, got one of shape "
            f"{target.shape}; change it within lucid.no_grad()"
        )
    if target._is_view:
        raise NotImplementedError(
            f"{name}: changing a view in place is not recorded for gradients yet, got one of shape "
            f"{target.shape}; clone() it before, or change the whole tensor by an index"
        )


def attach(node: Node, tensors: Sequence[Any]) -> None:
    """Makes tensors results of the node, but for None; integers and booleans have no gradient."""
    for place, tensor in enumerate(tensors):
        if tensor is not None and is_floating(tensor.dtype):
            tensor._requires_grad, tensor.grad_fn, tensor._place = True, node, place
            node.results = place + 1
