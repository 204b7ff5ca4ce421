"""Inputs of uint8: bitwise what the plan of float32 gives for images that were normalised before."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plan_graphs as pg
import pytest
from image_producers import normal, window
from plan_loading import LoadArgs, LoadedPlan
from small_networks import randomize

import lucid
from lucid import nn
from lucid.data import Preprocessing, normalize
from lucid.inference import Graph, InferencePlan, Node
from lucid.models import create_model

Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]
DTYPES = ("float32", "bfloat16")
MEAN, STD = (0.485, 0.456, 0.406, 0.1, 0.9), (0.229, 0.224, 0.225, 1.0, 0.03)


def scale(channels: int) -> tuple[list[float], list[float]]:
    return list(MEAN[:channels]), list(STD[:channels])


def pictures(rng: np.random.Generator, *shape: int) -> Bytes:
    """All values of a byte, and the largest ones at the borders, where zeros of a padding show."""
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    images[..., 0], images[..., -1], images[..., 0, :], images[..., -1, :] = 255, 255, 255, 255
    return images


def normalized(images: Bytes, mean: Any, std: Any) -> Array:
    """By lucid's own preprocessing."""
    scaled = images.astype(np.float32) / np.float32(255)
    return np.stack([normalize(image, mean, std) for image in scaled])


def layouts(images: Bytes) -> dict[str, Bytes]:
    """The same images with other strides."""
    n, c, h, w = images.shape
    wide = np.zeros((n, c, h + 2, 2 * w + 1), np.uint8)
    wide[:, :, 1:-1, 1::2] = images
    return {
        "planes": images,
        "pixels": np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "part of a larger array": wide[:, :, 1:-1, 1::2],
        "backwards": np.ascontiguousarray(images[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1],
        "one image again and again": np.broadcast_to(images[:1], images.shape),
    }


def stem(rng: np.random.Generator, channels: int, kernel: int = 7, stride: int = 2) -> tuple[Node, ...]:
    side = kernel // 2
    weight = normal(rng, 24, channels, kernel, kernel)
    return (
        pg.conv2d(
            "a", "x", weight, normal(rng, 24), stride=(stride, stride), padding=(side, side), relu=True
        ),
        pg.conv2d("y", "a", window(rng, 24, 8), padding=(1, 1)),
    )


def both(graph: Graph, pixels: Any, **options: Any) -> tuple[InferencePlan, InferencePlan]:
    """The plan of uint8 and that of float32."""
    return InferencePlan(graph, pixels=pixels, **options), InferencePlan(graph, **options)


def assert_same(got: Any, want: Any, name: str = "") -> None:
    """Tuples of outputs that are the same to the last bit."""
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(ours, theirs, name)


# ---- Results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_same_bits_as_of_normalised_images(
    isa: str, channels: int, dtype: str, rng: np.random.Generator
) -> None:
    for size, kernel, stride in (((2, 13, 17), 7, 2), ((3, 32, 31), 3, 1), ((1, 1, 1), 1, 1)):
        graph = pg.graph({"x": (size[0], channels, *size[1:])}, stem(rng, channels, kernel, stride), ("y",))
        plan, plain = both(graph, scale(channels), internal_dtype=dtype)
        images = pictures(rng, *graph.inputs["x"])
        for name, given in layouts(images).items():
            want = plain(normalized(given, *scale(channels)))
            pg.fill_memory_with_nan()
            assert_same(plan(given), want, name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_byte_is_normalised_as_by_preprocessing(isa: str, dtype: str) -> None:
    """As an output, the input is what the first step reads."""
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, axis=1)
    graph = pg.graph({"x": images.shape}, (), ("x",))
    plan, plain = both(graph, scale(3), internal_dtype=dtype)
    want = normalized(images, *scale(3))
    assert_same(plan(images), plain(want))
    if dtype == "float32":
        assert_same(plan(images), (want,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [3, 40])
def test_other_readers_than_a_stem(isa: str, dtype: str, channels: int, rng: np.random.Generator) -> None:
    """A pooling, a residual, and a convolution of many channels, which read the plan's own layout."""
    x = (2, channels, 9, 10)
    nodes = (
        pg.max_pool2d("pooled", "x", (3, 3), padding=(1, 1)),
        pg.conv2d("y", "pooled", window(rng, channels, channels), residual="x", padding=(1, 1)),
        pg.conv2d("z", "x", window(rng, channels, 24), padding=(1, 1)),
    )
    pixels = rng.uniform(0.1, 0.9, (2, channels)).tolist()
    plan, plain = both(pg.graph({"x": x}, nodes, ("y", "z", "x")), pixels, internal_dtype=dtype)
    images = pictures(rng, *x)
    want = plain(normalized(images, *pixels))
    pg.fill_memory_with_nan()
    assert_same(plan(images), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("turned", [False, True])
def test_one_of_several_inputs(isa: str, dtype: str, turned: bool, rng: np.random.Generator) -> None:
    shapes = {"image": (2, 3, 11, 9), "map": (2, 8, 11, 9), "row": (2, 5)}
    nodes = (
        pg.conv2d("a", "image", window(rng, 3, 8), padding=(1, 1), residual="map"),
        pg.linear("b", "row", normal(rng, 4, 5)),
    )
    names = list(shapes)[::-1] if turned else list(shapes)
    graph = pg.graph({name: shapes[name] for name in names}, nodes, ("a", "b"))
    plan, plain = both(graph, {"image": scale(3)}, internal_dtype=dtype)
    images = pictures(rng, *shapes["image"])
    others: dict[str, Any] = {name: normal(rng, *shapes[name]) for name in ("map", "row")}
    given, before = ({"image": x, **others} for x in (images, normalized(images, *scale(3))))
    assert_same(plan(*map(given.get, names)), plain(*map(before.get, names)))
    assert [dtype.name for dtype in plan.input_dtypes] == [
        "uint8" if name == "image" else "float32" for name in names
    ]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", DTYPES)
def test_images_that_pass_a_few_at_a_time(dtype: str, rng: np.random.Generator) -> None:
    """One or two images fill a thread's micro-batch, 2 MB; neither that nor threads show."""
    size = (6, 3, 160, 173)
    nodes = (
        pg.conv2d("a", "x", window(rng, 3, 24), padding=(1, 1)),
        pg.max_pool2d("b", "a", (8, 8), stride=(8, 8)),
        pg.conv2d("y", "b", window(rng, 24, 8), padding=(1, 1)),
    )
    # The whole batch, after all micro-batches: as planes in float32, or, for a pooling, in the plan's layout.
    planes = (*nodes, pg.conv2d("z", "x", window(rng, 3, 8), stride=(16, 16)))
    blocks = (*nodes, pg.max_pool2d("z", "x", (3, 3), stride=(16, 16)))
    images = pictures(rng, *size)
    for drawn, outputs in (
        (nodes, ("y",)),
        (planes, ("y", "z")),
        (blocks, ("y", "z")),
        (blocks, ("y", "z", "x")),
    ):
        plan, plain = both(pg.graph({"x": size}, drawn, outputs), scale(3), internal_dtype=dtype)
        want = plain(normalized(images, *scale(3)))
        for threads in (1, 3):
            lucid.set_num_threads(threads)
            assert_same(plan(images), want)
        lucid.set_num_threads(1)
        alone = InferencePlan(
            pg.graph({"x": (1, *size[1:])}, drawn, outputs), pixels=scale(3), internal_dtype=dtype
        )
        singles = zip(*(alone(images[i : i + 1]) for i in range(size[0])), strict=True)
        assert_same([np.concatenate(each) for each in singles], want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", ["one_thread", "three_threads"])
def test_network(dtype: str, threads: str, request: pytest.FixtureRequest, rng: np.random.Generator) -> None:
    request.getfixturevalue(threads)
    model, shape = create_model("resnext_digits", num_classes=5, in_channels=3).eval(), (3, 3, 33, 30)
    preparation = Preprocessing(size=32)
    plan = lucid.compile(model, shape, dtype, pixels=preparation)
    images = pictures(rng, *shape)
    want = lucid.compile(model, shape, dtype)(normalized(images, preparation.mean, preparation.std))
    np.testing.assert_array_equal(plan(images), want)
    np.testing.assert_array_equal(plan(layouts(images)["pixels"]), want)
    assert len(plan.profile(images, runs=1).steps) == len(plan.steps)


def test_empty_batch() -> None:
    graph = pg.graph({"x": (0, 3, 4, 4)}, (pg.plain("relu", "y", "x"),), ("y",))
    [got] = InferencePlan(graph, pixels=scale(3))(np.zeros((0, 3, 4, 4), np.uint8))
    assert got.shape == (0, 3, 4, 4)


# ---- The plan


@pytest.fixture
def model(rng: np.random.Generator) -> nn.Module:
    return randomize(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), rng)


def test_description(model: nn.Module) -> None:
    plan = lucid.compile(model, (2, 3, 6, 5), pixels=scale(3))
    assert repr(plan) == "InferencePlan(2x3x6x5 uint8 -> 2x4x6x5, float32, 1 steps)"
    assert plan.pixels == {"input": tuple(tuple(map(float, np.float32(part))) for part in scale(3))}
    assert (plan.input_dtypes, plan.dtype) == ((np.uint8,), np.float32)
    plain = lucid.compile(model, (2, 3, 6, 5))
    assert (plain.pixels, plain.input_dtypes) == ({}, (np.float32,))


def test_plans_are_shared_by_their_pixels(model: nn.Module) -> None:
    shape = (2, 3, 6, 5)
    plan = lucid.compile(model, shape, pixels=scale(3))
    assert lucid.compile(model, shape, pixels={"input": scale(3)}) is plan
    assert lucid.compile(model, shape, pixels=plan.pixels) is plan
    assert lucid.compile(model, shape, pixels=tuple(map(np.float32, scale(3)))) is plan
    others = [lucid.compile(model, shape, pixels=other) for other in (None, {}, (scale(3)[1], scale(3)[1]))]
    assert plan not in others
    assert others[0] is others[1]


def test_pickle_and_graph(model: nn.Module, rng: np.random.Generator) -> None:
    plan, images = lucid.compile(model, (2, 3, 6, 5), pixels=scale(3)), pictures(rng, 2, 3, 6, 5)
    for again in (pickle.loads(pickle.dumps(plan)), lucid.compile(plan.graph, pixels=plan.pixels)):
        np.testing.assert_array_equal(again(images), plan(images))


@pytest.mark.parametrize("dtype", DTYPES)
def test_file_keeps_pixels(model: nn.Module, dtype: str, rng: np.random.Generator, tmp_path: Path) -> None:
    plan, images = lucid.compile(model, (2, 3, 6, 5), dtype, pixels=scale(3)), pictures(rng, 2, 3, 6, 5)
    plan.save(tmp_path / "plan.lucid")
    loaded = lucid.load_plan(tmp_path / "plan.lucid")
    assert (loaded.pixels, repr(loaded)) == (plan.pixels, repr(plan))
    np.testing.assert_array_equal(loaded(images), plan(images))
    for source in (tmp_path / "plan.lucid", (tmp_path / "plan.lucid").read_bytes()):
        in_c = LoadedPlan(source, LoadArgs())
        assert in_c.dtypes == ["uint8"]
        np.testing.assert_array_equal(in_c(images)[0], plan(images))
        with pytest.raises(ValueError, match="plan: input must be uint8, got float32"):
            in_c(images.astype(np.float32))
        in_c.close()


def test_file_without_pixels_does_not_mention_them(model: nn.Module, tmp_path: Path) -> None:
    lucid.compile(model, (2, 3, 6, 5)).save(tmp_path / "plan.lucid")
    assert b"pixels" not in (tmp_path / "plan.lucid").read_bytes()
    in_c = LoadedPlan(tmp_path / "plan.lucid")
    assert in_c.dtypes == ["float32"]
    with pytest.raises(ValueError, match="plan: input must be float32, got uint8"):
        in_c(np.zeros((2, 3, 6, 5), np.uint8))
    in_c.close()


def test_exported_model_takes_uint8(model: nn.Module, rng: np.random.Generator, tmp_path: Path) -> None:
    onnx_reference = pytest.importorskip("onnx.reference")
    plan, images = lucid.compile(model, (2, 3, 6, 5), pixels=scale(3)), pictures(rng, 2, 3, 6, 5)
    plan.export_onnx(tmp_path / "a.onnx")
    lucid.onnx.export(plan, tmp_path / "b.onnx", symbolic_batch=True)
    for name in ("a.onnx", "b.onnx"):
        [got] = onnx_reference.ReferenceEvaluator(str(tmp_path / name)).run(None, {"input": images})
        np.testing.assert_allclose(got, plan(images), rtol=0, atol=1e-5)
    both_ways = InferencePlan(pg.graph({"x": (1, 3, 4, 4)}, (), ("x",)), pixels=scale(3))
    with pytest.raises(NotImplementedError, match="an input of pixels must be no output, got x"):
        both_ways.export_onnx(tmp_path / "c.onnx")


# ---- What is refused


def test_arrays_of_another_dtype_are_refused(model: nn.Module) -> None:
    shape = (2, 3, 6, 5)
    plan, plain = lucid.compile(model, shape, pixels=scale(3)), lucid.compile(model, shape)
    for other in (np.float32, np.int8, np.uint16, np.bool_):
        with pytest.raises(ValueError, match=r"input must be uint8 of shape \(2, 3, 6, 5\), .* got"):
            plan(np.zeros(shape, other))
    with pytest.raises(
        ValueError, match=r"must be float32 .* got uint8 .*; compile with pixels=\(mean, std\)"
    ):
        plain(np.zeros(shape, np.uint8))
    with pytest.raises(
        ValueError, match=r"must be uint8 of shape \(2, 3, 6, 5\), .* got uint8 of shape \(2, 6, 5, 3\)"
    ):
        plan(np.zeros((2, 6, 5, 3), np.uint8))


GOOD = ([0.5] * 3, [0.5] * 3)


@pytest.mark.parametrize(
    ("pixels", "error", "message"),
    [
        (
            ([0.5] * 2, [0.5] * 3),
            ValueError,
            "mean of input must have a number for each of 3 channels, got 2",
        ),
        (([0.5] * 3, [0.5] * 4), ValueError, "std of input must have a number for each of 3 channels, got 4"),
        (([], []), ValueError, "a number for each of 3 channels, got 0"),
        (([0.5] * 3, [0.5, 0.0, 0.5]), ValueError, "std of input 0 must be positive and finite, got 0"),
        (([0.5] * 3, [0.5, -1.0, 0.5]), ValueError, "std of input 0 must be positive and finite, got -1"),
        (([0.5] * 3, [0.5, 1e-60, 0.5]), ValueError, "std of input 0 must be positive and finite, got 0"),
        (([0.5] * 3, [0.5, 0.5, np.nan]), ValueError, "std of input 0 must be positive and finite, got nan"),
        (([0.5] * 3, [np.inf, 0.5, 0.5]), ValueError, "std of input 0 must be positive and finite, got inf"),
        (([np.nan, 0.5, 0.5], [0.5] * 3), ValueError, "mean of input 0 must be finite, got nan"),
        (([0.5, 1e300, 0.5], [0.5] * 3), ValueError, "mean of input 0 must be finite, got inf"),
        (([0.5] * 3, [1e-40] * 3), ValueError, r"\(v / 255 - mean\) / std of input 0 must be finite"),
        (("abc", "abc"), TypeError, "mean of input must be a sequence of numbers, got 'abc'"),
        ((["a"] * 3, [0.5] * 3), TypeError, "mean of input must be a sequence of numbers"),
        (([0.5] * 3, [[0.5] * 3]), TypeError, "std of input must be a sequence of numbers"),
        (([0.5] * 3, [[0.5], 0.5, 0.5]), TypeError, "std of input must be a sequence of numbers"),
        (([0.5] * 3, 0.5), TypeError, "std of input must be a sequence of numbers, got 0.5"),
        (([True] * 3, [0.5] * 3), TypeError, "mean of input must be a sequence of numbers"),
        (([0.5] * 3,), TypeError, r"must be a tuple \(mean, std\) or a lucid.data.Preprocessing"),
        ("imagenet", TypeError, r"must be a tuple \(mean, std\) .*, got 'imagenet'"),
        (3, TypeError, r"must be a tuple \(mean, std\)"),
        ({"image": GOOD}, ValueError, r"pixels must be of inputs \(input\), got 'image'"),
        ({"input": None}, TypeError, r"pixels of input must be a tuple"),
        (Preprocessing(mean=(0.5,), std=(0.5,)), ValueError, "for each of 3 channels, got 1"),
    ],
    ids=str,
)
def test_what_are_no_pixels(model: nn.Module, pixels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lucid.compile(model, (2, 3, 6, 5), pixels=pixels)


def test_rows_and_several_inputs_ask_for_more(rng: np.random.Generator) -> None:
    with pytest.raises(
        ValueError, match=r"pixels must be of an image \(n, c, h, w\), got input of shape \(2, 3\)"
    ):
        lucid.compile(nn.Linear(3, 4).eval(), (2, 3), pixels=scale(3))
    graph = pg.graph({"a": (1, 3, 4, 4), "b": (1, 3, 4, 4)}, (pg.add("y", "a", "b"),), ("y",))
    with pytest.raises(
        ValueError, match="pixels must be a dict by the names of inputs where there are 2, a, b"
    ):
        lucid.compile(graph, pixels=scale(3))
