"""Operators and methods in place: they change the tensor itself, in its dtype, for all who hold it."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import lucid
from lucid import Tensor, nn

OPERATORS = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "//=": operator.ifloordiv,
    "%=": operator.imod,
    "**=": operator.ipow,
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("kind", [float, np.ndarray, Tensor])
def test_operator_writes_into_the_same_memory(name, kind, rng):
    array = rng.uniform(1, 2, (2, 3)).astype(np.float32)
    other = {float: 1.5, np.ndarray: array[:1] + 1, Tensor: Tensor(array + 1)}[kind]
    want = OPERATORS[name](array.copy(), np.asarray(other, np.float32))
    x = Tensor(array)
    result = OPERATORS[name](x, other)
    assert result is x
    assert x.data is array
    np.testing.assert_array_equal(array, want)


def test_logical_operators_in_place():
    x = lucid.tensor([True, True, False])
    x &= lucid.tensor([True, False, True])
    x |= lucid.tensor([False, False, True])
    assert x.tolist() == [True, False, True]


def test_parameters_and_state_dicts_change_the_module():
    layer = nn.Linear(3, 2)
    before = layer.weight.numpy().copy()
    with lucid.no_grad():
        for parameter in layer.parameters():
            parameter *= 0.5
    np.testing.assert_array_equal(layer.weight.data, before / 2)
    state = layer.state_dict()
    state["weight"] += 1
    np.testing.assert_array_equal(layer.weight.data, before / 2 + 1)
    with lucid.no_grad():
        layer.weight /= 2
    assert type(layer.weight) is nn.Parameter
    layer.weight.data *= 4
    np.testing.assert_array_equal(layer.weight.data, (before / 2 + 1) * 2)


def test_a_view_changes_its_base():
    x = lucid.zeros(2, 3)
    x[0] += 1
    row = x[1]
    row -= 2
    assert x.tolist() == [[1.0] * 3, [-2.0] * 3]


@pytest.mark.parametrize(
    ("dtype", "other", "fits"),
    [
        ("int64", 2, True),
        ("int64", 0.5, False),
        ("int64", np.ones(2, np.int8), True),
        ("int8", np.ones(2, np.int64), True),
        ("int64", np.ones(2, np.float32), False),
        ("bool", True, True),
        ("bool", 1, False),
        ("float16", np.ones(2, np.float64), True),
        ("float32", np.ones(2, np.float64), True),
        ("float32", np.ones(2, np.int64), True),
        ("float32", 2**40, True),
    ],
)
def test_the_dtype_stays_or_the_call_is_refused(dtype, other, fits):
    """PyTorch's rule: a result is never squeezed from floats into integers, nor from those into bools."""
    x = lucid.ones(2, dtype=dtype)
    if fits:
        x *= other
        assert x.dtype == dtype
        return
    with pytest.raises(TypeError, match=rf"\*=: the result must fit the tensor's dtype {dtype}"):
        x *= other
    assert x.tolist() == [1, 1]


def test_division_of_integers_is_refused():
    x = lucid.arange(3)
    with pytest.raises(TypeError, match="/=: the result must fit"):
        x /= 2
    x //= 2
    assert x.tolist() == [0, 0, 1]


def test_the_shape_stays_or_the_call_is_refused():
    x = lucid.ones(3)
    x += lucid.ones(1)
    with pytest.raises(
        ValueError, match=r"\+=: the result must have the tensor's shape \(3,\), got \(2, 3\)"
    ):
        x += lucid.ones(2, 3)
    with pytest.raises(ValueError, match="broadcast"):
        x += lucid.ones(4)
    assert x.tolist() == [2.0, 2.0, 2.0]


def test_read_only_memory_and_strangers_are_refused():
    frozen = np.zeros(2, np.float32)
    frozen.flags.writeable = False
    x = Tensor(frozen)
    with pytest.raises(ValueError, match="must be writable"):
        x += 1
    y = lucid.ones(2)
    with pytest.raises(TypeError):
        y += "a"


def test_overlapping_operands_give_the_values_from_before():
    x = lucid.arange(5)
    tail = x[1:]
    tail += x[:-1]
    assert x.tolist() == [0, 1, 3, 5, 7]


def test_methods_in_place():
    x = lucid.ones(2)
    y = x.add_(1).mul_(3).sub_(lucid.ones(2)).div_(2)
    assert y is x
    assert x.tolist() == [2.5, 2.5]
    assert x.copy_([1.0, 2.0] @ np.eye(2)).tolist() == [1.0, 2.0]
    assert x.fill_(7).tolist() == [7.0, 7.0]
    assert x.zero_().tolist() == [0.0, 0.0]
    with pytest.raises(TypeError, match="add_: other must be"):
        x.add_("a")


def test_data_is_no_other_array():
    x = lucid.zeros(2)
    with pytest.raises(AttributeError, match="data cannot be replaced"):
        x.data = np.ones(2)


@pytest.mark.parametrize("name", OPERATORS)
def test_torch_refuses_the_same(name, rng):
    torch = pytest.importorskip("torch")
    for dtype in ("bool", "int64", "float32"):
        for other in (True, 2, 1.5):
            if dtype == "bool" and name == "**=":
                continue  # int8 for NumPy
            ours, theirs = lucid.ones(2, dtype=dtype), torch.ones(2, dtype=getattr(torch, dtype))
            try:
                want = OPERATORS[name](theirs, other)
            except (RuntimeError, NotImplementedError):
                continue  # also for pairs that NumPy computes
            got = OPERATORS[name](ours, other)
            assert got.tolist() == want.tolist(), (dtype, other)
