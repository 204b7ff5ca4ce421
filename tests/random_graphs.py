"""Random graphs of most kinds of steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import plan_graphs as pg

from lucid.inference import Graph, Node

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]


class Writer:
    """Draws one node after the other, each from values that are there already."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        channels, size = int(rng.choice([3, 8, 16, 20, 32])), int(rng.integers(5, 27))
        self.inputs: dict[str, Shape] = {
            "x": (int(rng.integers(1, 4)), channels, size, int(rng.integers(5, 27)))
        }
        self.shapes = dict(self.inputs)
        self.nodes: list[Node] = []

    def graph(self, steps: int) -> Graph:
        for _ in range(steps):
            draw = getattr(self, f"_{self.rng.choice(KINDS)}")
            node = draw(f"v{len(self.nodes)}", self._recent(4))
            if node is not None:
                self.nodes.append(node)
                self.shapes = dict(pg.graph(self.inputs, self.nodes, [node.output]).shapes)
        return pg.graph(self.inputs, self.nodes, [node.output for node in self.nodes])

    def _recent(self, rank: int, shape: Shape | None = None) -> str | None:
        """A value of a rank or shape, one of the last three if there are so many."""
        fitting = [name for name, s in self.shapes.items() if len(s) == rank and shape in (None, s)]
        return str(self.rng.choice(fitting[-3:])) if fitting else None

    def _normal(self, *shape: int) -> Array:
        return self.rng.standard_normal(shape, dtype=np.float32)

    def _flag(self) -> bool:
        return bool(self.rng.integers(2))

    def _conv2d(self, output: str, x: str) -> Node:
        channels, h, w = self.shapes[x][1:]
        size = int(self.rng.choice([1, 1, 3, 3, 3, 5]))
        padding = (
            tuple(int(p) for p in self.rng.integers(0, size // 2 + 1, 2))
            if self._flag()
            else (size // 2,) * 2
        )
        if size > min(h + 2 * padding[0], w + 2 * padding[1]):
            size, padding = 1, (0, 0)
        groups = int(self.rng.choice([g for g in (1, 1, 2, 4, 8, channels) if channels % g == 0]))
        out = groups * int(self.rng.choice([1, 2, 4, 8, 16, 24])) if groups < channels else channels
        stride = (1, 1) if self._flag() else tuple(int(s) for s in self.rng.integers(1, 3, 2))
        weight = self._normal(out, channels // groups, size, size) / np.float32(
            np.sqrt(channels // groups) * size
        )
        bias = self._normal(out) if self._flag() else None
        window = {"stride": stride, "padding": padding, "groups": groups, "relu": self._flag()}
        node = pg.conv2d(output, x, weight, bias, **window)  # type: ignore[arg-type]
        shape = pg.graph(self.inputs, [*self.nodes, node], [output]).shapes[output]
        residual = self._recent(4, shape)
        return node if residual is None else pg.conv2d(output, x, weight, bias, residual=residual, **window)  # type: ignore[arg-type]

    def _batch_norm(self, output: str, x: str) -> Node:
        channels = self.shapes[x][1]
        return pg.batch_norm(output, x, self._normal(channels), self._normal(channels), relu=self._flag())

    def _pool(self, output: str, x: str) -> Node:
        options: dict[str, Any] = {"stride": (2, 2), "padding": (1, 1), "ceil_mode": self._flag()}
        if self._flag():
            return pg.max_pool2d(output, x, (3, 3), **options)
        return pg.avg_pool2d(output, x, (3, 2), **options, count_include_pad=self._flag())

    def _elementwise(self, output: str, x: str) -> Node:
        kind = str(self.rng.choice(["relu", "sigmoid", "add"]))
        other = self._recent(4, self.shapes[x])
        if kind == "add" and other is not None:
            return pg.add(output, x, other, relu=self._flag())
        return pg.plain("sigmoid" if kind == "sigmoid" else "relu", output, x)

    def _radix_sum_pool(self, output: str, x: str) -> Node:
        radix = 2 if self.shapes[x][1] % 2 == 0 and self._flag() else 1
        return pg.radix_sum_pool(output, x, radix)

    def _split_attention(self, output: str, x: str) -> Node | None:
        n, channels = self.shapes[x][:2]
        logits = self._recent(2, (n, channels))
        if logits is None:
            self.nodes.append(pg.radix_sum_pool(f"{output}.logits", x))
            logits = f"{output}.logits"
        radix = int(self.rng.choice([r for r in (1, 2, 4) if channels % r == 0]))
        cardinality = 2 if channels // radix % 2 == 0 and self._flag() else 1
        return pg.split_attention(output, x, logits, radix, cardinality)

    def _linear(self, output: str, x: str) -> Node | None:
        vector = self._recent(2)
        if vector is None:
            return None
        inputs = self.shapes[vector][1]
        groups = 2 if inputs % 2 == 0 and self._flag() else 1
        out = groups * int(self.rng.integers(1, 40))
        weight = self._normal(out, inputs // groups) / np.float32(np.sqrt(inputs))
        return pg.linear(output, vector, weight, self._normal(out) if self._flag() else None, groups=groups)

    def _rows(self, output: str, x: str) -> Node | None:
        vector = self._recent(2)
        kind = str(self.rng.choice(["softmax", "sigmoid", "unflatten", "flatten"]))
        return (
            pg.plain(kind, output, x if kind == "flatten" else vector)
            if vector or kind == "flatten"
            else None
        )


KINDS = ["conv2d"] * 5 + [
    "batch_norm",
    "pool",
    "elementwise",
    "elementwise",
    "radix_sum_pool",
    "split_attention",
    "linear",
    "rows",
]


def alone(graph: Graph, node: Node) -> Graph:
    """A graph of one of the nodes of a graph."""
    return pg.graph({name: graph.shapes[name] for name in node.inputs}, [node], [node.output])
