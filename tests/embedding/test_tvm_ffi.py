"""lucid's operators and plans called through Apache TVM FFI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from consumer import build, run, tool

import lucid
from lucid import _core, nn
from lucid.models import create_model

tvm_ffi = pytest.importorskip("tvm_ffi")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, pointers: Callable[[], list[int]]) -> Any:
    where = f"-Dtvm_ffi_DIR={run(tool('tvm-ffi-config'), '--cmakedir')}"
    folder = build("tvm_ffi", tmp_path_factory.mktemp("tvm_ffi"), where)
    return tvm_ffi.load_module(str(folder / "liblucid_tvm_ffi.so"))


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("with_bias", [False, True])
def test_conv2d(library: Any, rng: np.random.Generator, with_bias: bool) -> None:
    x, weight = drawn(rng, 2, 16, 9, 8), drawn(rng, 32, 4, 3, 3)
    bias = drawn(rng, 32) if with_bias else None
    y = np.full((2, 32, 5, 4), np.nan, np.float32)
    library.conv2d(x, weight, bias, y, [2, 2], [1, 1], [1, 1], 4)
    assert np.array_equal(y, _core.conv2d(x, weight, bias, (2, 2), (1, 1, 1, 1), (1, 1), 4))


def test_batch_norm(library: Any, rng: np.random.Generator) -> None:
    x, (weight, bias, mean) = drawn(rng, 2, 5, 4, 3), (drawn(rng, 5) for _ in range(3))
    var, y = drawn(rng, 5) ** 2, np.empty_like(x)
    library.batch_norm(x, weight, bias, mean, var, y, 1e-5, True)
    assert np.array_equal(y, _core.batch_norm(x, weight, bias, mean, var, 1e-5, True))


def test_split_attention_of_tensors_of_pytorch(
    library: Any, rng: np.random.Generator, pointers: Callable[[], list[int]]
) -> None:
    """The views' own memory and strides arrive."""
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(drawn(rng, 4, 12, 6, 5)).to(memory_format=torch.channels_last)[1:3, :, ::2]
    logits = torch.from_numpy(drawn(rng, 2, 24))[:, 12:]
    y = torch.empty(2, 6, 3, 5)
    library.split_attention(x, logits, y, 2, 3)
    assert pointers() == [tensor.data_ptr() for tensor in (x, logits, y)]
    assert np.array_equal(y.numpy(), _core.split_attention(x.numpy(), logits.numpy(), 2, 3))


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """A plan, and its file."""
    made = lucid.compile(create_model("resnest_digits", weights="pretrained").eval(), (2, 1, 32, 32))
    made.save(tmp_path / "plan.lucid")
    return made, tmp_path / "plan.lucid"


def test_plan(library: Any, rng: np.random.Generator, pointers: Callable[[], list[int]], plan: Any) -> None:
    made, path = plan
    run_plan = library.load_plan(str(path))
    path.unlink()  # it has been loaded
    x, y = drawn(rng, 2, 1, 32, 32), np.empty((2, 10), np.float32)
    for _ in range(2):
        y[...] = np.nan
        run_plan(x, y)
        assert pointers() == [x.ctypes.data, x.ctypes.data, y.ctypes.data]
        assert np.array_equal(y, made(x))


def test_a_plan_that_does_not_fit_is_a_value_error(library: Any, plan: Any, tmp_path: Path) -> None:
    run_plan = library.load_plan(str(plan[1]))
    x, y = np.zeros((2, 1, 32, 32), np.float32), np.zeros((2, 9), np.float32)
    with pytest.raises(ValueError, match=r"output must have shape \(2, 10\), got \(2, 9\)"):
        run_plan(x, y)
    with pytest.raises(ValueError, match="input must be float32"):
        run_plan(x.astype(np.float64), y)
    with pytest.raises(ValueError, match=r"plan_load: .*absent.lucid: it must be a file"):
        library.load_plan(str(tmp_path / "absent.lucid"))


def test_a_plan_of_two_outputs_is_refused(library: Any, tmp_path: Path) -> None:
    class Both(nn.Module):
        def forward(self, x: lucid.Tensor) -> tuple[lucid.Tensor, lucid.Tensor]:
            return x, nn.functional.relu(x)

    both = tmp_path / "both.lucid"
    lucid.compile(Both().eval(), (1, 4)).save(both)
    with pytest.raises(ValueError, match="load_plan: the plan must have one input and one output"):
        library.load_plan(str(both))


def test_what_does_not_fit_is_a_value_error(library: Any) -> None:
    x, weight, y = (np.ones(shape, np.float32) for shape in [(1, 4, 5, 5), (2, 4, 3, 3), (1, 2, 5, 5)])
    with pytest.raises(ValueError, match=r"conv2d: y must have shape \(1, 2, 3, 3\), got \(1, 2, 5, 5\)"):
        library.conv2d(x, weight, None, y, [1, 1], [0, 0], [1, 1], 1)
    with pytest.raises(ValueError, match="conv2d: stride must have 2 numbers, got 1"):
        library.conv2d(x, weight, None, y, [1], [1, 1], [1, 1], 1)
    with pytest.raises(ValueError, match="split_attention: "):
        library.split_attention(x, np.ones((1, 4), np.float32), y, 3, 1)
