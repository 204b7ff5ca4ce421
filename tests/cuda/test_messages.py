"""Messages where devices or dtypes do not fit: one sentence that names what was called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucid
from lucid import nn
from lucid.nn import functional as F

pytestmark = pytest.mark.cuda

IMAGES = (2, 4, 5, 6)

Call = Callable[[], Any]


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    if not lucid.cuda.is_available():
        pytest.skip(lucid.cuda.why_not())
    if lucid.cuda.device_count() > 7:
        pytest.skip("there are many devices")


def here(*shape: int, dtype: str = "float32") -> lucid.Tensor:
    return lucid.tensor(np.ones(shape, dtype))


def there(*shape: int, dtype: str = "float32") -> lucid.Tensor:
    return here(*shape, dtype=dtype).to("cuda")


def one_line(call: Call) -> str:
    """The message with the type of the error."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    assert "\n" not in str(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}"


ONE_EACH = (
    "all tensors must be on one device, got one on cuda:0 and one on the CPU; move that by .to('cuda:0')"
)
WRONG_PLAN = (
    "plan: input must be on the CPU, for which the plan was compiled, got one on cuda:0; "
    "move it by .to('cpu'), or compile with device='cuda:0'"
)
MIXED: dict[str, tuple[Call, str]] = {
    "a layer on the CPU": (
        lambda: nn.Conv2d(4, 4, 3)(there(*IMAGES)),
        "conv2d: all tensors must be on one device, got x on cuda:0 and weight on the CPU",
    ),
    "a layer on the GPU": (
        lambda: nn.Linear(4, 3).cuda()(here(2, 4)),
        "linear: all tensors must be on one device, got x on the CPU and weight on cuda:0",
    ),
    "an array for a layer on the GPU": (
        lambda: nn.BatchNorm2d(4).eval().cuda()(np.ones(IMAGES, np.float32)),
        "batch_norm: all tensors must be on one device, got x on the CPU and weight on cuda:0",
    ),
    "training": (
        lambda: nn.BatchNorm2d(4)(there(*IMAGES)),
        "batch_norm: all tensors must be on one device, got x on cuda:0 and weight on the CPU",
    ),
    "split attention": (
        lambda: F.split_attention(there(*IMAGES), here(2, 4), 2, 1),
        "split_attention: all tensors must be on one device, got x on cuda:0 and logits on the CPU",
    ),
    "a sum": (
        lambda: here(2) + there(2),
        f"add: {ONE_EACH}",
    ),
    "in place": (
        lambda: there(2).mul_(here(2)),
        f"multiply: {ONE_EACH}",
    ),
    "a loss": (
        lambda: F.cross_entropy(there(2, 3), here(2, dtype="int64")),
        "cross_entropy: all tensors must be on one device, got x on cuda:0 and target on the CPU",
    ),
    "weights of a loss": (
        lambda: F.cross_entropy(here(2, 3), here(2, dtype="int64"), there(3)),
        "cross_entropy: all tensors must be on one device, got x on the CPU and weight on cuda:0",
    ),
    "a plan for the CPU": (
        lambda: lucid.compile(nn.ReLU().eval(), IMAGES)(there(*IMAGES)),
        WRONG_PLAN,
    ),
    "the profile of such a plan": (
        lambda: lucid.compile(nn.ReLU().eval(), IMAGES).profile(there(*IMAGES)),
        WRONG_PLAN,
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_devices_that_do_not_fit(name: str) -> None:
    call, message = MIXED[name]
    assert one_line(call) == f"ValueError: {message}"


def test_a_plan_for_a_gpu_takes_inputs_from_the_cpu() -> None:
    plan = lucid.compile(nn.ReLU().eval(), IMAGES, device="cuda")
    assert plan(here(*IMAGES)).tolist() == plan(there(*IMAGES)).tolist() == here(*IMAGES).tolist()


DTYPES: dict[str, tuple[Call, str]] = {
    "conv2d": (lambda: nn.Conv2d(4, 4, 3).cuda()(there(*IMAGES, dtype="int64")), "int64"),
    "batch_norm": (lambda: nn.BatchNorm2d(4).eval().cuda()(there(*IMAGES, dtype="uint8")), "uint8"),
    "linear": (lambda: nn.Linear(4, 3).cuda()(there(2, 4, dtype="float64")), "float64"),
    "relu": (lambda: F.relu(there(2, dtype="int32")), "int32"),
    "sigmoid": (lambda: F.sigmoid(there(2, dtype="float64")), "float64"),
    "softmax": (lambda: there(2, 3, dtype="float64").softmax(1), "float64"),
    "cross_entropy": (
        lambda: F.cross_entropy(there(2, 3, dtype="float64"), there(2, dtype="int64")),
        "float64",
    ),
    "max_pool2d": (lambda: F.max_pool2d(there(*IMAGES, dtype="int8"), 2), "int8"),
    "avg_pool2d": (lambda: F.avg_pool2d(there(*IMAGES, dtype="bool"), 2), "bool"),
    "global_avg_pool2d": (lambda: F.global_avg_pool2d(there(*IMAGES, dtype="float64")), "float64"),
    "split_attention": (lambda: F.split_attention(there(*IMAGES, dtype="int64"), there(2, 4), 2, 1), "int64"),
}


@pytest.mark.parametrize("op", DTYPES)
def test_dtypes_that_have_no_kernel(op: str) -> None:
    call, dtype = DTYPES[op]
    assert one_line(call) == f"ValueError: {op}: x must be float32, float16 or bfloat16, got {dtype}"


def test_weights_of_another_dtype() -> None:
    message = one_line(lambda: nn.Conv2d(4, 4, 3).cuda()(there(*IMAGES).half()))
    assert message == "ValueError: conv2d: weight must be float16, got float32"


def test_functions_without_a_kernel_are_named_as_they_were_called() -> None:
    way_out = "move the tensor by .cpu()"
    integers = there(*IMAGES, dtype="int64")
    assert one_line(lambda: integers.mean((2, 3))) == f"NotImplementedError: mean: not on cuda yet; {way_out}"
    assert one_line(lambda: integers + 1) == f"NotImplementedError: add: not on cuda yet for int64; {way_out}"


WHO_TAKES_A_DEVICE: dict[str, Callable[[Any], Any]] = {
    "to": lambda device: here(2).to(device=device),
    "cuda": lambda device: here(2).cuda(device),
    "zeros": lambda device: lucid.zeros(2, device=device),
    "compile": lambda device: lucid.compile(nn.ReLU(), IMAGES, device=device),
    "Stream": lucid.cuda.Stream,
    "ExternalStream": lambda device: lucid.cuda.ExternalStream(0, device),
    "synchronize": lucid.cuda.synchronize,
    "set_device": lucid.cuda.set_device,
}


@pytest.mark.parametrize("op", WHO_TAKES_A_DEVICE)
def test_what_is_no_device(op: str) -> None:
    call, count = WHO_TAKES_A_DEVICE[op], lucid.cuda.device_count()
    absent = f"ValueError: {op}: device must be below cuda:{count}, got cuda:7"
    assert one_line(lambda: call("cuda:7")) == absent
    for wrong in ("cuda:x", "gpu", "cuda:-1", "cuda:"):
        expected = "device must be 'cpu', 'cuda' or one of several such as 'cuda:1'"
        assert one_line(lambda wrong=wrong: call(wrong)) == f"ValueError: {op}: {expected}, got {wrong!r}"


@pytest.mark.parametrize("method", ["to", "cuda"])
def test_a_module_says_the_same(method: str) -> None:
    call, count = getattr(nn.Linear(2, 2), method), lucid.cuda.device_count()
    absent = f"ValueError: {method}: device must be below cuda:{count}, got cuda:7"
    assert one_line(lambda: call("cuda:7")) == absent


@pytest.mark.parametrize("target", ["cuda:x", "gpu", "cuda:-1", 7, 3.5, "float33"])
def test_what_is_neither_dtype_nor_device(target: Any) -> None:
    expected = "to: a target must be a dtype, a device such as 'cuda:1', or a tensor"
    for either in (here(2), nn.Linear(2, 2)):
        assert one_line(lambda either=either: either.to(target)) == f"TypeError: {expected}, got {target!r}"
