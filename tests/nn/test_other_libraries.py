"""Arrays of other libraries: accepted without a copy, or refused with their name and the way out."""

from __future__ import annotations

import numpy as np
import pytest

import lucid
from lucid import Tensor, nn
from lucid.nn import functional as F


class Lent:
    """An array that speaks DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnDevice(Lent):
    device = "mps:1"

    def __dlpack_device__(self):
        return (8, 1)  # Metal


class Converted:
    """An object with ``__array__``, such as a table of pandas."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.fixture(params=[Lent, Converted, "torch"])
def foreign(request):
    if request.param == "torch":
        return pytest.importorskip("torch").from_numpy
    return request.param


@pytest.fixture
def image(rng):
    return rng.standard_normal((2, 4, 5, 5), dtype=np.float32)


def test_functions_layers_and_plans_take_them(foreign, image):
    model = nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU()).eval()
    want = model(Tensor(image)).data
    weight, bias = foreign(model[0].weight.data), foreign(model[0].bias.data)
    np.testing.assert_array_equal(F.conv2d(foreign(image), weight, bias).relu().data, want)
    np.testing.assert_array_equal(model(foreign(image)).data, want)
    got = lucid.compile(model, image.shape)(foreign(image))
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_memory_is_shared(foreign):
    array = np.full(3, -1.0, np.float32)
    F.relu(foreign(array), inplace=True)
    assert array.tolist() == [0.0, 0.0, 0.0]


def test_operators_and_comparisons_take_them(foreign):
    x, y = lucid.ones(3), foreign(np.arange(3, dtype=np.float32))
    assert (x + y).tolist() == [1.0, 2.0, 3.0]
    assert (x - y).tolist() == [1.0, 0.0, -1.0]
    assert (x == y).tolist() == [False, True, False]
    assert type(y * x) is Tensor
    x += y
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_losses_parameters_and_states_take_them(foreign, rng):
    logits, target = rng.standard_normal((4, 3), dtype=np.float32), np.array([0, 2, 1, 1])
    want = F.cross_entropy(logits, target, np.ones(3, np.float32)).item()
    assert F.cross_entropy(foreign(logits), foreign(target), foreign(np.ones(3, np.float32))).item() == want
    assert nn.Parameter(foreign(logits)).shape == (4, 3)
    layer = nn.Linear(3, 4)
    layer.load_state_dict({"weight": foreign(logits), "bias": foreign(np.zeros(4, np.float32))})
    np.testing.assert_array_equal(layer.weight.data, logits)


def test_tensor_copies_them(foreign):
    array = np.zeros(2, np.float32)
    x = lucid.tensor(foreign(array))
    array[:] = 1
    assert x.tolist() == [0.0, 0.0]


def test_another_device_is_named_with_the_way_out():
    message = r"relu: input must be a lucid\.Tensor .* got a .*OnDevice on device mps:1; move it to the CPU"
    with pytest.raises(TypeError, match=message):
        F.relu(OnDevice(np.zeros(2, np.float32)))
    with pytest.raises(TypeError, match=r"ReLU: input must be .*OnDevice on device mps:1"):
        nn.ReLU()(OnDevice(np.zeros(2, np.float32)))


def test_torch_tensors_that_cannot_be_shared_are_named():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"lucid\.Tensor.* got a torch\.Tensor that requires grad.*detach"):
        F.relu(torch.zeros(2, requires_grad=True))
    with pytest.raises(TypeError, match=r"lucid\.Tensor.* got a torch.Parameter|torch\.nn.*requires grad"):
        F.relu(torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(
        TypeError, match=r"lucid\.Tensor.* got a torch\.Tensor whose memory NumPy cannot read"
    ):
        F.relu(torch.zeros(2, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match=r"lucid\.Tensor.* got a torch\.Tensor .*meta"):
        F.relu(torch.zeros(2, device="meta"))
    with pytest.raises(ValueError, match=r"relu: .* float64"):
        F.relu(torch.zeros(2, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"Tensor: array must be a numpy\.ndarray, got torch\.Tensor"):
        Tensor(torch.zeros(2))


@pytest.mark.parametrize("value", [[1.0], (1.0,), 1.0, None, "image", {"x": 1}, np.float32(1)], ids=str)
def test_other_objects_are_refused_by_name(value):
    with pytest.raises(TypeError, match=r"relu: input must be a lucid\.Tensor or numpy\.ndarray, got "):
        F.relu(value)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Linear(1, 1), nn.Flatten(), nn.ReLU()]
)
def test_layers_refuse_lists_by_name(layer):
    with pytest.raises(TypeError, match=r": input must be a lucid\.Tensor or numpy\.ndarray, got list"):
        layer.eval()([[[[1.0]]]])


# ---- NumPy's functions on tensors


def test_numpy_functions_see_the_array(rng):
    a = rng.standard_normal((3, 4)).astype(np.float32)
    x = Tensor(a)
    for function in (
        np.mean,
        np.sum,
        np.max,
        np.min,
        np.std,
        np.var,
        np.median,
        np.argmax,
        np.ravel,
        np.sort,
    ):
        np.testing.assert_array_equal(function(x), function(a))
    for function in (np.mean, np.sum, np.max, np.argmin, np.prod, np.cumsum, np.any):
        np.testing.assert_array_equal(function(x, axis=1), function(a, axis=1))
    np.testing.assert_array_equal(np.concatenate([x, a, x]), np.concatenate([a, a, a]))
    np.testing.assert_array_equal(np.stack((x, x), axis=1), np.stack((a, a), axis=1))
    np.testing.assert_array_equal(np.where(x > 0, x, 0), np.where(a > 0, a, 0))
    np.testing.assert_array_equal(np.clip(x, 0, 1), np.clip(a, 0, 1))
    np.testing.assert_array_equal(np.einsum("ij,kj->ik", x, x), np.einsum("ij,kj->ik", a, a))
    np.testing.assert_array_equal(np.exp(x), np.exp(a))
    np.testing.assert_array_equal(np.add(x, a), a + a)
    assert np.allclose(x, a)
    assert np.array_equal(x, a)
    assert np.shape(x) == (3, 4)
    assert type(np.mean(x)) is np.float32
    assert np.linalg.norm(x) == np.linalg.norm(a)
    assert np.isnan(x).sum() == 0


def test_numpy_functions_write_into_tensors():
    x = lucid.zeros(3)
    np.copyto(x, np.ones(3, np.float32))
    np.sum([x, x], axis=0, out=x.data)
    array = np.zeros(3, np.float32)
    array += x
    assert x.tolist() == array.tolist() == [2.0, 2.0, 2.0]
