"""Steps that write an image whose margin a convolution reads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import plan_graphs as pg

from lucid.inference import Node

Array = npt.NDArray[np.float32]


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def window(rng: np.random.Generator, channels: int, out: int = 8, size: int = 3) -> Array:
    return normal(rng, out, channels, size, size) / np.float32(np.sqrt(channels) * size)


# Nodes from "x" to "y", an image (2, 16, 9, 10) like it, of which a convolution reads the padding too.
PRODUCERS: dict[str, Callable[[np.random.Generator], list[Node]]] = {
    "batch_norm": lambda rng: [pg.batch_norm("y", "x", normal(rng, 16), normal(rng, 16))],
    "add": lambda rng: [pg.add("y", "x", "x")],
    "relu": lambda rng: [pg.plain("relu", "y", "x")],
    "sigmoid": lambda rng: [pg.plain("sigmoid", "y", "x")],
    "max_pool2d": lambda rng: [pg.max_pool2d("y", "x", (3, 3), padding=(1, 1))],
    "avg_pool2d": lambda rng: [pg.avg_pool2d("y", "x", (3, 3), padding=(1, 1))],
    "dense conv2d": lambda rng: [pg.conv2d("y", "x", window(rng, 16, 16), padding=(1, 1))],
    "grouped conv2d": lambda rng: [pg.conv2d("y", "x", window(rng, 4, 16), padding=(1, 1), groups=4)],
    "split_attention": lambda rng: [
        pg.conv2d("splits", "x", window(rng, 16, 32, 1)),
        pg.radix_sum_pool("logits", "splits"),
        pg.split_attention("y", "splits", "logits", 2),
    ],
    "split_attention by channel": lambda rng: [
        pg.conv2d("narrow", "x", window(rng, 16, 12, 1)),
        pg.radix_sum_pool("logits", "narrow"),
        pg.split_attention("half", "narrow", "logits", 2),
        pg.conv2d("y", "half", window(rng, 6, 16, 5), padding=(2, 2)),
    ],
}
