"""Loading and saving: nothing is lost on the way, and what does not fit changes nothing."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import lucid
from lucid import models, nn
from lucid.models import (
    LicenseWarning,
    Preprocessing,
    ResNeSt,
    ResNeStConfig,
    ResNet,
    ResNeXt,
    ResNeXtConfig,
    WeightMetadata,
    create_from_file,
    create_model,
    load_weights,
    read_metadata,
    save_weights,
)
from lucid.models.pretrained import pretrained_path
from lucid.models.registry import build

NARROW: dict[str, Any] = {"layers": (1, 1, 1, 1), "num_classes": 3, "channels": (8, 16, 16, 24)}
RESNEXT = ResNeXtConfig(cardinality=4, base_width=16, **NARROW)
RESNEST = ResNeStConfig(stem_width=8, cardinality=2, **NARROW)
GREY = Preprocessing(32, 36, "bicubic", (0.5,), (0.25,))

State = dict[str, networks.Array]


@pytest.fixture
def model(rng: np.random.Generator) -> ResNet:
    """A small ResNeXt in whose state every number matters."""
    model = ResNeXt(RESNEXT).eval()
    networks.randomize(model, rng)
    return model


def state_of(model: nn.Module) -> State:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def assert_same(got: State, want: State) -> None:
    assert list(got) == list(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def refuse(model: ResNet, source: Any, message: str, **options: Any) -> None:
    """Loading fails with the message, and not one number of the model has changed."""
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        load_weights(model, source, **options)
    assert_same(state_of(model), before)


# ---- There and back


@pytest.mark.parametrize("config", [RESNEXT, RESNEST], ids=["resnext", "resnest"])
def test_saved_weights_load_again(
    tmp_path: Path, rng: np.random.Generator, config: ResNeXtConfig | ResNeStConfig
) -> None:
    source, target = build(config), build(config)
    networks.randomize(source, rng)
    save_weights(source, tmp_path / "model.safetensors")
    load_weights(target, str(tmp_path / "model.safetensors"))
    assert_same(state_of(target), state_of(source))


def test_loading_writes_into_the_models_own_arrays(tmp_path: Path, model: ResNet) -> None:
    """Arrays that share a parameter's memory see the loaded values, and the file may go."""
    target = ResNeXt(RESNEXT)
    shared = target.fc.weight.numpy()
    save_weights(model, tmp_path / "model.safetensors")
    load_weights(target, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"")
    np.testing.assert_array_equal(shared, model.fc.weight.numpy())
    shared[...] = 0
    assert not target.fc.weight.numpy().any()


def test_other_programs_read_what_is_saved(tmp_path: Path, model: ResNet) -> None:
    save_weights(model, tmp_path / "model.safetensors")
    saved = load_file(tmp_path / "model.safetensors")
    want = state_of(model)
    assert set(saved) == set(want)
    for name, array in want.items():
        np.testing.assert_array_equal(saved[name], array)
    assert saved["bn1.num_batches_tracked"].dtype == np.int64
    assert saved["bn1.num_batches_tracked"].shape == ()


def test_saving_arrays_in_another_memory_order(tmp_path: Path, model: ResNet) -> None:
    weight = model.conv1.weight.numpy()
    model.conv1.weight = nn.Parameter(np.asfortranarray(weight))
    save_weights(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "model.safetensors")["conv1.weight"], weight)


def test_saving_replaces_a_file_also_the_one_loaded_from(tmp_path: Path, model: ResNet) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(model, path)
    load_weights(model, path)
    model.fc.bias.numpy()[...] = 7
    save_weights(model, path)
    np.testing.assert_array_equal(load_file(path)["fc.bias"], np.full(3, 7, np.float32))
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_saved_file_has_the_permissions_of_any_other(tmp_path: Path, model: ResNet) -> None:
    (tmp_path / "other").touch()
    save_weights(model, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_saving_to_nowhere_is_refused(tmp_path: Path, model: ResNet) -> None:
    with pytest.raises(
        ValueError, match=r"^save_weights: the path must end in .safetensors, got 'model.pth'$"
    ):
        save_weights(model, "model.pth")
    with pytest.raises(FileNotFoundError, match=r"^save_weights: the folder .*absent must exist$"):
        save_weights(model, tmp_path / "absent" / "model.safetensors")


# ---- Dtypes


def test_half_precision_is_widened_exactly(tmp_path: Path, model: ResNet) -> None:
    state = state_of(model)
    halves = {n: a.astype(np.float16) if a.dtype == np.float32 else a for n, a in state.items()}
    save_file(halves, tmp_path / "half.safetensors")
    load_weights(model, tmp_path / "half.safetensors")
    assert_same(state_of(model), {n: a.astype(state[n].dtype) for n, a in halves.items()})


def test_bfloat16_is_widened_exactly(tmp_path: Path, model: ResNet) -> None:
    state = state_of(model)
    upper = {
        n: (a.view(np.uint32) >> 16).astype(np.uint16) for n, a in state.items() if a.dtype == np.float32
    }
    others = {n: a for n, a in state.items() if n not in upper}
    write(tmp_path / "model.safetensors", upper | others, dict.fromkeys(upper, "BF16"))
    load_weights(model, tmp_path / "model.safetensors")
    truncated = {n: (a.view(np.uint32) & 0xFFFF0000).view(np.float32) for n, a in state.items() if n in upper}
    assert_same(state_of(model), {n: truncated.get(n, a) for n, a in state.items()})


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.bool_, np.complex64])
def test_other_dtypes_are_refused(tmp_path: Path, model: ResNet, dtype: Any) -> None:
    state = state_of(model)
    state["layer2.0.bn1.weight"] = state["layer2.0.bn1.weight"].astype(dtype)
    message = rf"layer2.0.bn1.weight in .* must be float32, float16 or bfloat16, got {np.dtype(dtype)}$"
    refuse(model, state, message)
    save_file(state, tmp_path / "model.safetensors")
    refuse(model, tmp_path / "model.safetensors", message)


def test_counters_of_one_element_load(model: ResNet) -> None:
    state = state_of(model)
    state["bn1.num_batches_tracked"] = np.array([5])
    load_weights(model, state)
    assert model.bn1.num_batches_tracked.item() == 5


def test_dtypes_unknown_to_numpy_are_refused(tmp_path: Path, model: ResNet) -> None:
    state = state_of(model)
    state["fc.bias"] = np.zeros(3, np.uint8)
    write(tmp_path / "model.safetensors", state, {"fc.bias": "F8_E4M3"})
    refuse(
        model, tmp_path / "model.safetensors", "fc.bias in .* must be of a dtype that NumPy has, got F8_E4M3"
    )


def test_counters_of_other_integer_types_load(model: ResNet) -> None:
    state = state_of(model)
    state["bn1.num_batches_tracked"] = np.array(5, np.int32)
    load_weights(model, state)
    assert model.bn1.num_batches_tracked.item() == 5
    state["bn1.num_batches_tracked"] = np.array(5.5)
    refuse(model, state, "bn1.num_batches_tracked in .* must be int64, got float64")


# ---- What does not fit


def test_another_number_of_classes_says_what_to_pass(model: ResNet) -> None:
    state = state_of(ResNeXt(ResNeXtConfig(**{**vars(RESNEXT), "num_classes": 5})))
    refuse(
        model,
        state,
        r"must fit ResNeXt: pass num_classes=5 to create_model.*fc.weight is \(5, 96\) in the file and",
    )


def test_other_images_say_what_to_pass(model: ResNet) -> None:
    state = state_of(ResNeXt(ResNeXtConfig(**{**vars(RESNEXT), "in_channels": 1})))
    refuse(model, state, r"pass in_channels=1 to create_model \(conv1.weight is \(64, 1, 7, 7\)")
    deep = ResNeSt(RESNEST)
    state = state_of(ResNeSt(ResNeStConfig(**{**vars(RESNEST), "in_channels": 4})))
    refuse(deep, state, r"pass in_channels=4 to create_model \(conv1.0.weight is \(8, 4, 3, 3\)")


def test_another_shortcut_says_what_to_pass(model: ResNet) -> None:
    pooled = ResNeXt(ResNeXtConfig(**{**vars(RESNEXT), "avg_down": True}))
    refuse(model, state_of(pooled), "pass avg_down=True to create_model")
    refuse(pooled, state_of(model), "pass avg_down=False to create_model")


def test_another_stem_is_named(model: ResNet) -> None:
    deep = ResNeXt(ResNeXtConfig(**{**vars(RESNEXT), "stem_type": "deep"}))
    refuse(model, state_of(deep), "the file has a deep stem, the model a plain one")


def test_missing_unexpected_and_misshapen_tensors_are_listed(model: ResNet) -> None:
    state = state_of(model)
    del state["layer4.0.conv2.weight"]
    state["layer5.0.conv1.weight"] = state["conv1.weight"]
    state["bn1.bias"] = state["bn1.bias"][:32]
    refuse(
        model,
        state,
        r"the state dict must fit ResNeXt: layer4.0.conv2.weight is missing; layer5.0.conv1.weight "
        r"is not in the model; bn1.bias is \(32,\) in the file and \(64,\) in the model$",
    )


def test_another_network_is_refused_in_one_line(model: ResNet) -> None:
    refuse(model, state_of(ResNeSt(RESNEST)), r"; and \d+ more\)?$")


def test_a_message_names_the_preset() -> None:
    with pytest.raises(ValueError, match="must fit resnest14: "):
        create_model("resnest14", weights={}, channels=(8, 8, 8, 8))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"fc.weight": "x"}, r"'fc.weight' in the state dict must be a tensor, got str"),
        ({"fc.weight": 3.0}, r"must be a tensor, got float"),
        ({3: np.zeros(3)}, r"the names in the state dict must be strings, got 3"),
        ({"epoch": 3, "net": {}}, r"'epoch' in the state dict must be a tensor, got int"),
        ({}, r"conv1.weight is missing"),
    ],
    ids=["text", "number", "name", "unknown wrapper", "empty"],
)
def test_anything_but_tensors_is_refused(model: ResNet, state: Any, message: str) -> None:
    refuse(model, state, message)


def test_create_model_raises_what_loading_raises(tmp_path: Path) -> None:
    three = create_model("resnest14", num_classes=3, channels=(8, 8, 8, 8))
    save_weights(three, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="must fit resnest14: pass num_classes=3 to create_model, and for"):
        create_model("resnest14", weights=tmp_path / "model.safetensors", channels=(8, 8, 8, 8))
    with pytest.raises(FileNotFoundError, match=r"absent.safetensors must be a file, found none"):
        create_model("resnext50_32x4d", weights=tmp_path / "absent.safetensors")


def test_create_model_loads_what_it_is_given(rng: np.random.Generator, tmp_path: Path) -> None:
    options: dict[str, Any] = {"channels": (8, 8, 8, 8), "num_classes": 4, "in_channels": 1}
    source = create_model("resnest14", **options).eval()
    networks.randomize(source, rng)
    save_weights(source, tmp_path / "model.safetensors")
    images = rng.standard_normal((1, 1, 40, 40), dtype=np.float32)
    for weights in (tmp_path / "model.safetensors", source.state_dict()):
        model = create_model("resnest14", weights=weights, **options).eval()
        np.testing.assert_array_equal(model(images).numpy(), source(images).numpy())


def test_loading_does_not_draw_random_numbers(model: ResNet, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "model.safetensors")
    lucid.random.seed(3)
    first = lucid.random.rand(1).item()
    lucid.random.seed(3)
    create_from_file(tmp_path / "model.safetensors")
    assert lucid.random.rand(1).item() == first


# ---- Metadata


def test_metadata_travels_with_the_weights(tmp_path: Path, rng: np.random.Generator) -> None:
    model = create_model("resnest14", num_classes=3, in_channels=1, channels=(8, 8, 8, 8))
    networks.randomize(model, rng)
    metadata = WeightMetadata(
        labels=("cat", "dog", "b\u00e4r"), preprocessing=GREY, license="MIT", extra={"accuracy": 0.5}
    )
    save_weights(model, tmp_path / "model.safetensors", metadata)
    read = read_metadata(tmp_path / "model.safetensors")
    assert read == WeightMetadata("resnest14", model.config, metadata.labels, GREY, "MIT", {"accuracy": 0.5})
    assert load_weights(model, tmp_path / "model.safetensors") == read


def test_metadata_may_be_a_dictionary_and_is_json_in_the_file(tmp_path: Path, model: ResNet) -> None:
    values = {
        "model": "mine",
        "labels": ["a", "b", "c"],
        "preprocessing": GREY.to_dict(),
        "license": "MIT",
        "accuracy": "0.99 of 3",
    }
    save_weights(model, tmp_path / "model.safetensors", values)
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        texts = file.metadata()
    assert {name: json.loads(text) for name, text in texts.items()} == {
        **values,
        "family": "ResNeXt",
        "config": RESNEXT.to_dict(),
    }
    read = read_metadata(tmp_path / "model.safetensors")
    assert (read.model, read.config, read.preprocessing) == ("mine", RESNEXT, GREY)
    assert read.extra == {"accuracy": "0.99 of 3"}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"labels": ["a", "b"]}, "labels must be one for each of 3 classes, got 2"),
        ({"labels": "abc"}, "labels must be a list of strings"),
        ({"labels": [1, 2, 3]}, "labels must be a list of strings"),
        ({"license": 3}, "license must be a string, got 3"),
        ({"preprocessing": "224"}, "preprocessing must be a dictionary"),
        ({"preprocessing": {"size": 0}}, "size must be a positive integer"),
        ({"anything": object()}, "config and metadata must be values that JSON can hold"),
        ({"accuracy": float("nan")}, "config and metadata must be values that JSON can hold"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_metadata_is_refused(
    tmp_path: Path, model: ResNet, metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^save_weights: .*{message}"):
        save_weights(model, tmp_path / "model.safetensors", metadata)
    assert os.listdir(tmp_path) == []


def test_a_file_alone_rebuilds_its_network(tmp_path: Path, rng: np.random.Generator) -> None:
    images = rng.standard_normal((1, 3, 40, 40), dtype=np.float32)
    for source in (ResNeXt(RESNEXT), ResNeSt(RESNEST)):
        networks.randomize(source.eval(), rng)
        save_weights(source, tmp_path / "model.safetensors", {"model": "mine"})
        again = create_from_file(tmp_path / "model.safetensors").eval()
        assert type(again) is type(source)
        assert again.name == "mine"
        assert again.config == source.config
        np.testing.assert_array_equal(again(images).numpy(), source(images).numpy())


def test_a_file_of_other_origin_does_not_say_its_network(tmp_path: Path, model: ResNet) -> None:
    save_file(state_of(model), tmp_path / "model.safetensors", {"format": "pt", "config": "{"})
    assert read_metadata(tmp_path / "model.safetensors") == WeightMetadata(
        extra={"format": "pt", "config": "{"}
    )
    with pytest.raises(ValueError, match=r"must have the config that save_weights writes; use create_model"):
        create_from_file(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["resnext_digits", "resnest_digits"])
def test_shipped_weights_load_and_describe_themselves(name: str) -> None:
    model = create_model(name, weights="pretrained")
    again = create_from_file(pretrained_path(name))
    assert again.name == name
    assert again.config == model.config
    assert_same(state_of(again), state_of(model))
    metadata = read_metadata(pretrained_path(name))
    assert metadata.labels == tuple("0123456789")
    assert metadata.preprocessing == models.preprocessing(name)
    assert metadata.license
    with pytest.raises(
        ValueError, match="weights ship for resnest_digits, resnext_digits only, got 'resnest50'"
    ):
        create_model("resnest50", weights="pretrained")


class Doubled(models.Bottleneck):
    """A user's block with the parameters of the usual one."""

    def forward(self, x: lucid.Tensor) -> lucid.Tensor:
        return super().forward(x) * 2.0


def test_a_network_of_other_blocks_is_not_rebuilt_as_another(tmp_path: Path) -> None:
    model = ResNeXt(Doubled, cardinality=4, base_width=16, **NARROW)
    save_weights(model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="must have the config"):
        create_from_file(tmp_path / "model.safetensors")
    load_weights(model, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": "{"}, ""),
        ({"config": "[3]"}, "config must be a dictionary of fields"),
        ({"config": '{"layers": [1, 1, 1, 1]}'}, "cardinality"),
        ({"config": '{"depth": 3}'}, "depth"),
        ({"family": '"VGG"'}, "family must be one of ResNeSt, ResNeXt, got 'VGG'"),
        ({"family": "3"}, "family must be one of"),
        ({"family": "[3]"}, "family must be one of"),
        ({"labels": '["a"]'}, "labels must be one for each of 3 classes, got 1"),
        ({"labels": "3"}, "labels must be a list of strings"),
        ({"preprocessing": '{"size": -1}'}, "size must be a positive integer"),
        ({"preprocessing": '{"crop": 3}'}, "crop"),
        ({"license": "[1]"}, "license must be a string"),
        ({"model": "7"}, "model must be a string"),
    ],
    ids=str,
)
def test_damaged_metadata_is_refused(
    tmp_path: Path, model: ResNet, change: dict[str, str], message: str
) -> None:
    texts = {"family": '"ResNeXt"', "config": json.dumps(RESNEXT.to_dict())} | change
    save_file(state_of(model), tmp_path / "model.safetensors", texts)
    reads: dict[str, Any] = {"read_metadata": read_metadata, "create_from_file": create_from_file}
    for op, read in (reads | {"load_weights": partial(load_weights, model)}).items():
        with pytest.raises(ValueError, match=f"^{op}: .*must have readable metadata: .*{message}"):
            read(tmp_path / "model.safetensors")


def test_a_config_beyond_the_file_is_refused_before_it_is_built(tmp_path: Path, model: ResNet) -> None:
    config = RESNEXT.to_dict() | {"layers": [1, 1, 1, 10**12]}
    save_file(
        state_of(model), tmp_path / "model.safetensors", {"family": '"ResNeXt"', "config": json.dumps(config)}
    )
    with pytest.raises(ValueError, match=r"must have the tensors of 1000000000003 blocks, got \d+$"):
        create_from_file(tmp_path / "model.safetensors")


def test_a_non_commercial_licence_is_shown(tmp_path: Path, model: ResNet) -> None:
    save_weights(model, tmp_path / "model.safetensors", {"license": "CC-BY-NC-4.0"})
    with pytest.warns(
        LicenseWarning, match="model.safetensors: no commercial use, by the licence CC-BY-NC-4.0"
    ):
        load_weights(model, tmp_path / "model.safetensors")
    state = state_of(model)
    name = "resnext101_32x8d.fb_wsl_ig1b_ft_in1k.safetensors"
    save_file(state, tmp_path / name)
    with pytest.warns(LicenseWarning, match="no commercial use"):
        metadata = load_weights(model, tmp_path / name)
    assert metadata.license == "CC-BY-NC-4.0"
    assert metadata.preprocessing == Preprocessing(224, 256, "bilinear")


def write(path: Path, arrays: State, kinds: dict[str, str]) -> None:
    """A safetensors file of arrays, some under another name of a dtype of the same size."""
    names = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}
    header, data = {}, b""
    for name, array in arrays.items():
        raw = array.tobytes()
        header[name] = {
            "dtype": kinds.get(name) or names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
