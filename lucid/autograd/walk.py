"""Walking back: gradients flow from a tensor to the leaves that it was computed from.

Nodes are visited from the newest to the oldest, so that each comes after all that use its results.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from lucid import _core
from lucid.autograd.mode import no_grad
from lucid.autograd.saved import owner_of
from lucid.autograd.tape import Edge, Hook, Node, edge_of


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
            total = gradient.copy(order="K") if self.shared else gradient
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
    return gradient is not None and any(dy is not None and owner_of(dy) == owner_of(gradient) for dy in dys)
