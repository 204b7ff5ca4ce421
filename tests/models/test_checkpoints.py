"""Training checkpoints as users have them: which network is taken, what is skipped, what messages say."""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import os
import pathlib
import pickle
import types
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from safetensors.numpy import save_file

from lucid.models import ResNeXt, ResNeXtConfig, class_count, create_model, load_weights

CONFIG = ResNeXtConfig((1, 1, 1, 1), 4, 16, num_classes=3, channels=(8, 8, 8, 8))

State = dict[str, networks.Array]


@pytest.fixture
def state(rng: np.random.Generator) -> State:
    model = ResNeXt(CONFIG)
    networks.randomize(model, rng)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def zeros(state: State) -> State:
    return {name: np.zeros_like(array) for name, array in state.items()}


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": array for name, array in state.items()}


def assert_loads(source: Any, state: State, **options: Any) -> None:
    model = ResNeXt(CONFIG)
    load_weights(model, source, **options)
    np.testing.assert_array_equal(model.conv1.weight.numpy(), state["conv1.weight"])
    np.testing.assert_array_equal(model.fc.bias.numpy(), state["fc.bias"])


def assert_refused(source: Any, message: str, **options: Any) -> str:
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(ResNeXt(CONFIG), source, **options)
    return str(caught.value)


# ---- Which network


@pytest.mark.parametrize(
    "entry",
    [
        "model_state_dict",
        "net",
        "params",
        "params_ema",
        "state_dict_ema",
        "model_ema",
        "ema",
        "model",
        "state_dict",
        "module",
        "network",
        "weights",
        "student",
        "anything",
    ],
)
def test_any_entry_loads_if_it_is_the_only_network(state: State, entry: str) -> None:
    assert_loads(
        {"epoch": 3, entry: state, "loss": 0.1, "optimizer": {"state": {0: {"step": np.ones(1)}}}}, state
    )


@pytest.mark.parametrize(
    "prefix",
    ["module.", "net.", "backbone.", "encoder.", "_orig_mod.", "module._orig_mod.model.", "my.own.wrapper."],
)
def test_any_prefix_loads_if_it_is_the_only_one(state: State, prefix: str) -> None:
    assert_loads(prefixed(prefix, state) | {"criterion.weight": np.ones(3)}, state)


@pytest.mark.parametrize("head", ["head.fc.", "fc.1.", "classifier.", "last_linear.", "head."])
def test_heads_of_other_names_load_also_beside_a_backbone(state: State, head: str) -> None:
    renamed = {name.replace("fc.", head): array for name, array in state.items()}
    assert_loads(renamed, state)
    assert_loads({n if n.startswith(head) else f"backbone.{n}": a for n, a in renamed.items()}, state)


EMA = {
    "timm": lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema},
    "torchvision": lambda raw, ema: {
        "model": raw, "model_ema": {"n_averaged": np.int64(3), **prefixed("module.", ema)},
    },
    "basicsr": lambda raw, ema: {"params": raw, "params_ema": ema},
    "nested": lambda raw, ema: {"model": raw, "ema": {"module": ema, "decay": 0.9}},
    "swa": lambda raw, ema: {"model": raw, "swa_state_dict": ema},
    "lightning": lambda raw, ema: {"state_dict": prefixed("m.", raw) | prefixed("ema_model.module.", ema)},
}  # fmt: skip


@pytest.mark.parametrize("scheme", EMA)
def test_averaged_weights_are_taken_as_in_timm_unless_the_user_chooses(state: State, scheme: str) -> None:
    checkpoint = EMA[scheme](zeros(state), state)
    with pytest.warns(UserWarning, match=r"took the EMA weights \('.*'\) and not the raw ones beside them"):
        assert_loads(checkpoint, state)
    assert_loads(checkpoint, state, ema=True)
    assert_loads(EMA[scheme](state, zeros(state)), state, ema=False)


def test_the_returned_metadata_names_the_network(state: State) -> None:
    found = load_weights(ResNeXt(CONFIG), {"state_dict": zeros(state), "state_dict_ema": state}, ema=True)
    assert found.entry == "state_dict_ema"
    assert load_weights(ResNeXt(CONFIG), state).entry == ""


def test_missing_averages_or_raw_weights_are_named(state: State) -> None:
    assert_refused({"model": state}, r"must have EMA weights for ema=True, got 'model'$", ema=True)
    assert_refused({"model_ema": state}, r"must have raw weights for ema=False, got 'model_ema'$", ema=False)


def test_several_networks_want_a_choice(state: State) -> None:
    checkpoint = {"teacher": state, "pupil": zeros(state)}
    assert_refused(checkpoint, r"holds more than one network \('teacher', 'pupil'\): choose one with entry=")
    assert_loads(checkpoint, state, entry="teacher")
    assert_loads(
        {"state_dict": prefixed("a.", zeros(state)) | prefixed("b.", state)}, state, entry="state_dict.b"
    )
    assert_refused(checkpoint, r"must have an entry 'tutor', got 'teacher', 'pupil'$", entry="tutor")


def test_create_model_passes_the_choice_on(state: State, tmp_path: Path) -> None:
    source = create_model("resnest14", num_classes=3, channels=(8, 8, 8, 8)).state_dict()
    checkpoint = {"a": source, "b": {name: tensor.numpy() * 0 for name, tensor in source.items()}}
    model = create_model("resnest14", checkpoint, num_classes=3, channels=(8, 8, 8, 8), entry="b")
    assert not model.fc.weight.numpy().any()
    with pytest.raises(ValueError, match=r"^create_model: the state dict must have EMA weights"):
        create_model("resnest14", checkpoint, num_classes=3, channels=(8, 8, 8, 8), ema=True)


# ---- What else lies in the file


def test_counters_of_other_programs_are_skipped(state: State) -> None:
    extra = {"n_averaged": np.int64(3), "total_ops": np.zeros(1), "layer1.0.conv1.total_params": np.zeros(1)}
    assert_loads(state | extra, state)


def test_float64_is_rounded_and_too_large_values_are_refused(state: State, tmp_path: Path) -> None:
    double = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in state.items()}
    assert_loads(double, state)
    save_file(double, tmp_path / "model.safetensors")
    assert_loads(tmp_path / "model.safetensors", state)
    double["fc.bias"] = np.full(3, 1e300)
    assert_refused(double, "fc.bias in the state dict must fit into float32, got larger values")


def test_tells_the_number_of_classes(state: State, tmp_path: Path) -> None:
    save_file(state, tmp_path / "model.safetensors")
    assert class_count(tmp_path / "model.safetensors") == 3
    assert class_count({"model": prefixed("module.", state)}) == 3
    assert class_count({"head.fc.weight": np.zeros((7, 5)), "layer1.0.conv1.weight": np.zeros(1)}) == 7
    assert class_count({"conv1.weight": state["conv1.weight"]}) is None


class Attributes(dict[str, Any]):
    """A dictionary with attributes, as many configuration packages have."""


class Items(list[Any]):
    """A list of another class."""


class Calls:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch attacked",)


def attributes() -> Attributes:
    made = Attributes(lr=0.1)
    made.rate = 0.1  # type: ignore[attr-defined]
    return made


HARMLESS: dict[str, Any] = {
    "options": argparse.Namespace(lr=0.1, output=pathlib.Path("runs")),
    "numpy": {
        "best": np.float64(3),
        "n": np.int64(2),
        "b": np.bool_(True),
        "curve": np.ones(3),
        "t": np.array("a"),
    },
    "paths and dates": [pathlib.Path("runs"), datetime.datetime(2024, 1, 1), datetime.timedelta(1)],
    "collections": [collections.defaultdict(list, a=[1]), collections.deque([1]), collections.Counter("aab")],
    "simple": [types.SimpleNamespace(a=1), {1, 2}, frozenset({1}), 1j, slice(1, 2), b"x", 2**200, None],
    "functions": functools.partial(int, base=2),
    "dictionary": attributes(),
    "list": Items([1, 2]),
}


class TestPickled:
    """Objects beside the tensors, as training programs leave them."""

    @pytest.fixture
    def torch(self) -> Any:
        return pytest.importorskip("torch", reason="reading .pth files needs PyTorch")

    @pytest.mark.parametrize("name", HARMLESS)
    @pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
    def test_harmless_objects_are_skipped(
        self, torch: Any, state: State, tmp_path: Path, name: str, legacy: bool
    ) -> None:
        content = {"state_dict": tensors(torch, state), "extra": HARMLESS[name], "epoch": 3}
        torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        assert_loads(tmp_path / "a.pth", state)

    def test_what_cannot_be_skipped_is_named_with_the_way_out(
        self, torch: Any, state: State, tmp_path: Path
    ) -> None:
        torch.save({"model": tensors(torch, state), "a": attributes(), "b": Items([1])}, tmp_path / "a.pth")
        said = assert_refused(
            tmp_path / "a.pth", r"cannot be skipped \(.*Attributes, .*Items\); save the weights"
        )
        assert "weights_only" not in said
        assert "\x1b" not in said

    def test_code_is_named_and_never_run(
        self, torch: Any, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        torch.save({"model": tensors(torch, state), "a": Calls()}, tmp_path / "a.pth")
        assert_refused(
            tmp_path / "a.pth", r"it would call posix.system, which no weights need: do not trust it$"
        )
        assert not Path("attacked").exists()

    def test_pytorchs_own_advice_is_not_passed_on(self, torch: Any, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(3), "b": attributes(), "c": Items([1])}, tmp_path / "a.pth")
        with pytest.raises(ValueError, match="cannot be skipped") as caught:
            load_weights(ResNeXt(CONFIG), tmp_path / "a.pth")
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in a dictionary"])
    def test_a_pickled_network_is_its_state_dict(self, torch: Any, tmp_path: Path, wrapped: bool) -> None:
        timm_resnet = pytest.importorskip("timm.models.resnet", reason="timm is the oracle")
        network = timm_resnet.ResNet(
            timm_resnet.Bottleneck, (1, 1, 1, 1), 3, cardinality=4, base_width=16, channels=(8, 8, 8, 8)
        )
        torch.save({"model": network, "epoch": 1} if wrapped else network, tmp_path / "a.pth")
        assert_loads(tmp_path / "a.pth", {n: t.numpy() for n, t in network.state_dict().items()})

    def test_other_pickles_are_named(self, torch: Any, state: State, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        path.write_bytes(pickle.dumps(tensors(torch, state)))
        assert_refused(path, "it is a plain pickle and no file of torch.save; save the weights alone")
        torch.save(tensors(torch, state), path, pickle_protocol=4)
        assert_refused(path, "it is pickled in protocol 4, and torch.save's is 2; save the weights alone")

    def test_a_lack_of_memory_is_no_damage(
        self, torch: Any, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*arguments: object, **options: object) -> None:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 3 bytes")

        torch.save(tensors(torch, state), tmp_path / "a.pth")
        monkeypatch.setattr(torch, "load", fail)
        with pytest.raises(MemoryError, match=r"^load_weights: the memory does not suffice for .*a.pth$"):
            load_weights(ResNeXt(CONFIG), tmp_path / "a.pth")

    def test_a_length_of_gigabytes_is_damage(
        self, torch: Any, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The unpickler asks for the memory of a text, and then finds that the file ends before it."""

        def fail(*arguments: object, **options: object) -> None:
            raise MemoryError

        torch.save(tensors(torch, state), tmp_path / "a.pth")
        monkeypatch.setattr(torch, "load", fail)
        assert_refused(tmp_path / "a.pth", "it is damaged")


def tensors(torch: Any, state: State) -> dict[str, Any]:
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


# ---- Files of another kind


FOREIGN = {
    "a web page": b"<!DOCTYPE html><html>Not found</html>",
    "a JSON text": b'{"error": "Repository not found"}',
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "gzip-compressed": b"\x1f\x8b\x08\x00 and more",
    "a tar archive": b"a" + b"\0" * 256 + b"ustar\x0000",
    "a text: 'Entry not found'": b"Entry not found",
    "filled with zeros": b"\0" * 4096,
    "empty": b"",
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_files_of_another_kind_are_named(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(FOREIGN[kind])
    said = assert_refused(tmp_path / name, rf"{name} must be an undamaged .*: it is {kind}")
    assert "weights_only" not in said


# ---- Another network


def test_the_network_in_the_file_is_named() -> None:
    target = create_model("resnext50_32x4d", num_classes=3)
    for name, options in (
        ("resnest14", {}), ("resnext50d_32x4d", {}), ("resnest50_fast_4s2x40d", {"in_channels": 1}),
    ):  # fmt: skip
        state = create_model(name, num_classes=5, **options).state_dict()
        given = ", ".join(f"{key}={value}" for key, value in {"num_classes": 5, **options}.items())
        with pytest.raises(ValueError, match=rf"it holds {name}: create_model\('{name}', {given}\) \("):
            load_weights(target, state)


def test_networks_that_differ_in_nothing_visible_are_named_together() -> None:
    state = create_model("resnest50", num_classes=5).state_dict()
    with pytest.raises(
        ValueError, match=r"it holds resnest50 or resnest50_fast_2s1x64d: create_model\('resnest50',"
    ):
        load_weights(ResNeXt(CONFIG), state)


def test_a_network_without_a_name_is_described() -> None:
    other = ResNeXtConfig((1, 2, 1, 1), 1, 64, num_classes=5, channels=(8, 8, 8, 8))
    said = assert_refused(ResNeXt(other).state_dict(), r"it holds another network: ResNeXt\(ResNeXtConfig\(")
    described = said[said.index("ResNeXtConfig(") : said.index(")) (") + 1]
    assert eval(described, {"ResNeXtConfig": ResNeXtConfig}) == other


def test_both_classes_and_channels_are_named() -> None:
    other = ResNeXtConfig((1, 1, 1, 1), 4, 16, num_classes=5, in_channels=1, channels=(8, 8, 8, 8))
    assert_refused(ResNeXt(other).state_dict(), r"pass num_classes=5, in_channels=1 to create_model \(")


def test_another_architecture_shows_its_names() -> None:
    names = ("cls_token", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")
    assert_refused(
        {name: np.zeros(3) for name in names},
        r"it holds another architecture, with the names cls_token, blocks.0.attn.qkv.weight, ",
    )
