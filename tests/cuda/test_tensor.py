"""Tensors on a device: what they hold, how they move, arithmetic, views, and what is not there yet."""

from __future__ import annotations

import copy
import operator
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tolerance import assert_close

import lucid
from lucid import Tensor, nn
from lucid.nn import functional as F

pytestmark = pytest.mark.cuda

EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def drawn(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


# ---- Making and moving


def test_makers_put_tensors_on_the_device(device: str) -> None:
    made = {
        "zeros": (lucid.zeros(2, 3, device="cuda"), np.zeros((2, 3))),
        "ones": (lucid.ones((2, 3), device=device), np.ones((2, 3))),
        "full": (lucid.full((3,), 2.5, device=device), np.full(3, 2.5)),
        "arange": (lucid.arange(4, device=device), np.arange(4)),
        "tensor": (lucid.tensor([[1.0, 2.0]], device=device), np.array([[1.0, 2.0]])),
        "half": (lucid.ones(2, device=device, dtype="float16"), np.ones(2)),
        "scalar": (lucid.tensor(3.0, device=device), np.array(3.0)),
        "nothing": (lucid.zeros(0, 3, device=device), np.zeros((0, 3))),
    }
    for name, (x, want) in made.items():
        assert x.device == device, name
        assert x.is_cuda
        assert x.shape == want.shape
        np.testing.assert_array_equal(x.cpu().numpy(), want, err_msg=name)
    assert lucid.empty(2, 3, device=device).shape == (2, 3)
    assert made["arange"][0].dtype == np.int64
    assert made["half"][0].dtype == np.float16
    assert lucid.random.randn(2, device=device).is_cuda
    lucid.random.seed(3)
    there = lucid.random.rand(5, device=device)
    lucid.random.seed(3)
    np.testing.assert_array_equal(there.cpu().numpy(), lucid.random.rand(5).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "int32", "uint8", "bool"])
def test_every_dtype_goes_there_and_back(device: str, dtype: str, rng: np.random.Generator) -> None:
    array = (drawn(rng, 3, 4) * 10).astype(dtype)
    there = Tensor(array).to(device)
    assert (there.dtype, there.device) == (np.dtype(dtype), device)
    np.testing.assert_array_equal(there.cpu().numpy(), array)


def test_to_returns_the_tensor_itself_where_nothing_changes(device: str) -> None:
    x = lucid.ones(2, device=device)
    assert x.to(device) is x.to("cuda") is x.cuda() is x.cuda(0) is x.to(x) is x.float() is x
    copied = x.to(device, copy=True)
    assert copied.data.data_ptr != x.data.data_ptr
    y = lucid.ones(2)
    assert y.cpu() is y.to("cpu") is y
    assert y.to(x).device == device
    assert x.to(y).device == "cpu"


def test_dtypes_convert_on_both_sides(device: str, rng: np.random.Generator) -> None:
    array = drawn(rng, 5, 7)
    x = Tensor(array)
    for there in (x.to(device, "float16"), x.half().to(device), x.to(device).half()):
        assert there.dtype == np.float16
        np.testing.assert_array_equal(there.cpu().numpy(), array.astype(np.float16))
    np.testing.assert_array_equal(x.to(device).half().to("cpu", "float32"), array.astype(np.float16))
    assert lucid.arange(3).to(device, "float32").cpu().tolist() == [0.0, 1.0, 2.0]
    assert lucid.tensor([1.7], device=device).to("cpu", "int64").tolist() == [1]


def test_integers_are_converted_on_the_device(device: str) -> None:
    images = np.arange(240, dtype=np.uint8).reshape(2, 4, 10, 3)
    there = Tensor(images).to(device).permute(0, 3, 1, 2).float() / 255.0
    assert there.device == device
    np.testing.assert_allclose(there.cpu().numpy(), images.transpose(0, 3, 1, 2) / 255.0, rtol=2.0**-22)
    x = lucid.tensor([[0.0, -1.5], [2.75, 300.0]], device=device)
    assert x.bool().cpu().tolist() == [[False, True], [True, True]]
    assert x.bool().permute(1, 0).contiguous().cpu().tolist() == [[False, True], [True, True]]
    assert (x.long().device, x.long().tolist()) == (device, [[0, -1], [2, 300]])
    assert x.int().half().tolist() == [[0.0, -1.0], [2.0, 300.0]]
    whole = lucid.tensor([[1, 2], [3, 4]], device=device)
    whole[0] = whole[1]
    assert (whole.device, whole.tolist()) == (device, [[3, 4], [3, 4]])


def test_bfloat16_lives_on_the_device_alone(device: str, rng: np.random.Generator) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = drawn(rng, 4, 9)
    x = Tensor(array).to(device, "bfloat16")
    assert x.dtype == ml_dtypes.bfloat16
    want = array.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(x.float().cpu().numpy(), want)
    np.testing.assert_array_equal(x.to("cpu", "float32").numpy(), want)
    assert lucid.ones(2, dtype="bfloat16", device=device).dtype == ml_dtypes.bfloat16
    assert lucid.tensor([1.0], dtype=ml_dtypes.bfloat16, device=device).tolist() == [1.0]
    with pytest.raises(
        TypeError, match=r"to: .* got bfloat16; convert it as well: x\.to\('cpu', 'float32'\)"
    ):
        x.cpu()
    with pytest.raises(TypeError, match="to: dtype must be one of NumPy's, got 'bfloat16'"):
        lucid.ones(2).to("bfloat16")


def test_memory_order_is_kept(device: str, rng: np.random.Generator) -> None:
    array = drawn(rng, 2, 3, 4, 5).transpose(0, 3, 1, 2)
    there = Tensor(array).to(device)
    assert there.data.strides == array.strides
    assert there.cpu().data.strides == array.strides
    assert there.clone().data.strides == array.strides
    assert there.contiguous().data.flags.c_contiguous
    np.testing.assert_array_equal(there.contiguous().cpu().numpy(), array)
    assert there.contiguous().contiguous().data.flags.c_contiguous


def test_slices_of_the_host_are_copied(device: str, rng: np.random.Generator) -> None:
    array = drawn(rng, 6, 8)[::-2, 1::3]
    np.testing.assert_array_equal(Tensor(array).to(device).cpu().numpy(), array)


# ---- Python's protocols


def test_values_are_read(device: str) -> None:
    x = lucid.tensor([[1.0, 2.5]], device=device)
    assert x.tolist() == [[1.0, 2.5]]
    assert (x[0, 1].item(), float(x[0, 1]), int(x[0, 0]), bool(x[0, 0])) == (2.5, 2.5, 1, True)
    assert f"{x[0, 1]:.2f}" == "2.50"
    assert repr(x) == f"tensor([[1. , 2.5]], device='{device}')"
    assert repr(x.half()) == f"tensor([[1. , 2.5]], dtype=float16, device='{device}')"
    assert repr(lucid.zeros(0, 2, device=device)) == f"tensor([], shape=(0, 2), device='{device}')"
    assert [part.tolist() for part in x] == [[1.0, 2.5]]
    assert (len(x), x.ndim, x.numel(), x.size(1)) == (1, 2, 2, 2)
    with pytest.raises(ValueError, match="item: the tensor must have one element"):
        x.item()


def test_copies_and_pickles(device: str) -> None:
    x = lucid.tensor([1.0, 2.0], device=device)
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.clone(), lucid.tensor(x)):
        assert other.device == device
        assert other.data.data_ptr != x.data.data_ptr
        assert other.tolist() == [1.0, 2.0]
    parameter = copy.deepcopy(nn.Parameter(x))
    assert type(parameter) is nn.Parameter
    assert parameter.is_cuda


def test_numpy_is_refused_with_the_way_out(device: str) -> None:
    x = lucid.ones(2, device=device)
    for call in (x.numpy, lambda: np.asarray(x), lambda: np.array(x), lambda: np.asarray(x.data)):
        with pytest.raises(
            TypeError, match=r"numpy: the tensor must be on the CPU, got one on cuda:0; .*\.cpu\(\)"
        ):
            call()
    with pytest.raises(BufferError):
        memoryview(x)


# ---- Arithmetic

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv]
SHAPES = [
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 3, 4, 5), (1, 3, 1, 1)),
    ((3, 1, 1), (2, 3, 4, 5)),
    ((4, 1), (1, 6)),
    ((), (3, 2)),
    ((0, 3), (1, 3)),
]


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_arithmetic_broadcasts(
    device: str, function: Callable[..., Any], shapes: tuple[Any, Any], rng: np.random.Generator
) -> None:
    a, b = (Tensor(drawn(rng, *shape)) for shape in shapes)
    got = function(a.to(device), b.to(device))
    want = function(a.numpy().astype(np.float64), b.numpy())
    assert got.device == device
    assert_close(got.cpu().numpy(), want, factor=1.0)


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_arithmetic_with_numbers_keeps_the_dtype(
    device: str, function: Callable[..., Any], rng: np.random.Generator
) -> None:
    array = drawn(rng, 3, 5)
    for dtype in ("float32", "float16"):
        x = Tensor(array).to(device, dtype)
        for got, want in (
            (function(x, 2.5), function(array.astype(dtype).astype(np.float64), 2.5)),
            (function(3, x), function(3.0, array.astype(dtype).astype(np.float64))),
            (function(x, np.float64(0.5)), function(array.astype(dtype).astype(np.float64), 0.5)),
            (function(x, np.array(2, np.int64)), function(array.astype(dtype).astype(np.float64), 2)),
        ):
            assert got.dtype == dtype
            assert_close(got.cpu().numpy(), want, factor=1.0)


def test_dtypes_meet_in_float32(device: str) -> None:
    a, b = lucid.ones(2, device=device), lucid.ones(2, dtype="float16", device=device)
    assert (a + b).dtype == (b * a).dtype == np.float32
    assert (b + b).dtype == np.float16


def test_signs_and_bounds(device: str, rng: np.random.Generator) -> None:
    array = drawn(rng, 4, 3)
    x = Tensor(array).to(device)
    np.testing.assert_array_equal((-x).cpu(), -array)
    np.testing.assert_array_equal(x.clamp(-0.5, 0.5).cpu(), array.clip(-0.5, 0.5))
    np.testing.assert_array_equal(x.clamp(max=0.25).cpu(), array.clip(max=0.25))
    np.testing.assert_array_equal(x.relu().cpu(), array.clip(0))


def test_arithmetic_in_place(device: str, rng: np.random.Generator) -> None:
    array, other = drawn(rng, 3, 4), drawn(rng, 4)
    x = Tensor(array.copy()).to(device)
    pointer, alias = x.data.data_ptr, x
    x += Tensor(other).to(device)
    x *= 2
    x -= 0.5
    x /= Tensor(np.abs(other) + 1).to(device)
    assert x is alias
    assert x.data.data_ptr == pointer
    want = ((array.astype(np.float64) + other) * 2 - 0.5) / (np.abs(other) + 1.0)
    assert_close(x.cpu().numpy(), want, terms=4)
    x.zero_().add_(3.0).mul_(2.0)
    assert x.tolist() == np.full((3, 4), 6.0).tolist()
    with pytest.raises(
        ValueError, match=r"\+=: the result must have the tensor's shape \(3, 4\), got \(2, 3, 4\)"
    ):
        x += lucid.ones(2, 3, 4, device=device)


def test_devices_must_not_be_mixed(device: str) -> None:
    x, y = lucid.ones(2, device=device), lucid.ones(2)
    message = (
        r"add: all tensors must be on one device, got one on cuda:0 and one on the CPU; .*\.to\('cuda:0'\)"
    )
    for call in (lambda: x + y, lambda: y + x, lambda: x + np.ones(2, np.float32), lambda: np.ones(2) + x):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match="add: all tensors must be on one device"):
        y += x
    with pytest.raises(ValueError, match=r"conv2d: all tensors must be on one device.*cuda:0.*CPU"):
        F.conv2d(lucid.ones(1, 1, 3, 3, device=device), lucid.ones(1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"linear: all tensors must be on one device.*CPU.*cuda:0"):
        F.linear(lucid.ones(1, 3), lucid.ones(2, 3, device=device))


# ---- Views and elements

VIEWS: dict[str, Callable[[Any], Any]] = {
    "transpose": lambda x: x.transpose(1, 3),
    "permute": lambda x: x.permute(2, 0, 3, 1),
    "index": lambda x: x[1],
    "slice": lambda x: x[:, 1:, ::2, -1],
    "backwards": lambda x: x[:, ::-1],
    "ellipsis": lambda x: x[..., 0],
    "inserted": lambda x: x[:, None, 0],
    "unsqueeze": lambda x: x.unsqueeze(2),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "reshape": lambda x: x.reshape(6, 4, 5),
    "flatten": lambda x: x.flatten(2),
    "element": lambda x: x[1, 2, 3, 4],
    "empty": lambda x: x[:0],
    "joined rows of a slice": lambda x: x[:, :, 1:3].reshape(2, 3, 10),
    "split": lambda x: x.reshape(2, 3, 2, 2, 5),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory(device: str, name: str, rng: np.random.Generator) -> None:
    array = drawn(rng, 2, 3, 4, 5)
    x = Tensor(array).to(device)
    view, want = VIEWS[name](x), VIEWS[name](Tensor(array))
    assert view.shape == want.shape
    np.testing.assert_array_equal(view.cpu().numpy(), want.numpy())
    if view.numel():
        x.fill_(7.0)
        assert set(view.flatten().tolist()) == {7.0}


@pytest.mark.parametrize("dims", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)])
@pytest.mark.parametrize(
    "shape", [(2, 60), (24, 5), (120,), (2, 3, 2, 2, 5), (1, 6, 1, 20), (4, 30), (12, 10)]
)
def test_reshape_copies_where_no_view_is(
    device: str, dims: tuple[int, ...], shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    array = drawn(rng, 2, 3, 4, 5)
    base = np.ascontiguousarray(array.transpose(dims)).transpose(np.argsort(dims))
    x = Tensor(base).to(device)
    np.testing.assert_array_equal(x.reshape(*shape).cpu().numpy(), array.reshape(shape))
    is_view = np.may_share_memory(base.reshape(shape), base)
    assert (x.reshape(*shape).data.data_ptr == x.data.data_ptr) is is_view
    if is_view:
        assert x.view(*shape).data.data_ptr == x.data.data_ptr
    else:
        with pytest.raises(ValueError, match="view: "):
            x.view(*shape)


def test_elements_are_written(device: str, rng: np.random.Generator) -> None:
    array = drawn(rng, 3, 4, 5)
    x = Tensor(array.copy()).to(device)
    for target in (x, array):
        target[0] = 2.0
        target[1, ::2, -1] = 3
        target[2, :, 1:3] = np.arange(8, dtype=np.float32).reshape(4, 2)
    x[:, 1] = lucid.tensor([1.0, 2.0, 3.0, 4.0, 5.0], device=device)
    x[:, 2, 0] = lucid.tensor([9.0], dtype="float16", device=device)
    array[:, 1], array[:, 2, 0] = [1.0, 2.0, 3.0, 4.0, 5.0], 9.0
    x[0, 3] *= 2.0
    array[0, 3] *= 2.0
    np.testing.assert_array_equal(x.cpu().numpy(), array)
    with pytest.raises(ValueError, match="broadcast"):
        x[0] = lucid.ones(3, device=device)


def test_elements_cross_devices_on_assignment(device: str) -> None:
    here, there = lucid.zeros(2, 2), lucid.ones(2, 2, device=device)
    here.copy_(there)
    assert here.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    there.copy_(lucid.tensor([[1.0, 2.0], [3.0, 4.0]]))
    here[0] = there[1]
    assert here.tolist() == [[3.0, 4.0], [1.0, 1.0]]


# ---- What is not there yet

NOT_YET: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "exp": ("exp", lambda x: x.exp()),
    "log": ("log", lambda x: x.log()),
    "sqrt": ("sqrt", lambda x: x.sqrt()),
    "abs": ("abs", lambda x: x.abs()),
    "sum": ("sum", lambda x: x.sum()),
    "mean of all": ("mean", lambda x: x.mean()),
    "var": ("var", lambda x: x.var()),
    "max": ("max", lambda x: x.max()),
    "argmax": ("argmax", lambda x: x.argmax(1)),
    "sort": ("sort", lambda x: x.sort()),
    "topk": ("sort", lambda x: x.topk(1)),
    "all": ("all", lambda x: x.all()),
    "<": ("less", lambda x: x < 1.0),
    "**": ("power", lambda x: x**2),
    "@": ("@", lambda x: x @ x),
    "index by an array": ("indexing", lambda x: x[[0, 1]]),
    "index by a tensor": ("indexing", lambda x: x[lucid.tensor([0, 1])]),
    "pad": ("pad", lambda x: F.pad(x, (1, 1))),
    "numpy.mean": ("mean", np.mean),
    "dropout of integers": ("dropout", lambda x: F.dropout(lucid.arange(2, device="cuda"))),
    "float to double": ("to", lambda x: x.double()),
    "float to unsigned": ("to", lambda x: x.to("uint16")),
    "integers": ("add", lambda x: lucid.arange(2, device="cuda") + 1),
    "in": ("in", lambda x: 1.0 in x),
}


@pytest.mark.parametrize("name", NOT_YET)
def test_what_has_no_kernel_names_the_way_out(device: str, name: str) -> None:
    op, call = NOT_YET[name]
    with pytest.raises(
        NotImplementedError, match=rf"^{re.escape(op)}: not on cuda yet.*; move the tensor by \.cpu\(\)$"
    ):
        call(lucid.ones(2, 2, device=device))


def test_a_device_that_is_not_there(device: str) -> None:
    count = lucid.cuda.device_count()
    for call in (lambda: lucid.ones(2).cuda(count), lambda: lucid.zeros(2, device=f"cuda:{count}")):
        with pytest.raises(ValueError, match=rf"device must be below cuda:{count}, got cuda:{count}"):
            call()
