"""lucid's operators and plans as functions of JAX, through XLA's foreign function interface."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from consumer import EMBEDDING, build

import lucid
from lucid import _core, nn
from lucid.models import create_model

jax = pytest.importorskip("jax")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, pointers: Callable[[], list[int]]) -> Any:
    where = f"-DJAX_INCLUDE_DIR={jax.ffi.include_dir()}"
    library = build("jax", tmp_path_factory.mktemp("jax"), where) / "liblucid_jax.so"
    sys.path.insert(0, str(EMBEDDING / "jax"))
    try:
        import lucid_jax
    finally:
        sys.path.pop(0)
    lucid_jax.register(library)
    return lucid_jax


def drawn(rng: np.random.Generator, *shape: int) -> Any:
    return jax.numpy.asarray(rng.standard_normal(shape), dtype=np.float32)


GEOMETRIES = [
    {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 4},
    {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2), "groups": 1},
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_conv2d_is_bit_for_bit_that_of_python(
    adapter: Any, rng: np.random.Generator, geometry: dict[str, Any]
) -> None:
    x, bias = drawn(rng, 2, 9, 8, 16), drawn(rng, 32)
    weight = drawn(rng, 3, 3, 16 // geometry["groups"], 32)
    convolve = jax.jit(lambda *values: adapter.conv2d(*values, **geometry))
    (top, left), other = geometry["padding"], [geometry[name] for name in ("dilation", "groups")]
    nchw, oihw = (np.asarray(x).transpose(0, 3, 1, 2), np.asarray(weight).transpose(3, 2, 0, 1))
    wanted = _core.conv2d(nchw, oihw, np.asarray(bias), geometry["stride"], (top, left, top, left), *other)
    assert np.array_equal(np.asarray(convolve(x, weight, bias)).transpose(0, 3, 1, 2), wanted)


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 2), (2, 1), (4, 2)])
def test_split_attention_is_bit_for_bit_that_of_python(
    adapter: Any, rng: np.random.Generator, radix: int, cardinality: int
) -> None:
    x, logits = drawn(rng, 3, 5, 4, radix * 8), drawn(rng, 3, radix * 8)
    attend = jax.jit(adapter.split_attention, static_argnums=(2, 3))
    nchw = np.asarray(x).transpose(0, 3, 1, 2)
    wanted = _core.split_attention(nchw, np.asarray(logits), radix, cardinality)
    found = attend(x, logits, radix, cardinality)
    assert np.array_equal(np.asarray(found).transpose(0, 3, 1, 2), wanted)


def test_nothing_is_copied(adapter: Any, rng: np.random.Generator, pointers: Callable[[], list[int]]) -> None:
    x, weight, bias = drawn(rng, 1, 8, 8, 32), drawn(rng, 1, 1, 32, 32), drawn(rng, 32)
    y = jax.jit(adapter.conv2d)(x, weight, bias).block_until_ready()
    assert pointers() == [array.unsafe_buffer_pointer() for array in (x, weight, y)]
    logits = drawn(rng, 1, 32)
    y = jax.jit(adapter.split_attention, static_argnums=2)(x, logits, 2).block_until_ready()
    assert pointers() == [array.unsafe_buffer_pointer() for array in (x, logits, y)]


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """A plan of an image and of its logits, and its file."""
    made = lucid.compile(create_model("resnest_digits", weights="pretrained").eval(), (2, 1, 32, 32))
    made.save(tmp_path / "plan.lucid")
    return made, tmp_path / "plan.lucid"


def test_plan(adapter: Any, rng: np.random.Generator, pointers: Callable[[], list[int]], plan: Any) -> None:
    made, path = plan
    run = jax.jit(lambda x: adapter.plan(path, x, (2, 10)))
    x = drawn(rng, 2, 32, 32, 1)
    compiled = run.lower(x).compile()
    path.unlink()  # it has been loaded
    for _ in range(2):
        y = compiled(x).block_until_ready()
        assert pointers() == [array.unsafe_buffer_pointer() for array in (x, x, y)]
        assert np.array_equal(np.asarray(y), made(np.asarray(x).transpose(0, 3, 1, 2)))


def test_a_plan_gives_images_in_the_order_of_jax(
    adapter: Any, rng: np.random.Generator, tmp_path: Path
) -> None:
    made = lucid.compile(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval(), (2, 3, 7, 6))
    made.save(tmp_path / "plan.lucid")
    x = drawn(rng, 2, 7, 6, 3)
    y = adapter.plan(tmp_path / "plan.lucid", x, (2, 5, 4, 8))
    assert np.array_equal(np.asarray(y).transpose(0, 3, 1, 2), made(np.asarray(x).transpose(0, 3, 1, 2)))


def test_a_plan_that_does_not_fit_is_refused(adapter: Any, plan: Any, tmp_path: Path) -> None:
    _, path = plan
    image = jax.numpy.zeros((2, 32, 32, 1), np.float32)
    for x, shape, message in (
        (image[:1], (2, 10), r"input must have shape \(2, 1, 32, 32\), got \(1, 1, 32, 32\)"),
        (image, (2, 9), r"output must have shape \(2, 10\), got \(2, 9\)"),
        (image[0], (2, 10), "x and y must be float32, of 2 or 4 dimensions"),
        (image.astype(np.float16), (2, 10), "x and y must be float32, of 2 or 4 dimensions"),
    ):
        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            adapter.plan(path, x, shape).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"plan_load: .*absent.lucid: it must be a file"):
        adapter.plan(tmp_path / "absent.lucid", image, (2, 10))


def test_a_plan_of_two_outputs_is_refused(adapter: Any, tmp_path: Path) -> None:
    class Both(nn.Module):
        def forward(self, x: lucid.Tensor) -> tuple[lucid.Tensor, lucid.Tensor]:
            return x, nn.functional.relu(x)

    both = tmp_path / "both.lucid"
    lucid.compile(Both().eval(), (1, 4)).save(both)
    with pytest.raises(jax.errors.JaxRuntimeError, match="the plan must have one input and one output"):
        adapter.plan(both, jax.numpy.zeros((1, 4)), (1, 4))


def test_gradients_are_those_of_jax(adapter: Any, rng: np.random.Generator) -> None:
    from jax.test_util import check_grads

    x, weight, bias = drawn(rng, 1, 5, 5, 4), drawn(rng, 3, 3, 2, 4), drawn(rng, 4)
    check_grads(
        lambda *values: adapter.conv2d(*values, (1, 1), (1, 1), (1, 1), 2),
        (x, weight, bias),
        order=1,
        modes=["rev"],
        rtol=1e-2,
    )
    logits = drawn(rng, 1, 4)
    check_grads(
        lambda *values: adapter.split_attention(*values, 2), (x, logits), order=1, modes=["rev"], rtol=1e-2
    )


def test_an_error_of_lucid_is_one_of_jax(adapter: Any, rng: np.random.Generator) -> None:
    x, logits = drawn(rng, 1, 4, 4, 6), drawn(rng, 1, 5)
    with pytest.raises(jax.errors.JaxRuntimeError, match="split_attention: logits must have shape"):
        adapter.split_attention(x, logits, 2).block_until_ready()
