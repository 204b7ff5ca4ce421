"""Plans: their outputs are the model's; what they say of themselves; nothing changes them."""

from __future__ import annotations

import copy
import gc
import math
import os
import pickle
import re
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import PlainCnn, TwoOutputs, randomize, resnet18, small_models, small_networks
from tolerance import assert_close

import lucid
from lucid import Tensor, _core, nn
from lucid.inference import InferencePlan
from lucid.nn import functional as F

NETWORKS = small_models() | small_networks()

# Relative to the largest output. Winograd's transforms of 3x3 convolutions cancel more.
DIRECT, WINOGRAD = 1e-5, 1e-4


def assert_agree(got: Any, want: Any, tolerance: float) -> None:
    assert isinstance(got, tuple) == isinstance(want, tuple)
    pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        difference = np.abs(np.asarray(ours) - np.asarray(theirs)).max()
        assert difference <= tolerance * np.abs(np.asarray(theirs)).max()


def small_plan(**options: Any) -> tuple[nn.Module, InferencePlan]:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    randomize(model, np.random.default_rng(0))
    return model, lucid.compile(model, (2, 3, 6, 5), **options)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rng.standard_normal((2, 3, 6, 5), dtype=np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_models(name: str, rng: np.random.Generator) -> None:
    model, shape = NETWORKS[name]
    randomize(model, rng)
    x = rng.standard_normal(shape, dtype=np.float32)
    expected: Any = model(x)
    for winograd, tolerance in ((False, DIRECT), (True, WINOGRAD)):
        plan = lucid.compile(model, shape, winograd=winograd)
        assert_agree(plan(x), expected, tolerance)


@pytest.mark.parametrize("name", ["resnest", "resnext", "resnet18", "plain_cnn"])
def test_outputs_are_the_models_on_every_isa(name: str, isa: str, rng: np.random.Generator) -> None:
    model, shape = NETWORKS[name]
    randomize(model, rng)
    x = rng.standard_normal(shape, dtype=np.float32)
    assert_agree(lucid.compile(model, shape)(x), model(x), WINOGRAD)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 3, 33, 47), (1, 3, 5, 1), (2, 3, 1, 64)])
def test_any_size(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    for name in ("resnest_avd_first", "resnext_deep"):
        model = randomize(small_models()[name][0], rng)
        x = rng.standard_normal(shape, dtype=np.float32)
        assert_agree(lucid.compile(model, shape)(x), model(x), WINOGRAD)


def test_an_image_alone_gives_what_it_gives_in_a_batch(rng: np.random.Generator) -> None:
    model, shape = NETWORKS["resnest"]
    randomize(model, rng)
    x = rng.standard_normal((3, *shape[1:]), dtype=np.float32)
    together = lucid.compile(model, x.shape)(x)
    alone = lucid.compile(model, (1, *shape[1:]))
    for index in range(3):
        np.testing.assert_array_equal(alone(x[index : index + 1])[0], together[index])


def test_the_number_of_threads_changes_nothing(rng: np.random.Generator) -> None:
    model, shape = NETWORKS["resnest"]
    plan = lucid.compile(randomize(model, rng), shape)
    x = rng.standard_normal(shape, dtype=np.float32)
    before = lucid.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            lucid.set_num_threads(threads)
            results.append(plan(x))
    finally:
        lucid.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_many_threads_may_call_at_once(rng: np.random.Generator) -> None:
    model, shape = NETWORKS["resnet18"]
    plan = lucid.compile(randomize(model, rng), shape)
    inputs = [rng.standard_normal(shape, dtype=np.float32) for _ in range(8)]
    expected = [plan(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(plan, inputs * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(got, want)


# ---- What goes in and comes out


def test_arrays_give_arrays_and_tensors_give_tensors(images: Any) -> None:
    _, plan = small_plan()
    array, tensor = plan(images), plan(lucid.from_numpy(images))
    assert type(array) is np.ndarray
    assert isinstance(tensor, Tensor)
    np.testing.assert_array_equal(array, tensor.numpy())
    kept = array.copy()
    plan(images + 1)
    np.testing.assert_array_equal(array, kept)  # results are not overwritten by the next run


def test_input_of_any_strides_stays_as_it_is(images: Any) -> None:
    _, plan = small_plan()
    wide = np.zeros((2, 6, 6, 10), np.float32)
    wide[:, ::2, :, ::2] = images
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    read_only = images.copy()
    read_only.flags.writeable = False
    expected = plan(images)
    for x in (wide[:, ::2, :, ::2], channels_last, images[::-1].copy()[::-1], read_only):
        before = x.copy()
        np.testing.assert_array_equal(plan(x), expected)
        np.testing.assert_array_equal(x, before)


def test_refuses_other_inputs(images: Any) -> None:
    _, plan = small_plan()
    with pytest.raises(ValueError, match=r"input must be float32 of shape \(2, 3, 6, 5\), .* got float64"):
        plan(images.astype(np.float64))
    with pytest.raises(ValueError, match=r"got float32 of shape \(1, 3, 6, 5\)"):
        plan(images[:1])
    with pytest.raises(TypeError, match=r"must be a lucid.Tensor or numpy.ndarray, got list"):
        plan(images.tolist())
    with pytest.raises(TypeError, match="it takes 1 inputs, got 2"):
        plan(images, images)


def test_several_inputs_and_outputs(rng: np.random.Generator) -> None:
    class Both(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Any:
            total = a + b.mean((2, 3))
            return [total, F.relu(total), total, a]

    a, b = rng.standard_normal((2, 3), dtype=np.float32), rng.standard_normal((2, 3, 4, 4), dtype=np.float32)
    plan = lucid.compile(Both().eval(), (a.shape, b.shape))
    assert plan.input_shapes == (a.shape, b.shape)
    assert plan.output_shapes == (a.shape,) * 4
    results = plan(a, b)
    for got, want in zip(results, Both()(a, b), strict=True):
        np.testing.assert_allclose(got, np.asarray(want), rtol=1e-6, atol=1e-6)
    assert len({id(y) for y in results}) == 4
    assert results[3] is not a


@pytest.mark.parametrize("layer", [nn.Identity(), nn.Flatten(), nn.Dropout(), nn.AdaptiveAvgPool2d(1)])
def test_module_that_computes_next_to_nothing(layer: nn.Module, images: Any) -> None:
    plan = lucid.compile(layer.eval(), images.shape)
    np.testing.assert_allclose(plan(images), layer(images).numpy(), rtol=1e-6, atol=1e-6)


# ---- Model and plan leave each other alone


def test_plan_never_changes_the_model(rng: np.random.Generator) -> None:
    model, shape = NETWORKS["resnest"]
    randomize(model, rng)
    before = {name: tensor.data.copy() for name, tensor in model.state_dict().items()}
    plan = lucid.compile(model, shape)
    plan(rng.standard_normal(shape, dtype=np.float32))
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.data, before[name])
    assert not any(module.training for module in model.modules())


def test_model_never_changes_the_plan(images: Any, tmp_path: Path) -> None:
    model, plan = small_plan()
    expected = plan(images)
    for parameter in model.parameters():
        parameter.data[...] += 1.0
    np.testing.assert_array_equal(plan(images), expected)
    plan.save(tmp_path / "kept.lucid")
    del model
    gc.collect()
    np.testing.assert_array_equal(lucid.load_plan(tmp_path / "kept.lucid")(images), expected)


def test_compiling_again_gives_the_plan_that_is_there() -> None:
    model, plan = small_plan()
    assert lucid.compile(model, [2, 3, 6, 5]) is plan
    assert lucid.compile(copy.deepcopy(model), (2, 3, 6, 5)) is plan
    assert lucid.compile(model, (1, 3, 6, 5)) is not plan
    assert lucid.compile(model, (2, 3, 6, 5), winograd=False) is not plan


def test_a_plan_of_another_instruction_set_is_another(isa: str) -> None:
    model, plan = small_plan()
    lucid.runtime.set_isa("generic")
    assert (lucid.compile(model, (2, 3, 6, 5)) is plan) == (isa == "generic")


def test_compiling_again_sees_every_change(images: Any) -> None:
    model, plan = small_plan()
    model.state_dict()["2.bias"].data[0] += 0.5  # one number of one tensor, in place
    changed = lucid.compile(model, images.shape)
    assert changed is not plan
    assert_agree(changed(images), model(images), WINOGRAD)
    model[1] = nn.Sigmoid()  # the same weights in another network
    sigmoid = lucid.compile(model.eval(), images.shape)
    assert_agree(sigmoid(images), model(images), WINOGRAD)


def test_plans_are_kept_by_their_holders_only() -> None:
    _, plan = small_plan()
    reference = weakref.ref(plan)
    del plan
    gc.collect()
    assert reference() is None


# ---- What compile takes


def test_refuses_arguments() -> None:
    model = nn.ReLU().eval()
    with pytest.raises(TypeError, match=r"model must be a lucid.nn.Module, a Graph or .*, got function"):
        lucid.compile(F.relu, (1, 3, 4, 4))  # type: ignore[arg-type]
    for shape in (3, (), None, "1344"):
        with pytest.raises(TypeError, match="input_shape must be a tuple of ints"):
            lucid.compile(model, shape)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must be ints, got 4.0"):
        lucid.compile(model, (1, 3, 4, 4.0))  # type: ignore[arg-type]
    for sizes in ((3, 4, 4), (1, 3, 0, 4), (1, 3, -1, 4)):
        with pytest.raises(ValueError, match="input_shape: an input must have"):
            lucid.compile(model, sizes)


@pytest.mark.parametrize("dtype", ["float16", np.float64, "int8", None])
def test_refuses_other_dtypes(dtype: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"compile: dtype must be 'float32' or 'bfloat16', got "):
        lucid.compile(nn.ReLU().eval(), (1, 3, 4, 4), dtype=dtype)


def test_the_library_refuses_other_dtypes_on_the_cpu() -> None:
    for dtype, error in (
        ("float16", NotImplementedError),
        ("int8", ValueError),
    ):
        with pytest.raises(error, match="plan: dtype must be float32"):
            _core.Plan([(1, 4)], [0], [0], [], True, None, dtype)


def test_a_device_that_is_not_there() -> None:
    code = """
import lucid
for make in (lambda: lucid.compile(lucid.nn.ReLU().eval(), (1, 4), device="cuda"),
             lambda: lucid.load_plan("nowhere.lucid", "cuda")):
    try:
        make()
    except RuntimeError as error:
        assert lucid.cuda.why_not() in str(error), error
    else:
        raise AssertionError
"""
    environment = {**os.environ, "LUCID_CUDA_LIBRARY": "/nowhere/liblucid_cuda.so"}
    command = [sys.executable, "-c", code]
    installed = Path(lucid.__file__).parents[1]
    result = subprocess.run(command, env=environment, cwd=installed, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype(np.float32)])
def test_takes_float32_by_any_name(dtype: Any) -> None:
    assert lucid.compile(nn.ReLU().eval(), (1, 3, 4, 4), dtype=dtype).dtype == np.float32


def test_refuses_training_mode_and_missing_statistics() -> None:
    with pytest.raises(ValueError, match="must be in eval mode"):
        lucid.compile(PlainCnn(), (1, 3, 25, 29))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    with pytest.raises(NotImplementedError, match="have running statistics"):
        lucid.compile(model, (1, 3, 4, 4))


def test_multiplies_an_image_by_factors_of_any_origin(isa: str, rng: np.random.Generator) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.mean((2, 3), keepdim=True)

    x = rng.standard_normal((2, 19, 4, 5), dtype=np.float32)
    want = x.astype(np.float64) * x.astype(np.float64).mean((2, 3), keepdims=True)
    assert_close(lucid.compile(Scaled().eval(), x.shape)(x), want, terms=20, products=float(np.abs(x).max()))


# ---- What a plan says


def test_summary_lists_steps_with_their_work() -> None:
    _, plan = small_plan()
    lines = plan.summary().splitlines()
    assert lines[0] == "InferencePlan(2x3x6x5 -> 2x4x6x5, float32, 2 steps)"
    assert lines[1].split() == ["step", "kind", "algorithm", "output", "MMACs", "MiB"]
    assert re.fullmatch(r"0 +conv2d +\S+ +2x8x6x5 +0\.0 +0\.00", lines[2])
    assert re.fullmatch(r"2 steps, 0\.000 GMACs; weights \d+\.\d MiB, arena \d+\.\d MiB", lines[-1])
    first, second = plan.steps
    assert (first.macs, second.macs) == (2 * 8 * 30 * 27, 2 * 4 * 30 * 8)
    assert first.bytes == 4 * (2 * 3 * 30 + 2 * 8 * 30 + 8 * 27 + 8)
    assert second.bytes == 4 * (2 * 8 * 30 + 2 * 4 * 30 + 32 + 4)
    assert all(step.algorithm for step in plan.steps)


def test_macs_are_those_of_the_network() -> None:
    plan = lucid.compile(resnet18(width=8).eval(), (1, 3, 64, 64))
    # By hand: the stem, four 3x3 in each stage and a 1x1 in the last three, the linear layer.
    stem = 8 * 3 * 49 * 32 * 32
    stages = 4 * 8 * 8 * 9 * 16 * 16
    for width, size in ((16, 8), (32, 4), (64, 2)):
        stages += (width * width // 2 * 9 + 3 * width * width * 9 + width * width // 2) * size * size
    assert sum(step.macs for step in plan.steps) == stem + stages + 64 * 10


def test_memory_is_that_of_weights_and_activations() -> None:
    _, plan = small_plan()
    memory = plan.memory()
    assert memory["weights"] >= 4 * (8 * 27 + 8 + 32 + 4)
    assert memory["arena"] >= 4 * math.prod((2, 8, 6, 5))


def test_profile_times_every_step(images: Any) -> None:
    _, plan = small_plan(threads_per_call=1)
    profile = plan.profile(images, runs=3)
    assert [entry.step for entry in profile.steps] == list(plan.steps)
    assert all(entry.milliseconds >= 0 for entry in profile.steps)
    assert profile.milliseconds == pytest.approx(sum(entry.milliseconds for entry in profile.steps))
    first = profile.steps[0]
    assert first.gflops == pytest.approx(2e-6 * first.step.macs / first.milliseconds)
    lines = str(profile).splitlines()
    assert lines[0].split() == ["step", "kind", "algorithm", "output", "ms", "share", "GFLOP/s", "of", "peak"]
    assert len(lines) == 1 + len(plan.steps) + 1
    assert "medians of 3 runs" in lines[-1]
    with pytest.raises(ValueError, match="runs must be positive"):
        plan.profile(images, runs=0)
    with pytest.raises(ValueError, match="input must be float32 of shape"):
        plan.profile(images[:1])


def test_repr_and_graph_are_short() -> None:
    plan = lucid.compile(TwoOutputs().eval(), (1, 3, 9, 7))
    assert repr(plan) == "InferencePlan(1x3x9x7 -> 1x4, 1x5x9x7, float32, 5 steps)"
    for threads, text in ((1, "1 thread a call"), (2, "2 threads a call")):
        limited = lucid.compile(TwoOutputs().eval(), (1, 3, 9, 7), threads_per_call=threads)
        assert f"float32, {text}, 5 steps)" in repr(limited)
    assert str(plan.graph).splitlines()[0] == "graph(input 1x3x9x7)"


def test_pickle_and_copy(images: Any) -> None:
    _, plan = small_plan()
    for other in (pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        np.testing.assert_array_equal(other(images), plan(images))


def test_import_of_lucid_does_not_import_plans() -> None:
    code = "import sys, lucid; sys.exit('lucid.inference' in sys.modules or 'safetensors' in sys.modules)"
    package = str(Path(lucid.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", code], cwd=package).returncode == 0
    assert {"compile", "load_plan", "inference"} <= set(dir(lucid))
