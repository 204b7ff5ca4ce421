"""conv2d refuses what it cannot compute, with a message that names the operator and the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lucid import _core
from lucid.nn import functional as F

Arguments = dict[str, Any]


def valid() -> Arguments:
    """Arguments that both doors accept; each case below spoils some of them."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((2, 8, 6, 5)).astype(np.float32),
        "weight": rng.standard_normal((4, 4, 3, 3)).astype(np.float32),
        "bias": rng.standard_normal(4).astype(np.float32),
        "stride": (1, 1),
        "padding": (1, 1, 1, 1),
        "dilation": (1, 1),
        "groups": 2,
    }


def compiled(arguments: Arguments) -> Any:
    return _core.conv2d(**arguments)


def public(arguments: Arguments) -> Any:
    """Where the two sides of an axis are padded alike."""
    arguments = dict(arguments)
    if isinstance(arguments["padding"], tuple):
        arguments["padding"] = arguments["padding"][:2]
    return F.conv2d(arguments.pop("x"), arguments.pop("weight"), arguments.pop("bias"), **arguments)


DOORS = [compiled, public]


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


def misaligned(*shape: int) -> Any:
    """float32 that starts at an odd address."""
    count = int(np.prod(shape))
    return np.zeros(4 * count + 1, np.uint8)[1:].view(np.float32).reshape(shape)


def odd_strides(*shape: int) -> Any:
    """float32 fields of 6-byte records: aligned at first, and then not."""
    records = np.zeros(
        shape, np.dtype({"names": ["value", "rest"], "formats": ["<f4", "<u2"], "offsets": [0, 4]})
    )
    return records["value"]


# The argument that is spoilt, the exceptions allowed, and the words of the message beside "conv2d:".
BAD: dict[str, tuple[Arguments, tuple[type[Exception], ...], str]] = {
    "x of rank 0": ({"x": np.array(1, np.float32)}, (ValueError,), "x must"),
    "x of rank 3": ({"x": zeros(8, 6, 5)}, (ValueError,), "x must"),
    "x of rank 5": ({"x": zeros(1, 2, 8, 6, 5)}, (ValueError,), "x must"),
    "x of rank 12": ({"x": zeros(*[1] * 12)}, (ValueError,), "x must"),
    "weight of rank 3": ({"weight": zeros(4, 4, 3)}, (ValueError,), "weight must"),
    "weight of rank 5": ({"weight": zeros(4, 4, 3, 3, 3)}, (ValueError,), "weight must"),
    "bias of rank 0": ({"bias": np.array(1, np.float32)}, (ValueError,), "bias must"),
    "bias of rank 2": ({"bias": zeros(4, 1)}, (ValueError,), "bias must"),
    "bias too short": ({"bias": zeros(3)}, (ValueError,), "3"),
    "bias too long": ({"bias": zeros(5)}, (ValueError,), "5"),
    "x of float16": ({"x": zeros(2, 8, 6, 5, dtype=np.float16)}, (ValueError,), "float16"),
    "x of float64": ({"x": zeros(2, 8, 6, 5, dtype=np.float64)}, (ValueError,), "float64"),
    "x of longdouble": ({"x": zeros(2, 8, 6, 5, dtype=np.longdouble)}, (ValueError, TypeError), " must"),
    "x of int32": ({"x": zeros(2, 8, 6, 5, dtype=np.int32)}, (ValueError,), "int32"),
    "x of bool": ({"x": zeros(2, 8, 6, 5, dtype=np.bool_)}, (ValueError,), "bool"),
    "x of complex64": ({"x": zeros(2, 8, 6, 5, dtype=np.complex64)}, (ValueError, TypeError), "complex64"),
    "weight of float64": ({"weight": zeros(4, 4, 3, 3, dtype=np.float64)}, (ValueError,), "weight must"),
    "bias of float64": ({"bias": zeros(4, dtype=np.float64)}, (ValueError,), "bias must"),
    "x of objects": ({"x": zeros(2, 8, 6, 5, dtype=object)}, (TypeError,), " must"),
    "weight of objects": ({"weight": zeros(4, 4, 3, 3, dtype=object)}, (TypeError,), "weight must"),
    "x of strings": ({"x": np.full((2, 8, 6, 5), "a")}, (TypeError,), " must"),
    "x of dates": ({"x": zeros(2, 8, 6, 5, dtype="M8[s]")}, (TypeError,), " must"),
    "x big-endian": ({"x": zeros(2, 8, 6, 5, dtype=">f4")}, (TypeError,), " must"),
    "x of records": ({"x": zeros(2, 8, 6, 5, dtype=[("a", "<f4")])}, (TypeError,), " must"),
    "x None": ({"x": None}, (TypeError,), "NoneType"),
    "weight None": ({"weight": None}, (TypeError,), "NoneType"),
    "x misaligned": ({"x": misaligned(2, 8, 6, 5)}, (ValueError,), "x"),
    "weight misaligned": ({"weight": misaligned(4, 4, 3, 3)}, (ValueError,), "weight"),
    "x with a stride of 6 bytes": ({"x": odd_strides(2, 8, 6, 5)}, (ValueError,), "x"),
    "no channels": ({"x": zeros(2, 0, 6, 5), "weight": zeros(4, 0, 3, 3)}, (ValueError,), "0"),
    "no rows": ({"x": zeros(2, 8, 0, 5)}, (ValueError,), "0"),
    "no columns": ({"x": zeros(2, 8, 6, 0)}, (ValueError,), "0"),
    "no outputs": ({"weight": zeros(0, 4, 3, 3), "bias": None}, (ValueError,), "0"),
    "empty kernel": ({"weight": zeros(4, 4, 0, 3)}, (ValueError,), "0"),
    "channels of x and weight differ": ({"weight": zeros(4, 3, 3, 3)}, (ValueError,), "3"),
    "groups do not divide the input": (
        {"groups": 3, "weight": zeros(6, 2, 3, 3), "bias": None},
        (ValueError,),
        "3",
    ),
    "groups do not divide the output": ({"weight": zeros(5, 4, 3, 3), "bias": None}, (ValueError,), "5"),
    "more groups than channels": ({"groups": 16}, (ValueError,), "16"),
    "groups 0": ({"groups": 0}, (ValueError,), "0"),
    "groups negative": ({"groups": -2}, (ValueError,), "-2"),
    "groups 2**63 - 1": ({"groups": 2**63 - 1}, (ValueError,), "groups"),
    "stride 0": ({"stride": (0, 1)}, (ValueError,), "stride"),
    "stride negative": ({"stride": (1, -1)}, (ValueError,), "stride"),
    "dilation 0": ({"dilation": (1, 0)}, (ValueError,), "dilation"),
    "dilation negative": ({"dilation": (-1, 1)}, (ValueError,), "dilation"),
    "padding negative": ({"padding": (0, -1, 0, -1)}, (ValueError,), "padding"),
    "padding -2**63": ({"padding": (-(2**63), 0, -(2**63), 0)}, (ValueError,), "padding"),
    "kernel higher than the padded input": (
        {"padding": (0, 0, 0, 0), "weight": zeros(4, 4, 7, 3)},
        (ValueError,),
        "7",
    ),
    "kernel wider than the padded input": (
        {"padding": (0, 0, 0, 0), "weight": zeros(4, 4, 3, 6)},
        (ValueError,),
        "6",
    ),
    "dilated kernel beyond the padded input": ({"dilation": (4, 1)}, (ValueError,), "conv2d"),
    "padding 2**62": ({"padding": (2**62, 0, 2**62, 0)}, (ValueError, MemoryError), "conv2d"),
    "padding 2**63 - 1": (
        {"padding": (2**63 - 1, 2**63 - 1, 2**63 - 1, 2**63 - 1)},
        (ValueError, MemoryError),
        "conv2d",
    ),
    "padding 2**62 on both axes": (
        {"padding": (2**62, 2**62, 2**62, 2**62)},
        (ValueError, MemoryError),
        "conv2d",
    ),
    "padding whose area overflows": (
        {"padding": (2**31, 2**31, 2**31, 2**31)},
        (ValueError, MemoryError),
        "conv2d",
    ),
    "padding beyond any memory": (
        {"padding": (2**24, 2**24, 2**24, 2**24)},
        (ValueError, MemoryError),
        "conv2d",
    ),
    "dilation 2**62": ({"dilation": (2**62, 1)}, (ValueError, MemoryError), "conv2d"),
    "dilation 2**63 - 1": ({"dilation": (2**63 - 1, 2**63 - 1)}, (ValueError, MemoryError), "conv2d"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str, door: Callable[[Arguments], Any]) -> None:
    spoilt, exceptions, fragment = BAD[name]
    with pytest.raises(exceptions) as raised:
        door(valid() | spoilt)
    message = str(raised.value)
    assert message.startswith("conv2d: "), message
    assert fragment in message
    assert message.isascii()
    assert "\n" not in message


@pytest.mark.parametrize("door", DOORS)
def test_accepts_what_the_refused_cases_start_from(door: Callable[[Arguments], Any]) -> None:
    assert door(valid()).shape == (2, 4, 6, 5)
    assert door(valid() | {"bias": None}).shape == (2, 4, 6, 5)


# Values that the compiled module cannot tell apart, since C has only 64-bit integers.
PUBLIC_BAD: dict[str, Arguments] = {
    "stride of three": {"stride": (1, 1, 1)},
    "stride of one": {"stride": (1,)},
    "stride a float": {"stride": 1.0},
    "stride a string": {"stride": "1"},
    "stride None": {"stride": None},
    "padding an unknown word": {"padding": "reflect"},
    "padding a float": {"padding": (0.5, 0, 0.5, 0)},
    "padding beyond 64 bits": {"padding": (2**64, 0, 2**64, 0)},
    "dilation beyond 64 bits": {"dilation": 10**30},
    "dilation NaN": {"dilation": float("nan")},
    "groups a float": {"groups": 2.0},
    "groups None": {"groups": None},
    "groups beyond 64 bits": {"groups": 2**70},
    "x a list": {"x": [[[[1.0]]]]},
    "x a string": {"x": "image"},
}


@pytest.mark.parametrize("name", PUBLIC_BAD)
def test_public_function_refuses(name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^conv2d: "):
        public(valid() | PUBLIC_BAD[name])


@pytest.mark.parametrize("algorithm", ["", "fastest", "direct\0", "x" * 10_000])
def test_refuses_unknown_algorithm(algorithm: str) -> None:
    with pytest.raises((ValueError, NotImplementedError), match=r"^conv2d: .*algorithm"):
        _core.conv2d(**valid(), algorithm=algorithm)


def test_refuses_algorithm_that_does_not_take_the_problem(isa: str) -> None:
    grouped = _core.conv2d_algorithms(
        zeros(1, 128, 9, 9), zeros(128, 4, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 32
    )
    dense = _core.conv2d_algorithms(
        zeros(1, 128, 9, 9), zeros(128, 128, 5, 1), (3, 2), (1, 1, 1, 1), (2, 3), 1
    )
    for algorithm in set(grouped) - set(dense):
        with pytest.raises((ValueError, NotImplementedError), match=rf"^conv2d: .*{algorithm}"):
            _core.conv2d(
                zeros(1, 128, 9, 9),
                zeros(128, 128, 5, 1),
                None,
                (3, 2),
                (1, 1, 1, 1),
                (2, 3),
                1,
                algorithm=algorithm,
            )


def test_algorithms_are_listed_for_valid_problems_only() -> None:
    arguments = valid()
    del arguments["bias"]
    assert _core.conv2d_algorithms(**arguments)
    with pytest.raises(ValueError, match=r"^conv2d: .*groups"):
        _core.conv2d_algorithms(**arguments | {"groups": 3})


def test_failure_changes_nothing_for_the_next_call() -> None:
    arguments = valid()
    want = _core.conv2d(**arguments)
    with pytest.raises(ValueError, match=r"^conv2d: "):
        _core.conv2d(**arguments | {"groups": 3})
    np.testing.assert_array_equal(_core.conv2d(**arguments), want)
