"""Ways to damage a file, all of them deterministic: cut, flipped, overwritten bytes, and nonsense in JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

# A name that says what was done, and the damaged contents.
Damaged: TypeAlias = Iterator[tuple[str, bytes]]

SEED = 20180201


def cut(content: bytes, count: int = 40) -> Damaged:
    """The first bytes only, and the contents with something behind the end."""
    size = len(content)
    lengths = {0, 1, 2, 3, 4, 7, 8, 9, 16, size - 1, size - 2, size - 4, size - 8}
    lengths |= {size * i // count for i in range(count)}
    for length in sorted(length for length in lengths if 0 <= length < size):
        yield f"cut after {length} bytes", content[:length]
    yield "a byte too much", content + b"\0"
    yield "a page too much", content + b"\xff" * 4096
    yield "twice", content + content


def flipped(content: bytes, count: int = 120, begin: int = 0, end: int | None = None) -> Damaged:
    """One to eight bits flipped, between two places."""
    rng = np.random.default_rng(SEED)
    end = len(content) if end is None else end
    for index in range(count if end > begin else 0):
        damaged = bytearray(content)
        for place in rng.integers(begin, end, int(rng.integers(1, 9))):
            damaged[place] ^= 1 << int(rng.integers(8))
        yield f"flipped {index}", bytes(damaged)


def overwritten(content: bytes, count: int = 60) -> Damaged:
    """Numbers that are small, large or negative, in both byte orders, and parts left out or moved."""
    rng = np.random.default_rng(SEED + 1)
    numbers = [0, 1, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]
    for _ in range(count if len(content) > 8 else 0):
        width = int(rng.choice([1, 2, 4, 8]))
        number = numbers[int(rng.integers(len(numbers)))] % 256**width
        place = int(rng.integers(len(content) - width + 1))
        order: Any = rng.choice(["little", "big"])
        changed = content[:place] + number.to_bytes(width, order) + content[place + width :]
        yield f"{number:#x} of {width} bytes at {place}", changed
        first, second = sorted(rng.integers(0, len(content), 2).tolist())
        yield f"without {first} to {second}", content[:first] + content[second:]
        yield f"{first} to {second} twice", content[:second] + content[first:]
        yield f"zeros from {first} to {second}", content[:first] + bytes(second - first) + content[second:]


def every_way(content: bytes) -> Damaged:
    yield from cut(content)
    yield from flipped(content)
    yield from overwritten(content)


# ---- JSON

# Instead of a value, whatever it was.
NONSENSE: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    3,
    2**15,
    2**31 - 1,
    2**31,
    2**40,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64,
    10**300,
    0.5,
    -1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "0",
    "\0",
    "\ud800",
    [],
    [1],
    [1, 1],
    [-1, 1],
    [1, 2**40],
    [2**31 - 1, 2**31 - 1],
    [1, 1, 1],
    [1, 1, 1, 1],
    [[1]],
    {},
    {"x": 1},
]


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside ``value``, as keys and indices."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    )
    for key, child in children:
        yield (key,)
        yield from ((key, *rest) for rest in places(child))


def changed(value: Any, place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy in which ``change(parent, key)`` was called on the value at a place."""
    whole = copy.deepcopy(value)
    parent = whole
    for key in place[:-1]:
        parent = parent[key]
    change(parent, place[-1])
    return whole


def without(parent: Any, key: Any) -> None:
    del parent[key]


def doubled(parent: Any, key: Any) -> None:
    if isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[f"{key}2"] = parent[key]


def edited(value: Any) -> Iterator[tuple[str, str]]:
    """JSON texts, each with one part of ``value`` left out, doubled, or made nonsense."""
    for place in places(value):
        name = ".".join(map(str, place))
        yield f"without {name}", json.dumps(changed(value, place, without))
        yield f"{name} doubled", json.dumps(changed(value, place, doubled))
        for nonsense in NONSENSE:

            def put(parent: Any, key: Any, nonsense: Any = nonsense) -> None:
                parent[key] = nonsense

            yield f"{name} is {nonsense!r:.40}", json.dumps(changed(value, place, put))


def strange_json(text: str) -> Iterator[tuple[str, str]]:
    """Texts that strain a parser, with ``text`` somewhere inside where that is possible."""
    deep = 200_000
    yield "nested lists", "[" * deep + "]" * deep
    yield "nested lists, open", "[" * deep
    yield "nested dictionaries", '{"a":' * deep + "1" + "}" * deep
    yield "a number of many digits", "9" * 100_000
    yield "an exponent", "1e999999999"
    yield "a long string", '"' + "a" * 1_000_000 + '"'
    yield "many entries", "[" + "0," * 300_000 + "0]"
    yield "every key again", text[:-1] + "," + text[1:] if text.startswith("{") else text
    yield "not a number", "NaN"
    yield "infinity", "-Infinity"
    yield "half a character", '"\\ud800"'
    yield "a byte order mark", "\ufeff" + text
    yield "two values", text + text
    yield "comments", "/* */" + text
