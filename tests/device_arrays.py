"""Arrays on a device for tests: the plugin, each dtype, and how near results must be."""

from __future__ import annotations

import os
from typing import Any

import c_abi
import numpy as np
import numpy.typing as npt
import pytest
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]

DTYPES = ["float32", "float16", "bfloat16"]
# The distance of 1 from the next number.
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def load() -> None:
    """Opens the plugin that $LUCID_CUDA_LIBRARY names; the test is skipped without one."""
    path = os.environ.get("LUCID_CUDA_LIBRARY")
    if not path:
        pytest.skip("LUCID_CUDA_LIBRARY names no plugin")
    try:
        _core.cuda_load(path)
    except NotImplementedError as error:
        pytest.skip(str(error))


def dtype_of(name: str) -> np.dtype[Any]:
    """NumPy's dtype of that name; the test is skipped without the package that has bfloat16."""
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def on_device(x: npt.ArrayLike | None, dtype: str = "float32", order: str = "K") -> Any:
    """``x`` on the first device; None stays None."""
    if x is None:
        return None
    given = _core.device_array(np.asarray(x, dtype_of(dtype)), 0)
    return given if order == "K" else given.convert(order=order)


def behind(x: Array, count: int) -> tuple[Any, c_abi.Tensor]:
    """Memory with ``count`` NaNs and then ``x``, and ``x`` in it as a tensor with a byte offset."""
    memory = on_device(np.concatenate([np.full(count, np.nan, np.float32), x.ravel()]))
    tensor = c_abi.tensor(x)
    tensor.data, tensor.byte_offset, tensor.device = memory.data_ptr, 4 * count, c_abi.Device(2, 0)
    return memory, tensor


def rounded(x: Array, dtype: str) -> Array:
    """The values of ``x`` in ``dtype``, which a reference is to start from."""
    return x.astype(dtype_of(dtype)).astype(np.float32)


def assert_near(
    got: Any, want: npt.ArrayLike, terms: int = 1, products: float | None = None, factor: float = 2.0
) -> None:
    """Compares as ``assert_close``; a narrow result may be off by its own rounding as well."""
    assert isinstance(got, _core.DeviceArray)
    host, name = got.to_host(), got.dtype.name
    if name == "float32":
        assert_close(host, want, terms, products, factor)
        return
    wanted = np.asarray(want, np.float64)
    assert host.shape == wanted.shape
    largest = float(np.abs(wanted).max(initial=0.0))
    sums = factor * EPS["float32"] * terms * (largest if products is None else products)
    np.testing.assert_allclose(host.astype(np.float64), wanted, rtol=EPS[name], atol=sums + EPS[name] * 1e-3)
