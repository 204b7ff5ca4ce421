"""Plans on CUDA: their outputs are those of plans on the CPU, and the same bits whatever runs beside them."""

from __future__ import annotations

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import plan_graphs as pg
import pytest
from graph_reference import evaluate
from small_networks import randomize, small_models, small_networks

import lucid
from lucid import Tensor, _core, models, nn
from lucid.inference import Graph, InferencePlan, Node

pytestmark = pytest.mark.cuda

Array = np.ndarray[Any, np.dtype[np.float32]]

NETWORKS = small_models() | small_networks()

# Of the largest output.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 3e-2}


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    if not lucid.cuda.is_available():
        pytest.skip(lucid.cuda.why_not())


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def assert_agree(got: Any, want: Any, tolerance: float) -> None:
    for ours, theirs in zip(as_tuple(got), as_tuple(want), strict=True):
        assert type(ours) is np.ndarray
        assert ours.dtype == np.float32
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def small_plan(**options: Any) -> tuple[nn.Module, InferencePlan]:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    randomize(model, np.random.default_rng(0))
    return model, lucid.compile(model, (2, 3, 6, 5), device="cuda", **options)


@pytest.fixture
def images(rng: np.random.Generator) -> Array:
    return rng.standard_normal((2, 3, 6, 5), dtype=np.float32)


# ---- What is computed


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_those_of_the_cpu(name: str, dtype: str, rng: np.random.Generator) -> None:
    model, shape = NETWORKS[name]
    randomize(model, rng)
    x = rng.standard_normal(shape, dtype=np.float32)
    expected = lucid.compile(model, shape, winograd=False)(x)
    assert_agree(lucid.compile(model, shape, dtype, device="cuda")(x), expected, TOLERANCES[dtype])


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("resnext50_32x4d", "float32"), ("resnext50_32x4d", "float16"), ("resnest50d", "float32")],
)
def test_published_networks_agree(name: str, dtype: str, rng: np.random.Generator) -> None:
    """All their layers, on an image that a simulated device computes in some seconds."""
    model = randomize(models.create_model(name), rng)
    x = rng.standard_normal((1, 3, 32, 32), dtype=np.float32)
    expected = lucid.compile(model, x.shape, winograd=False)(x)
    assert_agree(lucid.compile(model, x.shape, dtype, device="cuda")(x), expected, TOLERANCES[dtype])


def every_kind(rng: np.random.Generator) -> Graph:
    """A step of each kind, with odd numbers of everything, whose values are all outputs."""

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    nodes = [
        pg.conv2d("conv", "x", normal(12, 3, 3, 3) / 5, normal(12), padding=(1, 1), stride=(2, 1)),
        pg.conv2d(
            "dilated", "conv", normal(12, 4, 2, 3) / 5, padding=(1, 0, 2, 1), dilation=(2, 1), groups=3
        ),
        pg.conv2d("residual", "conv", normal(12, 6, 1, 1) / 3, residual="conv", groups=2, relu=True),
        pg.batch_norm("norm", "residual", normal(12), normal(12), relu=True),
        pg.add("sum", "norm", "conv", relu=True),
        pg.add("difference", "sum", "norm"),
        pg.max_pool2d("largest", "conv", (3, 2), stride=(2, 1), padding=(1, 0, 0, 1), ceil_mode=True),
        pg.avg_pool2d("mean", "conv", (2, 3), stride=(1, 2), padding=(1, 1), count_include_pad=False),
        pg.avg_pool2d("fifth", "conv", (2, 2), padding=(0, 1), divisor_override=5),
        Node("adaptive_avg_pool2d", ("conv",), "adaptive", {"output_size": (2, 3)}),
        pg.plain("relu", "clipped", "conv"),
        pg.plain("sigmoid", "squashed", "conv"),
        *(Node("softmax", ("conv",), f"softmax{d}", {"dim": d, "log": d == 2}) for d in (0, 1, 2, -1)),
        pg.radix_sum_pool("pooled", "conv", radix=2),
        pg.linear("grouped", "pooled", normal(24, 3), normal(24), groups=2, relu=True),
        pg.linear("logits", "grouped", normal(12, 24) / 5),
        pg.split_attention("attended", "conv", "logits", radix=2, cardinality=3),
        pg.split_attention("excited", "attended", "pooled", radix=1),
        Node("mul", ("attended", "pooled"), "scaled"),
        pg.plain("flatten", "rows", "attended"),
        pg.plain("unflatten", "image", "rows"),
        pg.plain("softmax", "classes", "logits"),
        pg.batch_norm("rows_norm", "logits", normal(12), normal(12)),
        pg.add("rows_sum", "logits", "rows_norm", relu=True),
        pg.plain("sigmoid", "rows_sigmoid", "logits"),
    ]
    assert {node.kind for node in nodes} == _core.step_kinds().keys()
    return pg.graph({"x": (2, 3, 7, 9)}, nodes, ["x", *(node.output for node in nodes)])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_every_kind_of_step(dtype: str, rng: np.random.Generator) -> None:
    graph = every_kind(rng)
    x = rng.standard_normal(graph.inputs["x"], dtype=np.float32)
    outputs = InferencePlan(graph, device="cuda", internal_dtype=dtype)(x)
    for name, got, want in zip(graph.outputs, outputs, evaluate(graph, x), strict=True):
        assert np.abs(got - want).max() <= TOLERANCES[dtype] * np.abs(want).max(), name


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_values_that_share_memory_do_not_meet(dtype: str, rng: np.random.Generator) -> None:
    """Every value an output: none shares its place. The last one alone: most do."""
    graph = every_kind(rng)
    x = rng.standard_normal(graph.inputs["x"], dtype=np.float32)
    apart = InferencePlan(graph, device="cuda", internal_dtype=dtype)
    values = dict(zip(graph.outputs, apart(x), strict=True))
    for last in ("rows_sum", "image", "difference"):
        together = InferencePlan(
            pg.graph(graph.inputs, graph.nodes, [last]), device="cuda", internal_dtype=dtype
        )
        assert together.memory()["arena"] < apart.memory()["arena"]
        np.testing.assert_array_equal(together(x)[0], values[last])


# ---- The same bits


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ["resnest_cardinality", "resnext"])
def test_every_run_gives_the_same_bits(name: str, dtype: str, rng: np.random.Generator) -> None:
    """The first launches its steps, the second captures them, the others replay the graph."""
    model, shape = NETWORKS[name]
    plan = lucid.compile(randomize(model, rng), shape, dtype, device="cuda")
    inputs = [rng.standard_normal(shape, dtype=np.float32) for _ in range(2)]
    first = [InferencePlan(plan.graph, True, "cuda", dtype)(x) for x in inputs]
    for _ in range(3):
        for x, want in zip(inputs, first, strict=True):
            np.testing.assert_array_equal(plan(x), want)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_an_image_alone_gives_what_it_gives_in_a_batch(dtype: str, rng: np.random.Generator) -> None:
    model, shape = NETWORKS["resnest"]
    randomize(model, rng)
    x = rng.standard_normal((3, *shape[1:]), dtype=np.float32)
    together = lucid.compile(model, x.shape, dtype, device="cuda")(x)
    alone = lucid.compile(model, (1, *shape[1:]), dtype, device="cuda")
    for index in range(3):
        np.testing.assert_array_equal(alone(x[index : index + 1])[0], together[index])


def test_many_threads_may_call_at_once(rng: np.random.Generator) -> None:
    """More of them than there are graphs; some on a stream of their own."""
    _, plan = small_plan()
    inputs = [rng.standard_normal((2, 3, 6, 5), dtype=np.float32) for _ in range(12)]
    expected = [plan(x) for x in inputs]

    def on_a_stream(x: Array) -> Any:
        with lucid.cuda.stream(lucid.cuda.Stream()):
            return plan(x)

    for call in (plan, on_a_stream):
        with ThreadPoolExecutor(12) as pool:
            for got, want in zip(pool.map(call, inputs * 3), expected * 3, strict=True):
                np.testing.assert_array_equal(got, want)


# ---- What goes in and comes out


def test_outputs_are_where_the_inputs_are(images: Array) -> None:
    _, plan = small_plan()
    array, tensor = plan(images), plan(lucid.from_numpy(images))
    assert type(array) is np.ndarray
    assert isinstance(tensor, Tensor)
    assert tensor.device == "cpu"
    on_device = plan(lucid.from_numpy(images).to("cuda"))
    assert isinstance(on_device, Tensor)
    assert on_device.device == "cuda:0"
    raw = plan(_core.device_array(images, 0))
    assert isinstance(raw, _core.DeviceArray)
    for result in (tensor.numpy(), on_device.cpu().numpy(), raw.to_host()):
        np.testing.assert_array_equal(result, array)
    kept = raw.to_host()
    plan(_core.device_array(images + 1, 0))
    np.testing.assert_array_equal(raw.to_host(), kept)  # results are not overwritten by the next run


def test_input_of_any_strides_stays_as_it_is(images: Array) -> None:
    _, plan = small_plan()
    wide = np.zeros((2, 6, 6, 10), np.float32)
    wide[:, ::2, :, ::2] = images
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    expected = plan(images)
    for x in (wide[:, ::2, :, ::2], channels_last, images[::-1].copy()[::-1]):
        before = x.copy()
        np.testing.assert_array_equal(plan(x), expected)
        np.testing.assert_array_equal(x, before)
    view = lucid.from_numpy(wide).to("cuda")[:, ::2, :, ::2]
    np.testing.assert_array_equal(plan(view).cpu().numpy(), expected)


def test_several_inputs_of_which_one_is_on_the_device(rng: np.random.Generator) -> None:
    graph = pg.graph({"a": (2, 3, 4, 5), "b": (2, 3, 4, 5)}, [pg.add("sum", "a", "b")], ["sum", "b"])
    a, b = (rng.standard_normal((2, 3, 4, 5), dtype=np.float32) for _ in range(2))
    plan = InferencePlan(graph, device="cuda")
    for result in (plan(a, b), [tensor.cpu().numpy() for tensor in plan(lucid.from_numpy(a).to("cuda"), b)]):
        np.testing.assert_array_equal(result[0], a + b)
        np.testing.assert_array_equal(result[1], b)


@pytest.mark.parametrize("name", ["resnest", "two_outputs", "perceptron"])
def test_no_images(name: str) -> None:
    model, shape = NETWORKS[name]
    plan = lucid.compile(model.eval(), (0, *shape[1:]), device="cuda")
    for _ in range(3):
        outputs = as_tuple(plan(np.zeros((0, *shape[1:]), np.float32)))
        assert [output.shape for output in outputs] == list(plan.output_shapes)


def test_a_model_on_the_device_is_compiled_as_one_on_the_cpu(rng: np.random.Generator) -> None:
    model, shape = NETWORKS["resnest"]
    randomize(model, rng)
    x = rng.standard_normal(shape, dtype=np.float32)
    moved = copy.deepcopy(model).to("cuda")
    for device in ("cpu", "cuda"):
        want, got = (lucid.compile(either, shape, device=device)(x) for either in (model, moved))
        np.testing.assert_array_equal(got, want)


def test_refuses_what_does_not_fit(images: Array) -> None:
    model, plan = small_plan()
    with pytest.raises(ValueError, match=r"input must be float32 of shape \(2, 3, 6, 5\), .* got float64"):
        plan(images.astype(np.float64))
    with pytest.raises(ValueError, match=r"input must be float32 of shape .* got float16"):
        plan(lucid.from_numpy(images).to("cuda").to("float16"))
    on_cpu = lucid.compile(model, (2, 3, 6, 5))
    with pytest.raises(ValueError, match=r"input must be on the CPU, for which .*, got one on cuda:0"):
        on_cpu(lucid.from_numpy(images).to("cuda"))
    for dtype in ("float64", "int8"):
        with pytest.raises(
            NotImplementedError, match="compile: dtype must be 'float32', 'float16' or 'bfloat16'"
        ):
            lucid.compile(model, (2, 3, 6, 5), dtype, device="cuda")
    with pytest.raises((RuntimeError, ValueError), match="cuda:99"):
        lucid.compile(model, (2, 3, 6, 5), device="cuda:99")


def test_images_of_uint8_are_for_the_cpu(tmp_path: Path) -> None:
    model, _ = small_plan()
    pixels = ([0.5] * 3, [0.25] * 3)
    lucid.compile(model, (2, 3, 6, 5), pixels=pixels).save(tmp_path / "plan.lucid")
    for refuse in (
        lambda: lucid.compile(model, (2, 3, 6, 5), device="cuda", pixels=pixels),
        lambda: lucid.load_plan(tmp_path / "plan.lucid", device="cuda"),
    ):
        with pytest.raises(NotImplementedError, match="pixels must be None on cuda:0, being for the CPU"):
            refuse()


# ---- What a plan says of itself


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_summary_shows_device_dtype_and_algorithms(dtype: str) -> None:
    _, plan = small_plan(dtype=dtype)
    lines = plan.summary().splitlines()
    assert lines[0] == f"InferencePlan(2x3x6x5 -> 2x4x6x5, {dtype} on cuda:0, 2 steps)"
    assert (plan.device, plan.internal_dtype, plan.dtype) == ("cuda:0", dtype, np.float32)
    assert all(step.algorithm not in ("", "conv2d") for step in plan.steps)
    size = 4 if dtype == "float32" else 2
    assert plan.steps[1].bytes == size * (2 * 8 * 30 + 2 * 4 * 30 + 32 + 4)


def test_memory_is_that_of_weights_and_activations() -> None:
    for dtype, size in (("float32", 4), ("float16", 2)):
        memory = small_plan(dtype=dtype)[1].memory()
        assert memory["weights"] >= size * (8 * 27 + 32) + 4 * (8 + 4)
        assert memory["arena"] >= size * (2 * 8 * 30 + 2 * 4 * 30)


def test_a_plan_gives_its_memory_back(images: Array) -> None:
    gc.collect()
    before = lucid.cuda.memory_allocated()
    _, plan = small_plan()
    allocated = []
    for _ in range(4):
        allocated.append(lucid.cuda.memory_allocated() - before)
        plan(images)
    made, once, captured, replayed = allocated
    assert made == once >= plan.memory()["weights"]
    assert captured == replayed >= once + plan.memory()["arena"]  # a graph keeps its arena
    del plan
    assert lucid.cuda.memory_allocated() == before


def test_profile_times_every_step(images: Array) -> None:
    _, plan = small_plan()
    want = plan(images)
    profile = plan.profile(images, runs=3)
    assert [entry.step for entry in profile.steps] == list(plan.steps)
    assert all(entry.milliseconds >= 0 for entry in profile.steps)
    assert profile.peak_gflops is None
    assert str(profile).splitlines()[0].split()[-1] == "GFLOP/s"
    np.testing.assert_array_equal(plan(images), want)


def test_a_plan_for_each_device_and_dtype() -> None:
    model, plan = small_plan()
    assert lucid.compile(model, (2, 3, 6, 5), device="cuda:0") is plan
    assert lucid.compile(model, (2, 3, 6, 5), "float16", device="cuda") is not plan
    assert lucid.compile(model, (2, 3, 6, 5)) is not plan


def test_save_and_load(images: Array, tmp_path: Path) -> None:
    _, plan = small_plan(dtype="bfloat16")
    plan.save(tmp_path / "plan.lucid")
    loaded = lucid.load_plan(tmp_path / "plan.lucid", "cuda", "bfloat16")
    np.testing.assert_array_equal(loaded(images), plan(images))
    assert_agree(lucid.load_plan(tmp_path / "plan.lucid")(images), plan(images), TOLERANCES["bfloat16"])


def test_pickle_and_copy(images: Array) -> None:
    _, plan = small_plan(dtype="float16")
    for other in (pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        assert (other.device, other.internal_dtype) == ("cuda:0", "float16")
        np.testing.assert_array_equal(other(images), plan(images))
