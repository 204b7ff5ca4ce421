"""The tape: which primitives made a tensor, and how a gradient flows back through them.

Reverse-mode differentiation. A primitive with an input that requires a gradient leaves a ``Node``: where the
gradients of its inputs go, the arrays that its formula reads, and nothing else. ``backward`` visits nodes
from the newest to the oldest, so that each comes after all that use its results. Nodes hold arrays, never
tensors that were computed: there are no cycles, and counting references frees a graph.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from lucid import _core
from lucid.device_array import DeviceArray

if TYPE_CHECKING:
    from lucid.tensor import Tensor

TensorBase = _core.TensorBase


# ---- Whether gradients are recorded


class _Mode(threading.local):
    enabled = True


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operators on this thread record what gradients need; True unless ``no_grad`` says otherwise."""
    return _mode.enabled


class set_grad_enabled(ContextDecorator):
    """Whether operators record what gradients need: in a ``with`` block, or in a function decorated so."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_mode.enabled)
        _mode.enabled = self.mode

    def __exit__(self, *raised: object) -> None:
        _mode.enabled = self._before.pop()

    def _recreate_cm(self) -> set_grad_enabled:
        """One of its own for each call of a decorated function, which several threads may call."""
        return set_grad_enabled(self.mode)


class no_grad(set_grad_enabled):
    """Records nothing: for inference, and to change parameters in place. Saves memory and time."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Records again inside of ``no_grad``."""

    def __init__(self) -> None:
        super().__init__(True)


# ---- What is saved, and whether it has changed since


class Facts(NamedTuple):
    """Stands for an array of which a formula needs the shape and dtype alone."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _Changes:
    """Counts the changes in place of one piece of memory, while something saved lies in it."""

    __slots__ = ("__weakref__", "count")

    def __init__(self) -> None:
        self.count = 0


# By what owns the memory; an entry lives as long as something saved keeps that owner alive.
_watched: WeakValueDictionary[int, _Changes] = WeakValueDictionary()


def _owner(array: Any) -> int:
    """The identity of an array's memory, which all views of it share."""
    if type(array) is DeviceArray:
        return array.memory_id
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array if array.base is None else array.base)


def note_change(array: Any) -> None:
    """To be called by what has changed the array of a tensor in place."""
    if _watched:
        changes = _watched.get(_owner(array))
        if changes is not None:
            changes.count += 1


class _Saved:
    """An array as it was when it was saved."""

    __slots__ = ("array", "changes", "count")

    def __init__(self, array: Any) -> None:
        self.array = array
        self.changes = _watched.setdefault(_owner(array), _Changes())
        self.count = self.changes.count

    def value(self, name: str) -> Any:
        if self.changes.count != self.count:
            raise ValueError(
                f"backward: what {name} read must still be what it was, got a tensor of shape "
                f"{self.array.shape} that was changed in place since; clone() it before the change"
            )
        return self.array


def _save(value: Any) -> Any:
    return _Saved(value) if hasattr(value, "dtype") else value


def _restore(value: Any, name: str) -> Any:
    return value.value(name) if type(value) is _Saved else value


# ---- Formulas and nodes


class Call(NamedTuple):
    """What a formula knows of the call whose gradients it computes.

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
                value if not hasattr(value, "dtype") else _Saved(value) if place in read else facts(value)
                for place, value in enumerate(arrays)
            ]
        )
        self._kept: Any = ()
        self._seen: _Saved | None = None
        self._attributes, self._freed = attributes, False

    @property
    def needed(self) -> tuple[bool, ...]:
        return tuple([edge is not None for edge in self.inputs])

    def keep(self, kept: Any) -> None:
        self._kept = tuple(map(_save, kept)) if type(kept) is tuple else _save(kept)

    def watch(self, array: Any) -> None:
        """Makes a change of ``array``, of which the result is a view, an error: that would change both."""
        self._seen = _Saved(array)

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
            tuple([_restore(value, name) for value in self._values]),
            tuple([_restore(each, name) for each in kept]) if type(kept) is tuple else _restore(kept, name),
            self.needed,
        )
        if not retain:
            self._freed = kept != () or any(type(value) is _Saved for value in self._values)
            self._values, self._kept, self._seen = call.values if not self._freed else (), (), None
        return self.gradient.formula(call, *dys, **self._attributes)

    def __repr__(self) -> str:
        return f"<gradient of {self.gradient.name}>"


def facts(array: Any) -> Facts:
    return Facts(array.shape, array.dtype)


def is_floating(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def edge_of(value: Any) -> Edge:
    """Where the gradient of a primitive's value goes."""
    if not isinstance(value, TensorBase) or not value._requires_grad:
        return None
    return value if value.grad_fn is None else (value.grad_fn, value._place)


def array_of(value: Any) -> Any:
    return value.data if isinstance(value, TensorBase) else value


# ---- Recording


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
        _attach(node, (changed,))
    if gradient.keeps or gradient.run is not None:
        node.keep(kept)
    maker: Any = next(value for value in values if isinstance(value, TensorBase))
    tensors = maker.wrap(result)
    _attach(node, tensors if type(tensors) is tuple else (tensors,))
    if gradient.views and _owner(tensors.data) == _owner(arrays[0]):
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
    _attach(node, (target,))


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


def _attach(node: Node, tensors: Sequence[Any]) -> None:
    """Makes the tensors results of the node; integers and booleans have no gradient."""
    for place, tensor in enumerate(tensors):
        if is_floating(tensor.dtype):
            tensor._requires_grad, tensor.grad_fn, tensor._place = True, node, place
            node.results = place + 1


# ---- Walking back


def backward(tensor: Any, gradient: Any, retain_graph: bool) -> None:
    """Adds to ``grad`` of every leaf below ``tensor``: the gradient of the sum of ``tensor * gradient``."""
    with no_grad():
        _Walk(retain_graph).run(edge_of(tensor), gradient)


class _Walk:
    """One call of ``backward``."""

    def __init__(self, retain: bool) -> None:
        self.retain = retain
        self.waiting: list[tuple[int, Node]] = []  # a heap, newest first
        self.gradients: dict[Node, list[Any]] = {}  # of the results of waiting nodes
        self.leaves: dict[int, _Leaf] = {}

    def run(self, root: Edge, gradient: Any) -> None:
        self._count_uses(root)
        self._send(root, gradient, True)
        while self.waiting:
            _, node = heapq.heappop(self.waiting)
            dys = self._finished(node)
            for edge, dx in zip(node.inputs, node.gradients(dys, self.retain), strict=True):
                if edge is not None:
                    self._send(edge, dx, _is_shared(dx, dys))
        for leaf in self.leaves.values():
            leaf.finish()

    def _count_uses(self, root: Edge) -> None:
        """How many gradients each leaf waits for, so that it is told when it has them all."""
        seen: set[Node] = set()
        edges = [root]
        while edges:
            edge = edges.pop()
            if type(edge) is tuple:
                if edge[0] not in seen:
                    seen.add(edge[0])
                    edges.extend(each for each in edge[0].inputs if each is not None)
            else:
                self.leaves.setdefault(id(edge), _Leaf(edge)).expected += 1

    def _send(self, edge: Edge, gradient: Any, shared: bool) -> None:
        if type(edge) is not tuple:
            self.leaves[id(edge)].add(gradient, shared)
        elif gradient is not None:
            node, place = edge
            found = self.gradients.get(node)
            if found is None:
                found = self.gradients[node] = [None] * node.results
                heapq.heappush(self.waiting, (-node.number, node))
            found[place] = gradient if found[place] is None else _sum(found[place], gradient)

    def _finished(self, node: Node) -> list[Any]:
        """The gradients of a node's results, as the hooks leave them."""
        dys = self.gradients.pop(node)
        for place, hooks in node.hooks.items():
            if dys[place] is not None:
                dys[place] = hooked(list(hooks), dys[place])
        return dys


class _Leaf:
    """The gradient of a tensor that the user made, as it comes together."""

    __slots__ = ("expected", "gradient", "shared", "tensor")

    def __init__(self, tensor: Any) -> None:
        self.tensor, self.expected = tensor, 0
        self.gradient: Any = None
        self.shared = False

    def add(self, gradient: Any, shared: bool) -> None:
        self.expected -= 1
        if gradient is not None:
            self.shared = shared and self.gradient is None
            self.gradient = gradient if self.gradient is None else _sum(self.gradient, gradient)
        if self.expected == 0:
            self.finish()

    def finish(self) -> None:
        """Adds to ``grad``. Another tensor's gradient may lie in the same memory, or in that of a value."""
        gradient, self.gradient = self.gradient, None
        if gradient is None:
            return
        leaf = self.tensor
        if leaf._hooks:
            gradient, self.shared = hooked(list(leaf._hooks), gradient), True
        if leaf.grad is not None:
            total = _sum(leaf.grad.data, gradient)
        else:
            total = gradient.copy() if self.shared else gradient
        leaf.grad = leaf.wrap(total)
        for hook in list(leaf._hooks_after):
            hook(leaf)


def hooked(hooks: Sequence[Hook], gradient: Any) -> Any:
    """The gradient after all hooks, each of which may give another one.

    Raises:
        TypeError: A hook returned something else than a tensor or None.
        ValueError: The tensor has another shape.
    """
    for hook in hooks:
        given = hook(gradient)
        if given is None:
            continue
        if given.shape != gradient.shape:
            raise ValueError(
                f"register_hook: a hook must return a gradient of shape {gradient.shape}, got {given.shape}"
            )
        gradient = given
    return gradient


def _sum(first: Any, second: Any) -> Any:
    if type(first) is np.ndarray and first.dtype == second.dtype == np.float32 and type(second) is np.ndarray:
        return _core.add(first, second)
    return first + second


def _is_shared(gradient: Any, dys: Sequence[Any]) -> bool:
    """Whether the memory of a gradient may be somebody else's, too."""
    return gradient is not None and any(dy is not None and _owner(dy) == _owner(gradient) for dy in dys)
