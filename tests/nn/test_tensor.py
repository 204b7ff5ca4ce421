"""Tensor and the functions that make one: dtypes, shapes, operators, reductions, Python's protocols."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import reference
from tolerance import assert_close

import lucid
from lucid import Tensor


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.5, 2], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        (True, "bool"),
        ([np.float64(1.5)], "float32"),
        (np.float64(1.5), "float64"),
        (np.arange(3, dtype=np.int16), "int16"),
        (np.arange(3.0), "float64"),
        ((1.0, 2.0), "float32"),
        ([], "float32"),
    ],
)
def test_tensor_chooses_dtype(data, dtype):
    assert lucid.tensor(data).dtype == dtype


def test_tensor_copies_and_from_numpy_shares():
    array = np.zeros(3, np.float32)
    copied, shared = lucid.tensor(array), lucid.from_numpy(array)
    array[0] = 7
    assert copied[0].item() == 0
    assert shared[0].item() == 7
    assert shared.data is array
    assert lucid.tensor(shared).data is not array


def test_tensor_takes_dtype():
    assert lucid.tensor([1, 2], dtype=np.float32).dtype == np.float32
    assert lucid.tensor(np.arange(3.0), dtype="float16").dtype == np.float16


@pytest.mark.parametrize(
    "data",
    [
        ["a", "b"],
        [None],
        [2**70],
        [1j],
        np.array([object()]),
        np.zeros(2, ">f4"),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, "complex64"),
    ],
    ids=["str", "None", "huge int", "complex", "object", "big-endian", "structured", "datetime", "complex64"],
)
def test_tensor_rejects_what_is_no_native_number(data):
    with pytest.raises(TypeError, match="Tensor: array must hold bools, integers or floats"):
        lucid.tensor(data)


def test_tensor_rejects_ragged_lists():
    with pytest.raises(ValueError, match="tensor: data must be a number or an even nest"):
        lucid.tensor([[1.0], [1.0, 2.0]])


def test_constructor_rejects_lists():
    with pytest.raises(TypeError, match=r"Tensor: array must be a numpy\.ndarray, got list"):
        Tensor([1.0])  # type: ignore[arg-type]


def test_data_cannot_be_replaced():
    x = lucid.zeros(2)
    with pytest.raises(AttributeError):
        x.data = np.ones(2)  # type: ignore[misc]


def test_creation():
    assert lucid.zeros(2, 3).tolist() == [[0.0] * 3] * 2
    assert lucid.ones((2, 1)).tolist() == [[1.0], [1.0]]
    assert lucid.full((2,), 2.5).tolist() == [2.5, 2.5]
    assert lucid.full((2,), 3).dtype == np.int64
    assert lucid.empty(4, 0).shape == (4, 0)
    assert lucid.zeros().shape == ()
    assert lucid.ones(2, dtype=bool).dtype == np.bool_


def test_arange():
    assert lucid.arange(4).tolist() == [0, 1, 2, 3]
    assert lucid.arange(4).dtype == np.int64
    assert lucid.arange(1, 2, 0.25).dtype == np.float32
    assert lucid.arange(1, 2, 0.25).tolist() == [1.0, 1.25, 1.5, 1.75]
    assert lucid.arange(3, 0, -1).tolist() == [3, 2, 1]
    with pytest.raises(ValueError, match="arange: step must not be 0"):
        lucid.arange(1, 2, 0)


@pytest.mark.parametrize("size", [(1.5,), (True,), ("2",), ((2, None),)])
def test_creation_rejects_sizes_that_are_no_ints(size):
    with pytest.raises(TypeError, match="zeros: size must be ints"):
        lucid.zeros(*size)


@pytest.mark.parametrize("size", [(-1,), (2**40, 2**40), (2**80,), (1,) * 100])
def test_creation_rejects_impossible_sizes(size):
    with pytest.raises(ValueError, match="zeros: size must"):
        lucid.zeros(*size)


def test_facts():
    x = lucid.zeros(2, 3)
    assert type(x.shape) is tuple
    assert (x.shape, x.ndim, x.numel(), x.device) == ((2, 3), 2, 6, "cpu")
    assert x.size() == (2, 3)
    assert x.size(-1) == 3
    assert x.dtype == np.float32


def test_item_wants_one_element():
    assert lucid.tensor([[2.5]]).item() == 2.5
    with pytest.raises(ValueError, match=r"item: the tensor must have one element, got shape \(2,\)"):
        lucid.zeros(2).item()


# ---- Operators


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "!="])
def test_operators_match_numpy(operator, rng):
    a = rng.uniform(0.5, 2.0, (2, 3)).astype(np.float32)
    b = rng.uniform(0.5, 2.0, (2, 3)).astype(np.float32)
    expression = f"x {operator} y"
    want = eval(expression, {"x": a, "y": b})
    for x, y in [(Tensor(a), Tensor(b)), (a, Tensor(b)), (Tensor(a), b)]:
        got = eval(expression, {"x": x, "y": y})
        assert type(got) is Tensor
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.data, want)


@pytest.mark.parametrize("scalar", [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2)])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_scalars_keep_float32(scalar, shape):
    x = lucid.ones(*shape)
    for got in (x + scalar, scalar + x, x * scalar, scalar * x, x - scalar, scalar / x, x**scalar):
        assert type(got) is Tensor
        assert got.dtype == np.float32
        assert got.shape == shape


def test_mixed_dtypes_give_float32_unless_float64_is_there():
    counts, x = lucid.arange(3), lucid.ones(3)
    assert (counts + x).dtype == np.float32
    assert (counts / 2).dtype == np.float32
    assert (counts * 0.5).dtype == np.float32
    assert (counts + 1).dtype == np.int64
    assert (x + np.zeros(3)).dtype == np.float64


def test_add_of_equal_shapes_is_the_kernels(isa, rng):
    a, b = rng.standard_normal((2, 2, 5, 3, 7), dtype=np.float32)
    got = Tensor(a) + Tensor(b.transpose(0, 1, 2, 3))
    np.testing.assert_array_equal(got.data, a + b)
    channels_last = np.ascontiguousarray(b.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal((Tensor(a) + Tensor(channels_last)).data, a + b)


def test_operators_broadcast_and_say_when_they_cannot():
    assert (lucid.ones(2, 1) + lucid.ones(3)).shape == (2, 3)
    with pytest.raises(ValueError, match="broadcast"):
        lucid.ones(2) + lucid.ones(3)


def test_division_by_zero_is_silent():
    got = lucid.tensor([1.0, -1.0, 0.0]) / 0.0
    assert got.tolist()[:2] == [np.inf, -np.inf]
    assert np.isnan(got.data[2])
    assert lucid.tensor(0.0).log().item() == -np.inf


def test_operators_leave_others_types_to_them():
    assert (lucid.ones(2) == None) is False  # noqa: E711
    with pytest.raises(TypeError):
        lucid.ones(2) + "a"


def test_unary_and_logical_operators():
    x = lucid.tensor([-1.0, 2.0])
    assert (-x).tolist() == [1.0, -2.0]
    assert abs(x).tolist() == [1.0, 2.0]
    assert (~(x > 0)).tolist() == [True, False]
    assert ((x > 0) & (x < 3)).tolist() == [False, True]
    assert ((x > 0) | (x < 3)).tolist() == [True, True]


def test_matmul(rng):
    a, b = rng.standard_normal((3, 4), dtype=np.float32), rng.standard_normal((4, 5), dtype=np.float32)
    want = a.astype(np.float64) @ b.astype(np.float64)
    products = float(np.abs(a).max() * np.abs(b).max())
    assert_close(Tensor(a) @ Tensor(b), want, terms=4, products=products)


def test_hash_is_identity():
    x, y = lucid.ones(2), lucid.ones(2)
    assert len({x, y, x}) == 2


# ---- Elementwise


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_matches_reference(name, dim, rng):
    x = rng.standard_normal((4, 7)).astype(np.float32) * 20
    assert_close(getattr(Tensor(x), name)(dim), getattr(reference, name)(x, dim), terms=x.shape[dim])


def test_sigmoid_matches_reference(rng):
    x = np.concatenate([rng.standard_normal(50) * 10, [-200, 200, np.inf, -np.inf, np.nan]]).astype(
        np.float32
    )
    assert_close(Tensor(x).sigmoid(), reference.sigmoid(x))


def test_softmax_of_large_and_infinite_logits():
    assert lucid.tensor([1e30, 1e30]).softmax(0).tolist() == [0.5, 0.5]
    assert lucid.tensor([0.0, -np.inf]).softmax(0).tolist() == [1.0, 0.0]
    assert lucid.tensor([0.0, -np.inf]).log_softmax(0).tolist() == [0.0, -np.inf]


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "sigmoid", "mean", "var", "std"])
def test_floating_operations_reject_integers(name):
    with pytest.raises(ValueError, match=f"{name}: dtype must be floating, got int64"):
        getattr(lucid.arange(3), name)()


def test_clamp():
    x = lucid.tensor([-2.0, 0.5, 3.0])
    assert x.clamp(-1, 1).tolist() == [-1.0, 0.5, 1.0]
    assert x.clamp(min=0).tolist() == [0.0, 0.5, 3.0]
    assert x.clamp(max=0).tolist() == [-2.0, 0.0, 0.0]
    assert x.clamp(0, 1).dtype == np.float32


# ---- Shape


def test_reshape_and_view():
    x = lucid.arange(24)
    assert x.reshape(2, 3, -1).shape == (2, 3, 4)
    assert x.view((4, 6)).shape == (4, 6)
    x.view(4, 6).data[0, 0] = 100
    assert x[0].item() == 100
    assert lucid.zeros(0, 3).view(3, 0).shape == (3, 0)


def test_view_refuses_to_copy():
    x = lucid.zeros(2, 3, 4, 5).permute(0, 3, 1, 2)
    with pytest.raises(ValueError, match="view: "):
        x.view(2, -1)
    assert x.reshape(2, -1).shape == (2, 60)


def test_flatten():
    x = lucid.zeros(2, 3, 4, 5)
    assert x.flatten().shape == (120,)
    assert x.flatten(1).shape == (2, 60)
    assert x.flatten(1, 2).shape == (2, 12, 5)
    assert x.flatten(-2).shape == (2, 3, 20)
    assert lucid.tensor(1.0).flatten().shape == (1,)
    assert lucid.zeros(0, 3, 2).flatten(1).shape == (0, 6)
    with pytest.raises(ValueError, match="flatten: start_dim must not come after end_dim, got 2 and 1"):
        x.flatten(2, 1)
    with pytest.raises(ValueError, match="flatten: dim must be from -4 to 3, got 4"):
        x.flatten(4)


def test_transpose_permute_squeeze():
    x = lucid.zeros(2, 3, 1)
    assert x.transpose(0, 1).shape == (3, 2, 1)
    assert x.permute(2, 0, 1).shape == (1, 2, 3)
    assert x.permute((2, 0, 1)).shape == (1, 2, 3)
    assert x.squeeze().shape == (2, 3)
    assert x.squeeze(-1).shape == (2, 3)
    assert x.squeeze(0).shape == (2, 3, 1)
    assert x.unsqueeze(0).shape == (1, 2, 3, 1)
    assert x.unsqueeze(-1).shape == (2, 3, 1, 1)
    assert x.squeeze().T.shape == (3, 2)
    with pytest.raises(ValueError, match="T: the tensor must be a matrix"):
        _ = x.T


def test_contiguous_and_clone():
    x = lucid.zeros(2, 3)
    assert x.contiguous() is x
    assert x.T.contiguous().data.flags.c_contiguous
    copied = x.T.clone()
    assert not np.shares_memory(copied.data, x.data)
    assert copied.data.strides == x.T.data.strides


def test_to():
    x = lucid.tensor([1.5])
    assert x.to(np.float32) is x
    assert x.to("int64").tolist() == [1]


# ---- Reductions


def test_reductions_match_numpy(rng):
    a = rng.standard_normal((3, 4, 5)).astype(np.float32)
    x = Tensor(a)
    for dim in (None, 0, -1, (0, 2)):
        for keepdim in (False, True):
            assert_close(x.sum(dim, keepdim), a.astype(np.float64).sum(dim, keepdims=keepdim), terms=60)
            assert_close(x.mean(dim, keepdim), a.astype(np.float64).mean(dim, keepdims=keepdim), terms=60)
            want = a.astype(np.float64).var(dim, keepdims=keepdim, ddof=1)
            assert_close(x.var(dim, keepdim), want, terms=60)
            assert_close(x.std(dim, keepdim), np.sqrt(want), terms=60)
    assert x.sum().dtype == np.float32
    assert x.sum().shape == ()


def test_max_min_and_their_places(rng):
    a = rng.standard_normal((3, 4)).astype(np.float32)
    x = Tensor(a)
    assert x.max().item() == a.max()
    assert x.min().item() == a.min()
    values, indices = x.max(1)
    np.testing.assert_array_equal(values.data, a.max(1))
    np.testing.assert_array_equal(indices.data, a.argmax(1))
    smallest = x.min(0, keepdim=True)
    assert smallest.values.shape == (1, 4)
    np.testing.assert_array_equal(smallest.indices.data, a.argmin(0)[None])
    assert x.argmax().item() == a.argmax()
    assert x.argmin().item() == a.argmin()


def test_topk_orders_and_breaks_ties_by_place():
    x = lucid.tensor([[1.0, 3.0, 3.0, 2.0], [4.0, 0.0, 1.0, 4.0]])
    values, indices = x.topk(3)
    assert values.tolist() == [[3.0, 3.0, 2.0], [4.0, 4.0, 1.0]]
    assert indices.tolist() == [[1, 2, 3], [0, 3, 2]]
    assert x.topk(1, dim=0).indices.tolist() == [[1, 0, 0, 1]]
    assert x.topk(0).values.shape == (2, 0)
    with pytest.raises(ValueError, match="topk: k must be from 0 to 4"):
        x.topk(5)


def test_all_any():
    x = lucid.tensor([True, False])
    assert x.any()
    assert not x.all()


# ---- Python's protocols


def test_indexing_shares_memory():
    x = lucid.zeros(3, 4)
    x[1].data[:] = 5
    assert x.sum().item() == 20
    x[0, 0].data[...] = 1  # a single element as well
    assert x[0, 0].item() == 1
    assert x[..., 0].shape == (3,)
    assert x[None].shape == (1, 3, 4)


def test_indexing_by_tensors():
    x = lucid.arange(6).reshape(3, 2)
    assert x[lucid.tensor([2, 0])].tolist() == [[4, 5], [0, 1]]
    assert x[x > 3].tolist() == [4, 5]
    assert x[lucid.tensor([0, 1]), lucid.tensor([1, 0])].tolist() == [1, 2]


def test_assignment():
    x = lucid.zeros(2, 2)
    x[0] = lucid.ones(2)
    x[x == 0] = -1.0
    assert x.tolist() == [[1.0, 1.0], [-1.0, -1.0]]
    array = np.zeros(2, np.float32)
    array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        Tensor(array)[0] = 1.0


def test_len_iteration_and_membership():
    x = lucid.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1.0, 2.0], [3.0, 4.0]]
    assert 3.0 in x
    assert 5.0 not in x
    with pytest.raises(TypeError, match="no length"):
        len(lucid.tensor(1.0))
    with pytest.raises(TypeError, match="no length"):
        iter(lucid.tensor(1.0))


def test_conversion_to_python_numbers():
    assert float(lucid.tensor([2.5])) == 2.5
    assert int(lucid.tensor(2.5)) == 2
    assert bool(lucid.tensor(1.0))
    assert [10, 20][lucid.tensor(1)] == 20
    with pytest.raises(TypeError, match="only an integer tensor"):
        [10, 20][lucid.tensor(1.0)]
    with pytest.raises(ValueError, match="one element"):
        bool(lucid.zeros(2))


def test_repr_and_format():
    assert repr(lucid.tensor([1.0, 2.5])) == "tensor([1. , 2.5])"
    assert repr(lucid.zeros(0, 3)) == "tensor([], shape=(0, 3))"
    assert repr(lucid.zeros(1, dtype="float64")) == "tensor([0.], dtype=float64)"
    assert repr(lucid.arange(2)) == "tensor([0, 1])"
    assert f"{lucid.tensor(1.23456):.2f}" == "1.23"
    assert f"{lucid.tensor(1.5)}" == "tensor(1.5)"
    assert "..." in repr(lucid.zeros(100, 100))


def test_pickle_and_copy():
    x = lucid.tensor([[1.0, 2.0]])
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert type(y) is Tensor
        assert y.tolist() == x.tolist()
        assert not np.shares_memory(y.data, x.data)
    assert copy.copy(x).data is x.data
